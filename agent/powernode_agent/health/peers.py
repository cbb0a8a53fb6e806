"""What is wrong with a peer: the runbook's states that last, and what is known of why. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from powernode_agent.health.codes import PLAN
from powernode_agent.health.condition import Condition
from powernode_agent.model.status import (
    Liveness,
    NetworkStatus,
    NodeStatus,
    PeerState,
    PeerStatus,
)
from powernode_agent.model.wording import age_text

AWAY_BEFORE: Final = 30.0
"""Seconds by which the platform was lost before a peer was: closer together, one line took both."""


def is_well(peer: PeerStatus) -> bool:
    """Whether a peer is connected, and not deaf to probes; a user's device may be asleep as well."""
    if peer.is_user_device and peer.state is not PeerState.HANDSHAKE_PENDING:
        return True
    dead = peer.liveness is not None and peer.liveness.state is Liveness.DEAD
    return peer.state is PeerState.CONNECTED and not dead


def peer_conditions(status: NodeStatus, now: float) -> Iterator[Condition]:
    """Of all peers that were measured, by network in the status's order, then by name."""
    ill: dict[str, list[PeerStatus]] = {}
    for peer in status.peers.values():
        if peer.state is not None and not is_well(peer):
            ill.setdefault(peer.network_id, []).append(peer)
    for peers in ill.values():
        for peer in sorted(peers, key=lambda peer: peer.name):
            yield _of_peer(status, peer, now)


def _of_peer(status: NodeStatus, peer: PeerStatus, now: float) -> Condition:
    if peer.state is PeerState.HANDSHAKE_PENDING:
        text = f"{peer.name} handshake_pending: not in the WireGuard device yet"
        return _condition(peer, "PEER-001", text, PLAN)
    if peer.state is PeerState.HANDSHAKING:
        return _handshaking(status, peer, now)
    return _lost(status, peer, now)


def _handshaking(status: NodeStatus, peer: PeerStatus, now: float) -> Condition:
    network = status.networks.get(peer.network_id)
    text = f"{peer.name} handshaking: no handshake ever{_unanswered(peer)}"
    command = _to_call(peer, network)
    if peer.key_changed_at is not None:
        age = age_text(now - peer.key_changed_at)
        text = (
            f"{peer.name} handshaking: the platform gave it a new key {age} ago, and there was no"
            f" handshake since{_unanswered(peer)}"
        )
        return _condition(peer, "KEY-001", text, command, since=peer.key_changed_at)
    if peer.endpoint is not None:
        return _condition(peer, "NAT-001", text, command)
    text += ", and no endpoint to call: it has to call us"
    if network is not None and network.role == "hub":
        cause = (
            "it has not called: its agent is not running, or NAT / firewall blocks WireGuard UDP"
        )
        return _condition(peer, "NAT-001", text, command, cause=cause)
    return _condition(peer, "NAT-002", text, command)


def _lost(status: NodeStatus, peer: PeerStatus, now: float) -> Condition:
    reading = peer.liveness
    if peer.state is PeerState.SILENT:
        # The last sign of life is where its silence began: so it shows the moment it is silent.
        lost = since = peer.last_handshake
        ago = "" if since is None else f" {age_text(now - since)} ago"
        text = f"{peer.name} silent: last handshake{ago}{_probes(peer)}"
        command = f"ping -c 3 {peer.endpoint.address}" if peer.endpoint else _there(peer)
    else:
        lost = since = None if reading is None else reading.since
        ago = "" if since is None else f" for {age_text(now - since)}"
        text = (
            f"{peer.name} connected, but probes through the overlay are unanswered{ago}"
            f"{_probes(peer)}"
        )
        command = _there(peer)
    refused = status.rejected
    if refused is not None and lost is not None and lost > refused.rejected_at:
        cause = (
            f"this node refused revision {refused.revision} before it lost {peer.name}: it works"
        )
        cause += " with an older configuration, in which keys may have changed since"
        return _condition(peer, "KEY-001", text, command, since=since, cause=cause)
    away = status.platform_away_since
    cause = ""
    if away is not None and lost is not None and lost - away > AWAY_BEFORE:
        cause = (
            "Connection lost / node rebooted; or its key was changed: the platform has been away"
        )
        cause += f" for {age_text(now - away)}, and this node does not hear of changes"
    return _condition(peer, "PEER-002", text, command, since=since, cause=cause)


def _condition(
    peer: PeerStatus,
    code: str,
    text: str,
    command: str,
    *,
    since: float | None = None,
    cause: str = "",
) -> Condition:
    return Condition(
        code, peer.network_id, peer.peer_id, peer.name, text, command, since=since, cause=cause
    )


def _to_call(peer: PeerStatus, network: NetworkStatus | None) -> str:
    """Whether its answers reach this host tells a firewall on the way from a dead peer."""
    port = None if network is None else network.listen_port
    if peer.endpoint is None or not port:
        return _there(peer)
    return f"tcpdump -c 5 -ni any udp port {port} and host {peer.endpoint.address}"


def _there(peer: PeerStatus) -> str:
    return f"on {peer.name}: powernode-agent status"


def _probes(peer: PeerStatus) -> str:
    reading = peer.liveness
    return f", {reading.sent} probes sent, {reading.answered} answered" if reading else ""


def _unanswered(peer: PeerStatus) -> str:
    """Probes where there are any, else bytes: what WireGuard itself sends are handshakes."""
    if peer.liveness is not None or not peer.tx_bytes:
        return _probes(peer)
    return f", {peer.tx_bytes} bytes sent, {peer.rx_bytes or 0} received"

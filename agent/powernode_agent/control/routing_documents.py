"""iBGP sessions and virtual IPs as documents, and what is wrong with them. Pure; see `documents`."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from powernode_agent.control.problem import Problem
from powernode_agent.control.protocol import JSON
from powernode_agent.model.status import (
    BgpSession,
    BgpState,
    HolderState,
    NetworkStatus,
    NodeStatus,
    VirtualIpReading,
)
from powernode_agent.model.values import NetworkId, PeerId

STARTING: Final = 15.0
"""Seconds after the daemon's start in which a session may still come up."""

Document = dict[str, JSON]


def sessions_document(status: NodeStatus) -> list[JSON]:
    """Every session, by network and neighbour."""
    found = sorted(
        status.bgp_sessions.values(),
        key=lambda each: (_network_name(status, each.network_id), _neighbor_name(status, each)),
    )
    return [_session(status, session) for session in found]


def virtual_ips_document(status: NodeStatus, now: float) -> list[JSON]:
    """Every virtual IP that this node holds or may hold, by network and address."""
    found = sorted(
        status.virtual_ips.values(),
        key=lambda each: (_network_name(status, each.network_id), str(each.address)),
    )
    return [_virtual_ip(status, reading, now) for reading in found]


def session_counts(status: NodeStatus, network: NetworkStatus) -> Document:
    """How many sessions of a network are established; null where none was measured."""
    states = [each.state for each in _sessions_of(status, network.network_id)]
    measured = [state for state in states if state is not BgpState.NOT_MEASURED]
    return {
        "established": measured.count(BgpState.ESTABLISHED) if measured or not states else None,
        "total": len(states),
    }


def virtual_ip_counts(status: NodeStatus, network: NetworkStatus) -> Document:
    """How many virtual IPs of a network are held here; null where none was measured."""
    states = [each.state for each in _virtual_ips_of(status, network.network_id)]
    measured = [state for state in states if state is not HolderState.NOT_MEASURED]
    return {
        "holding": measured.count(HolderState.HOLDING) if measured or not states else None,
        "total": len(states),
    }


def routing_problems(
    status: NodeStatus, ill_peers: Collection[tuple[NetworkId, PeerId]]
) -> list[Problem]:
    """Sessions that are down and virtual IPs that are not where they should be. A session with a peer
    that has a problem of its own (`ill_peers`) is a symptom, and not said again."""
    found: list[Problem] = []
    settled = status.at - status.agent.started_at >= STARTING
    for key, session in sorted(status.bgp_sessions.items()):
        if not is_down(session) or key in ill_peers or not settled:
            continue
        name = _neighbor_name(status, session)
        cause = session.likely_cause or session.last_reset_reason or "no cause found yet"
        where = _network_name(status, session.network_id)
        text = f"{where}: BGP session with {name} is {session.state.value}: {cause}"
        command = "vtysh -c 'show bgp summary'"
        found.append(Problem(f"BGP session with {name}", session.network_id, text, command))
    for id_, reading in sorted(status.virtual_ips.items()):
        if reading.state is HolderState.ABSENT:
            network = status.networks.get(reading.network_id)
            link = network.link if network else "LINK"
            where = _network_name(status, reading.network_id)
            which = str(reading.address or id_)
            if reading.name:
                which = f"{reading.name} ({which})"
            text = f"{where}: virtual IP {which} should be held here, and is not"
            command = f"ip -6 address show dev {link}"
            found.append(Problem(f"virtual IP {id_}", reading.network_id, text, command))
    return found


def is_degraded(status: NodeStatus, network: NetworkStatus) -> bool:
    """Whether a session is down, or a virtual IP missing."""
    sessions = _sessions_of(status, network.network_id)
    virtual_ips = _virtual_ips_of(status, network.network_id)
    return any(map(is_down, sessions)) or any(
        each.state is HolderState.ABSENT for each in virtual_ips
    )


def is_unknown(status: NodeStatus, network: NetworkStatus) -> bool:
    """Whether a session or a virtual IP was not measured."""
    sessions = _sessions_of(status, network.network_id)
    virtual_ips = _virtual_ips_of(status, network.network_id)
    return any(each.state is BgpState.NOT_MEASURED for each in sessions) or any(
        each.state is HolderState.NOT_MEASURED for each in virtual_ips
    )


def is_down(session: BgpSession) -> bool:
    """Whether a session was measured, and is not established."""
    return session.state not in (BgpState.ESTABLISHED, BgpState.NOT_MEASURED)


def _sessions_of(status: NodeStatus, network_id: NetworkId) -> list[BgpSession]:
    return [each for (of, _), each in status.bgp_sessions.items() if of == network_id]


def _virtual_ips_of(status: NodeStatus, network_id: NetworkId) -> list[VirtualIpReading]:
    return [each for each in status.virtual_ips.values() if each.network_id == network_id]


def _session(status: NodeStatus, session: BgpSession) -> Document:
    measured = session.state is not BgpState.NOT_MEASURED
    return {
        "network_id": session.network_id,
        "network": _network_name(status, session.network_id),
        "neighbor_peer_id": session.neighbor_peer_id,
        "neighbor": _neighbor_name(status, session),
        "state": session.state.value if measured else None,
        "uptime_s": None if session.uptime_ms is None else session.uptime_ms / 1000,
        "prefixes_received": session.prefixes_received,
        "prefixes_sent": session.prefixes_sent,
        "last_reset_reason": session.last_reset_reason,
        "likely_cause": session.likely_cause,
    }


def _virtual_ip(status: NodeStatus, reading: VirtualIpReading, now: float) -> Document:
    measured = reading.state is not HolderState.NOT_MEASURED
    since = reading.since_ms / 1000
    return {
        "id": reading.virtual_ip_id,
        "name": reading.name or None,
        "network_id": reading.network_id,
        "network": _network_name(status, reading.network_id),
        "address": None if reading.address is None else str(reading.address),
        "state": reading.state.value if measured else None,
        "since": since,
        "age_s": round(max(0.0, now - since), 3),
        "announced": reading.announced,
    }


def _network_name(status: NodeStatus, network_id: NetworkId) -> str:
    network = status.networks.get(network_id)
    return network.name if network else network_id


def _neighbor_name(status: NodeStatus, session: BgpSession) -> str:
    peer = status.peers.get((session.network_id, session.neighbor_peer_id))
    return peer.name if peer else session.neighbor_peer_id

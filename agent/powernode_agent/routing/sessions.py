"""What bgpd says of its sessions, and why one is down. Pure.

A session that FRR does not list was not measured: neither up nor down. A cause is drawn from evidence
of this moment first (the route, the tunnel) and from what FRR remembers last, because a notification
may be as old as the outage that followed it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.status import BgpSession, BgpState, PeerState
from powernode_agent.model.values import NetworkId, PeerId

SUMMARY_COMMAND: Final = "show bgp summary json"
NEIGHBORS_COMMAND: Final = "show bgp neighbors json"
"""What bgpd is asked; the second costs ten times the first."""

_STATES: Final = {state.value: state for state in BgpState}
_FAMILIES: Final = ("ipv4Unicast", "ipv6Unicast")
_BAD_PEER_AS: Final = "0202"
_BAD_IDENTIFIER: Final = "0203"
_CEASE_BFD_DOWN: Final = "060A"
_HOLD_EXPIRED: Final = "0400"


class SessionReadError(AgentError):
    """bgpd's answer is not what FRR gives."""


class Connecting(Enum):
    """How a TCP connection to the neighbour's port 179 went."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    TIMED_OUT = "timed out"
    NO_ROUTE = "no route"


@dataclass(frozen=True, slots=True)
class SessionReading:
    """One session in FRR's words. `uptime_ms` None: it is not established. `error` is the code and
    subcode of the last notification in hexadecimal, empty: there was none. `bfd_up` None: no BFD, or
    not said."""

    state: BgpState
    uptime_ms: int | None
    prefixes_received: int
    prefixes_sent: int
    last_reset_reason: str = ""
    error: str = ""
    bfd_up: bool | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What else is known of the way to a neighbour; None: not measured. `routed`: whether its address
    leaves by the network's link; `alive`: whether it answers probes through the tunnel."""

    routed: bool | None = None
    peer: PeerState | None = None
    alive: bool | None = None
    connecting: Connecting | None = None


NO_EVIDENCE: Final = Evidence()


def parse_readings(summary: str, neighbors: str) -> Mapping[IPv6Address, SessionReading]:
    """The answers to both commands, by neighbour. Raises `SessionReadError`."""
    by_family = _document(SUMMARY_COMMAND, summary)
    details = _document(NEIGHBORS_COMMAND, neighbors)
    found: dict[IPv6Address, SessionReading] = {}
    try:
        peers: dict[str, list[dict[str, object]]] = {}
        for family in _FAMILIES:
            listed = _mapping(by_family.get(family, {})).get("peers", {})
            for address, peer in _mapping(listed).items():
                peers.setdefault(address, []).append(_mapping(peer))
        for address, of_families in peers.items():
            detail = _mapping(details.get(address, {}))
            found[IPv6Address(address)] = _reading(of_families, detail)
    except (ValueError, TypeError, KeyError) as error:
        raise SessionReadError(
            "cannot read BGP sessions",
            which="bgpd",
            value=repr(error),
            expected="the JSON of FRR 8.4 or later",
        ) from error
    return found


def sessions_of(
    states: Mapping[NetworkId, NetworkState],
    readings: Mapping[IPv6Address, SessionReading],
    evidence: Mapping[tuple[NetworkId, PeerId], Evidence],
) -> Mapping[tuple[NetworkId, PeerId], BgpSession]:
    """The session with each neighbour of each network. `readings` is empty if none could be had."""
    found: dict[tuple[NetworkId, PeerId], BgpSession] = {}
    for id_, state in states.items():
        if state.bgp is None:
            continue
        for neighbor in state.bgp.neighbors:
            key = (id_, neighbor.peer_id)
            address = state.peers[neighbor.peer_id].host_address
            reading = readings.get(address)
            if reading is None:
                found[key] = BgpSession(
                    network_id=id_, neighbor_peer_id=neighbor.peer_id, neighbor_address=address
                )
                continue
            found[key] = BgpSession(
                network_id=id_,
                neighbor_peer_id=neighbor.peer_id,
                state=reading.state,
                uptime_ms=reading.uptime_ms,
                prefixes_received=reading.prefixes_received,
                prefixes_sent=reading.prefixes_sent,
                last_reset_reason=reading.last_reset_reason,
                likely_cause=likely_cause(reading, address, evidence.get(key, NO_EVIDENCE)),
                neighbor_address=address,
            )
    return found


def likely_cause(reading: SessionReading, neighbor: IPv6Address, evidence: Evidence) -> str:
    """Why a session is down, in one sentence; empty if it is up or nothing speaks for anything. One
    that counts as up while nothing gets through is on its way down, and has its cause already."""
    dead_way = _dead_way(neighbor, evidence)
    if reading.state is BgpState.ESTABLISHED:
        return f"it stands until its hold time is over: {dead_way}" if dead_way else ""
    if dead_way:
        return dead_way
    if reading.error == _BAD_PEER_AS:
        return "wrong AS number: one end expects another than the other has"
    if reading.error == _BAD_IDENTIFIER:
        return "both ends have the same router id"
    if evidence.connecting is Connecting.REFUSED:
        return "the neighbour refuses TCP port 179: no BGP daemon listens there"
    if evidence.connecting is Connecting.TIMED_OUT:
        return "TCP port 179 of the neighbour does not answer: a filter, or a host that hangs"
    if reading.bfd_up is False or reading.error == _CEASE_BFD_DOWN:
        return "BFD finds the way to the neighbour dead"
    if reading.error == _HOLD_EXPIRED:
        return "the neighbour fell silent: the hold timer expired"
    return ""


def _dead_way(neighbor: IPv6Address, evidence: Evidence) -> str:
    """Why nothing gets to the neighbour at all; empty: nothing says so."""
    if evidence.routed is False or evidence.connecting is Connecting.NO_ROUTE:
        return f"there is no route to the neighbour's address {neighbor}"
    if evidence.peer in (PeerState.HANDSHAKE_PENDING, PeerState.HANDSHAKING):
        return "the tunnel to the neighbour is not up: there was no handshake yet"
    if evidence.peer is PeerState.SILENT:
        return "the tunnel to the neighbour is silent: its last handshake is too old"
    if evidence.alive is False:
        return "the neighbour does not answer probes through the tunnel"
    return ""


def _reading(of_families: Iterable[dict[str, object]], detail: dict[str, object]) -> SessionReading:
    families = list(of_families)
    # A session being cleared is one that is down; FRR has a word of its own for it.
    state = _STATES.get(str(families[0]["state"]), BgpState.IDLE)
    established = state is BgpState.ESTABLISHED
    reason = str(detail.get("lastResetDueTo", ""))
    notified = str(detail.get("lastNotificationReason", ""))
    if notified and "Notification" in reason:
        reason = f"{reason}: {notified}"
    bfd = _mapping(detail.get("peerBfdInfo", {})).get("status")
    return SessionReading(
        state=state,
        uptime_ms=_number(families[0]["peerUptimeMsec"]) if established else None,
        prefixes_received=sum(_number(family["pfxRcd"]) for family in families),
        prefixes_sent=sum(_number(family["pfxSnt"]) for family in families),
        last_reset_reason=reason,
        error=str(detail.get("lastErrorCodeSubcode", "")),
        bfd_up={"Up": True, "Down": False}.get(str(bfd)),
    )


def _document(command: str, text: str) -> dict[str, object]:
    try:
        return _mapping(json.loads(text))
    except (ValueError, TypeError) as error:
        raise SessionReadError(
            "cannot read BGP sessions",
            which=f"bgpd, {command}",
            value=repr(text[:80]),
            expected="a JSON object",
        ) from error


def _mapping(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no number")
    return value

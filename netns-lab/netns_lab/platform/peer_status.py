"""The runbook's status of a peer (phase 2), drawn from what nodes report, with its evidence. Pure.

A peer has one session with each of its neighbours; its status on the network is that of its best one,
as either end of a session sees it:

    handshake_pending  no report says that its agent has the network up; or its agent, which reports,
                       says that it has not: then a hub's young handshake is one of the past
    handshaking        its agent has the network up; no session has had a handshake
    connected          the newest handshake is at most 5 minutes old, now, not when it was reported
    silent             there was one, but not for 5 minutes

Only nodes whose report stream stands count as evidence. When nobody can tell, the status is null and
`not_measured` names it: a state that was true an hour ago is not a state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from powernode.sdwan.v1 import status_pb2 as pb

SILENT_AFTER_SECONDS: Final = 300.0


class PeerStatus(Enum):
    """The runbook's words."""

    HANDSHAKE_PENDING = "handshake_pending"
    HANDSHAKING = "handshaking"
    CONNECTED = "connected"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Reporter:
    """A node of the network whose report counts; `peer_id` is what it is on the network."""

    peer_id: str
    name: str
    report: pb.StatusReport


@dataclass(frozen=True, slots=True)
class Derived:
    """Status, newest handshake (seconds since the epoch) and the sentence that supports them."""

    status: PeerStatus | None
    last_handshake_at: float | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """What all reports say of one network, by peer id: gathered once, however many peers are asked of.

    `newest` is the newest handshake (seconds since the epoch) and who reports it.
    """

    network_id: str
    reports: Mapping[str, pb.StatusReport]
    newest: Mapping[str, tuple[float, str]]


def gather(network_id: str, reporters: Iterable[Reporter]) -> Evidence:
    """Evidence of one network. `reporters` are the nodes that are online."""
    reports: dict[str, pb.StatusReport] = {}
    newest: dict[str, tuple[float, str]] = {}
    for reporter in reporters:
        reports[reporter.peer_id] = reporter.report
        for status in reporter.report.peers:
            if status.network_id != network_id or not status.HasField("last_handshake_at_ms"):
                continue
            handshake = (status.last_handshake_at_ms / 1000, reporter.name)
            for end in (reporter.peer_id, status.peer_id):
                newest[end] = max(newest.get(end, handshake), handshake)
    return Evidence(network_id, reports, newest)


def derive(peer_id: str, name: str, evidence: Evidence, now: float) -> Derived:
    """Status of one peer."""
    own = evidence.reports.get(peer_id)
    network = None if own is None else _own_network(own, evidence.network_id)
    if own is not None and (network is None or (network.HasField("up") and not network.up)):
        return Derived(
            PeerStatus.HANDSHAKE_PENDING, None, f"{name} does not report the network as up"
        )
    if peer_id in evidence.newest:
        at, who = evidence.newest[peer_id]
        age = max(now - at, 0.0)
        status = PeerStatus.CONNECTED if age <= SILENT_AFTER_SECONDS else PeerStatus.SILENT
        return Derived(status, at, f"handshake {age:.0f} s ago, says {who}")
    if own is None:
        return Derived(None, None, f"{name} is not reporting, and nobody else has its handshake")
    if network is None or not network.up:
        return Derived(
            PeerStatus.HANDSHAKE_PENDING, None, f"{name} does not report the network as up"
        )
    return Derived(PeerStatus.HANDSHAKING, None, f"{name} has the network up, and no handshake yet")


def _own_network(report: pb.StatusReport, network_id: str) -> pb.NetworkStatus | None:
    return next((each for each in report.networks if each.network_id == network_id), None)

"""Why a BGP session is down, and what an operator should do about it: a plan, drawn from evidence.

The node at the end in question knows best, as long as it speaks; of what it cannot see (that the other
node is away, or works with an older state) the platform knows. A plan names the node it is for.
Clearing a session helps when BGP itself is stuck, and with nothing else: a tunnel that is silent needs
the remedy for tunnels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from netns_lab.platform.bgp_answers import STATES, Expected, statuses
from netns_lab.platform.context import Context
from netns_lab.platform.filter_reports import Speaker, iso, speakers
from netns_lab.platform.tables import Peer
from powernode.sdwan.v1 import status_pb2 as pb

_ROUTING_SUBSYSTEM: Final = "routing"
"""Who brings a node's FRR to the BGP that it should have."""
_RESTART: Final = "systemctl restart powernode-agent"


@dataclass(frozen=True, slots=True)
class _Finding:
    """`action` None: there is nothing to do. `on` is the node that it is for."""

    cause: str
    action: str | None
    on: Peer


def diagnose(context: Context, expected: Expected) -> dict[str, object]:
    """The plan for one session, as the skill answers it."""
    peer, neighbor = expected.peer, expected.neighbor
    said = {each.peer_id: each for each in speakers(context, peer.network)}
    own, other = said[peer.id], said[neighbor.id]
    status = statuses(own, peer.network_id).get(neighbor.id)
    state = None if status is None else STATES.get(status.state)
    tunnel = _tunnel(neighbor, own, other)
    found = _find(expected, own, other, status, tunnel)
    return {
        "bgp_session_id": expected.id,
        "peer_id": peer.id,
        "neighbor_id": neighbor.id,
        "state": None if state is None else state.lower(),
        "likely_cause": found.cause,
        "recommended_action": found.action,
        "run_on": None if found.action is None else found.on.node.name,
        "last_reset_reason": (status.last_reset_reason or None) if status is not None else None,
        "other_end": _other_end(other, neighbor, peer),
        "planning_only": True,
        "resolved": False,
        "dry_run": True,
        "not_measured": ["state"] if state is None else [],
    }


def _find(
    expected: Expected,
    own: Speaker,
    other: Speaker,
    status: pb.BgpSessionStatus | None,
    tunnel: str,
) -> _Finding:
    peer, neighbor = expected.peer, expected.neighbor
    if own.report is None:
        seen = own.reported_seconds_ago
        since = "never has" if seen is None else f"last did {seen:.0f} s ago"
        return _Finding(f"not measured: {own.name} does not report (it {since})", _RESTART, peer)
    if status is not None and status.state == pb.BGP_STATE_ESTABLISHED:
        return _Finding("none: the session is established", None, peer)
    said = "" if status is None else status.likely_cause
    broken = _broken(own, peer) or _broken(other, neighbor)
    if broken is not None:
        return broken
    if other.report is None:
        return _Finding(said or f"the neighbour {other.name} does not report", _RESTART, neighbor)
    if tunnel:
        return _Finding(said or tunnel, _remediate(neighbor), peer)
    behind = _behind(own, peer) or _behind(other, neighbor)
    if behind is not None:
        return behind
    if said:
        return _Finding(said, _clear(neighbor), peer)
    if status is None or status.state not in STATES:
        return _Finding(
            f"not measured: {own.name} reports, but not this session; its FRR may be missing",
            "systemctl status frr",
            peer,
        )
    return _Finding(
        f"no evidence of one: both nodes report, and nothing is known against their tunnel;"
        f" the session is {STATES[status.state]}",
        _clear(neighbor),
        peer,
    )


def _broken(speaker: Speaker, peer: Peer) -> _Finding | None:
    """What keeps a node from having the BGP that it should, if anything does."""
    report = speaker.report
    if report is None:
        return None
    refused = speaker.describe()["refused"]
    if refused is not None:
        return _Finding(f"{speaker.name} refuses its desired state: {refused}", _RESTART, peer)
    for outcome in report.outcomes:
        if (
            outcome.subsystem == _ROUTING_SUBSYSTEM
            and outcome.network_id in ("", peer.network_id)
            and outcome.result == pb.RESULT_ERROR
        ):
            return _Finding(
                f"{speaker.name} cannot do its BGP since {iso(outcome.since_ms)}:"
                f" {outcome.message}",
                "powernode-agent status",
                peer,
            )
    return None


def _behind(speaker: Speaker, peer: Peer) -> _Finding | None:
    """Says of a node that it works with an older state than it should, if it does."""
    report = speaker.report
    if report is None or not report.HasField("applied_revision"):
        return None
    if report.applied_revision < speaker.desired:
        return _Finding(
            f"{speaker.name} works with revision {report.applied_revision} of its desired state,"
            f" and should have {speaker.desired}: the two ends may differ in their AS number or"
            " their neighbours",
            _RESTART,
            peer,
        )
    return None


def _tunnel(neighbor: Peer, own: Speaker, other: Speaker) -> str:
    """What this end measures of the way to the neighbour that is wrong; empty: nothing."""
    for each in () if own.report is None else own.report.peers:
        if (each.network_id, each.peer_id) == (neighbor.network_id, neighbor.id):
            if each.liveness == pb.LIVENESS_DEAD:
                return f"{other.name} does not answer the probes of {own.name} through the tunnel"
            if each.state == pb.PEER_STATE_SILENT:
                return f"the tunnel to {other.name} is silent: its last handshake is too old"
            if each.state in (pb.PEER_STATE_HANDSHAKE_PENDING, pb.PEER_STATE_HANDSHAKING):
                return f"the tunnel to {other.name} is not up: there was no handshake yet"
    return ""


def _clear(neighbor: Peer) -> str:
    return f"vtysh -c 'clear ip bgp {neighbor.host_address}'"


def _remediate(neighbor: Peer) -> str:
    return f"execute_skill system-sdwan-peer-remediate with inputs peer_id {neighbor.id}"


def _other_end(other: Speaker, neighbor: Peer, peer: Peer) -> dict[str, object]:
    """The same session as the neighbour sees it: two ends that differ are a finding themselves."""
    status = statuses(other, neighbor.network_id).get(peer.id)
    state = None if status is None else STATES.get(status.state)
    return {
        "peer_id": neighbor.id,
        "name": other.name,
        "reporting": other.report is not None,
        "state": None if state is None else state.lower(),
        "likely_cause": (status.likely_cause or None) if status is not None else None,
    }

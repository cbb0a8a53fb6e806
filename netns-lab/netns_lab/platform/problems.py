"""The runbook's common failures (phase 2), each with cause and fix, found in evidence. Pure.

    KeysOutOfSync             the node says that it works with something else than what is desired: an
                              older revision, or another key
    EndpointUnreachableError  a spoke that no hub answers, or that has no hub to call; and a dead way
                              between a spoke and one of its hubs, said of both ends

The first two kinds take `STUCK_SECONDS` to be said: everything that is on its way looks like this for a
moment. A way is reported as dead only after probes went unanswered for a while. Only a node whose
report stream stands is judged, but for a hub, of which spokes speak; of any other, nothing is known,
and None is not the answer "no problem" (the caller says "not measured").
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from netns_lab.platform.peer_status import PeerStatus
from powernode.sdwan.v1 import status_pb2 as pb

STUCK_SECONDS: Final = 15.0
"""Three times as long as WireGuard takes to repeat a lost handshake."""
ENDPOINT_UNREACHABLE: Final = "EndpointUnreachableError"
KEYS_OUT_OF_SYNC: Final = "KeysOutOfSync"
NAMED: Final = 5
"""How many spokes a sentence names."""
_DEAD_WAY_FIX: Final = (
    "see on both whether WireGuard's UDP passes between them (powernode-agent status); until then the"
    " network keeps to a hub that the most spokes reach"
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What was seen of a peer over time, in seconds since the epoch; None: it is not so now.

    The platform keeps this in memory: after a restart the times count anew.
    """

    silent: bool = False
    handshaking_since: float | None = None
    out_of_step_since: float | None = None
    dead_to: frozenset[str] = frozenset()
    """Of a hub: the spokes, by peer id, whose probes it does not answer."""


@dataclass(frozen=True, slots=True)
class Hub:
    """A hub that a spoke may call. `endpoint` empty: nobody knows where it is."""

    id: str
    name: str
    endpoint: str
    online: bool


@dataclass(frozen=True, slots=True)
class Situation:
    """A peer whose node reports: `hubs` are the hubs of its network other than itself, `out_of_step`
    is what `out_of_step` said of it, `reported_at` in seconds since the epoch."""

    network_id: str
    network: str
    peer_id: str
    name: str
    is_spoke: bool
    status: PeerStatus | None
    report: pb.StatusReport
    reported_at: float
    hubs: Sequence[Hub]
    out_of_step: str
    remembered: Remembered


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure in the runbook's words; `evidence` is what was measured, with its age."""

    error: str
    cause: str
    fix: str
    evidence: str


def out_of_step(
    report: pb.StatusReport, network_id: str, desired: int, public_keys: Collection[str]
) -> str:
    """In which way a node works with something else than what is desired; empty: in none.

    `public_keys` are the keys that it may use now: during a rotation two, while it has still to report
    its first one none, and then its key is not judged.
    """
    applied = report.applied_revision if report.HasField("applied_revision") else None
    if applied is None or applied < desired:
        has = "no revision" if applied is None else f"revision {applied}"
        return f"it has applied {has}, and {desired} is desired"
    for network in report.networks:
        if network.network_id != network_id or not network.public_key or not public_keys:
            continue
        if network.public_key not in public_keys:
            return f"it uses the key {network.public_key}, and not {' or '.join(public_keys)}"
    return ""


def diagnose(situation: Situation, now: float) -> Problem | None:
    """The problem of a peer whose node reports; None: none. `now` in seconds since the epoch."""
    reported = f"reported {max(now - situation.reported_at, 0):.0f} s ago"
    behind = _age(situation.remembered.out_of_step_since, now)
    if situation.out_of_step and behind >= STUCK_SECONDS:
        return _keys_out_of_sync(situation, f"so for {behind:.0f} s; {reported}")
    waiting = _age(situation.remembered.handshaking_since, now)
    if (
        situation.is_spoke
        and situation.status is PeerStatus.HANDSHAKING
        and waiting >= STUCK_SECONDS
    ):
        return _endpoint_unreachable(situation, f"handshaking for {waiting:.0f} s; {reported}")
    return _dead_way(situation, reported) if situation.is_spoke else None


def dead_hub(name: str, spokes: Sequence[str]) -> Problem | None:
    """The problem of a hub that does not answer these spokes, by their names; None: there are none.

    It is the spokes that say so, so it is known of a hub that does not report as well.
    """
    if not spokes:
        return None
    shown = ", ".join(spokes[:NAMED])
    if len(spokes) > NAMED:
        shown += f" and {len(spokes) - NAMED} more"
    return Problem(
        ENDPOINT_UNREACHABLE,
        f"{name} gives {shown} no answer through the overlay",
        _DEAD_WAY_FIX,
        f"their probes, as they report; spokes concerned: {len(spokes)}",
    )


def _dead_way(situation: Situation, reported: str) -> Problem | None:
    dead = {
        each.peer_id: each
        for each in situation.report.peers
        if each.network_id == situation.network_id and each.liveness == pb.LIVENESS_DEAD
    }
    hubs = [hub for hub in situation.hubs if hub.id in dead]
    if not hubs:
        return None
    where = ", ".join(
        f"{hub.name}{f' at {hub.endpoint}' if hub.endpoint else ''}{_state(hub)}" for hub in hubs
    )
    return Problem(
        ENDPOINT_UNREACHABLE,
        f"{situation.name} gets no answer through the overlay from {where}",
        _DEAD_WAY_FIX,
        f"its probes; {reported}",
    )


def _keys_out_of_sync(situation: Situation, evidence: str) -> Problem:
    fix = f"run sdwan_peer_remediate with peer_id {situation.peer_id}: new keys, new handshakes"
    reason = _named_reason(situation)
    if reason:
        fix = f"put right what {situation.name} names (powernode-agent status there); then {fix}"
    return Problem(
        KEYS_OUT_OF_SYNC,
        f"{situation.name}: {situation.out_of_step}{reason}",
        fix,
        evidence,
    )


def _named_reason(situation: Situation) -> str:
    """Why the node says that it is behind; empty: it gives no reason."""
    report = situation.report
    if report.HasField("rejected"):
        why = "; ".join(
            f"{each.resource}: {each.field} must be {each.expected}"
            for each in report.rejected.reasons
        )
        return f"; it refused revision {report.rejected.revision}: {why}"
    errors = [
        f"{each.subsystem}: {each.message}"
        for each in report.outcomes
        if each.result == pb.RESULT_ERROR and each.network_id in ("", situation.network_id)
    ]
    return f"; it reports {'; '.join(errors)}" if errors else ""


def _endpoint_unreachable(situation: Situation, evidence: str) -> Problem:
    name, callable_hubs = situation.name, [hub for hub in situation.hubs if hub.endpoint]
    if not situation.hubs:
        return Problem(
            ENDPOINT_UNREACHABLE,
            f"no peer of network {situation.network} is publicly reachable:"
            f" {name} has nobody to call, and nobody can call it",
            "set publicly_reachable: true on at least one hub peer (system_sdwan_update_peer), with its"
            " UDP port open; the others connect outbound through it",
            evidence,
        )
    if not callable_hubs:
        names = ", ".join(hub.name for hub in situation.hubs)
        return Problem(
            ENDPOINT_UNREACHABLE,
            f"nobody knows where to reach {names}",
            f"set endpoint_address on {names} (system_sdwan_update_peer)",
            evidence,
        )
    traffic = {each.peer_id: each for each in situation.report.peers}
    where = ", ".join(f"{hub.name} at {hub.endpoint}{_state(hub)}" for hub in callable_hubs)
    sent = [
        f"{hub.name}: {status.tx_bytes} bytes sent, {status.rx_bytes} received"
        for hub in callable_hubs
        if (status := traffic.get(hub.id)) is not None
        and status.HasField("tx_bytes")
        and status.HasField("rx_bytes")
    ]
    return Problem(
        ENDPOINT_UNREACHABLE,
        f"{name} has no answer from {where}: a NAT or a firewall keeps WireGuard's UDP out, or the hub"
        " is down",
        "open that UDP port on the hub's side, or set publicly_reachable: true on a hub peer that can"
        " be reached (system_sdwan_update_peer)",
        "; ".join([evidence, *sent]),
    )


def _state(hub: Hub) -> str:
    return "" if hub.online else " (it is not reporting)"


def _age(since: float | None, now: float) -> float:
    return 0.0 if since is None else now - since

"""Virtual IPs as actions answer them: what is desired, what every holder says, who reaches it, and
what is wrong.

The state of a holder is the one that it reports while its stream stands; whether it can be reached is
what the others report. What was not measured is null, and `not_measured` names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netns_lab.platform import peer_status, virtual_ip_problems
from netns_lab.platform.approvals import pending_for
from netns_lab.platform.context import Context
from netns_lab.platform.filter_reports import Speaker, iso, speakers
from netns_lab.platform.peer_status import Evidence, Reporter
from netns_lab.platform.problems import Problem
from netns_lab.platform.queries import is_public
from netns_lab.platform.tables import Network, Peer, VirtualIp
from netns_lab.platform.virtual_ip_move import IN_PROGRESS, MoveState
from netns_lab.platform.virtual_ip_move_rows import describe_move, latest
from netns_lab.platform.virtual_ip_problems import Situation
from netns_lab.platform.virtual_ip_rows import assignments
from netns_lab.platform.virtual_ip_scores import Candidate
from netns_lab.platform.virtual_ip_sight import (
    Holding,
    Probes,
    Reach,
    gather_probes,
    holding,
    reach,
    status_of,
)
from netns_lab.platform.virtual_ip_tables import VirtualIpAssignment


@dataclass(frozen=True, slots=True)
class Sight:
    """What the nodes of one network say, gathered once for all its virtual IPs."""

    speakers: dict[str, Speaker]
    evidence: Evidence
    probes: Probes

    def reach(self, peer_id: str, now: float) -> Reach:
        """Whether a peer can be reached."""
        name = self.speakers[peer_id].name
        return reach(peer_id, name, self.evidence, self.probes, now)

    def holding(self, peer_id: str, virtual_ip_id: str) -> Holding | None:
        """What a peer says that it is to a virtual IP."""
        return holding(self.speakers[peer_id].report, virtual_ip_id)


def look(context: Context, network: Network) -> Sight:
    """What the nodes of a network say now."""
    said = {each.peer_id: each for each in speakers(context, network)}
    evidence = peer_status.gather(
        network.id,
        (
            Reporter(each.peer_id, each.name, each.report)
            for each in said.values()
            if each.report is not None
        ),
    )
    names = {each.peer_id: each.name for each in said.values()}
    return Sight(said, evidence, gather_probes(network.id, names, evidence))


def describe(context: Context, row: VirtualIp) -> dict[str, object]:
    """A virtual IP as it is desired."""
    held = assignments(context.session, row.id)
    return {
        "id": row.id,
        "network_id": row.network_id,
        "name": row.name,
        "address": row.address,
        "anycast": row.anycast,
        "primary_holder_peer_id": held[0].peer_id if held else None,
        "failover_holder_peer_ids": [each.peer_id for each in held[1:]],
        "status": "active",
        "created_at": iso(int(row.created_at * 1000)),
    }


def answer(context: Context, row: VirtualIp, sight: Sight) -> dict[str, object]:
    """A virtual IP with what is measured of it."""
    held = assignments(context.session, row.id)
    move = latest(context.session, row.id)
    approval = pending_for(context.session, row.id)
    problem = _problem(context, row, held, sight)
    return {
        **describe(context, row),
        "holders": [_holder(context, row, each, place, sight) for place, each in enumerate(held)],
        "move": None if move is None else describe_move(move),
        "approval_id": None if approval is None else approval.id,
        "problem": None
        if problem is None
        else {
            "error": problem.error,
            "cause": problem.cause,
            "fix": problem.fix,
            "evidence": problem.evidence,
        },
    }


def candidates(
    context: Context, held: Sequence[VirtualIpAssignment], sight: Sight
) -> list[Candidate]:
    """Those that could hold instead of the primary."""
    found: list[Candidate] = []
    for place, each in enumerate(held):
        peer = context.session.get_one(Peer, each.peer_id)
        if place:
            found.append(
                Candidate(
                    peer_id=peer.id,
                    name=peer.node.name,
                    place=place,
                    is_hub=is_public(peer),
                    reporting=sight.speakers[peer.id].report is not None,
                    reach=sight.reach(peer.id, context.now),
                    holding=sight.holding(peer.id, each.virtual_ip_id),
                )
            )
    return found


def _holder(
    context: Context, row: VirtualIp, held: VirtualIpAssignment, place: int, sight: Sight
) -> dict[str, object]:
    speaker = sight.speakers[held.peer_id]
    status = status_of(speaker.report, row.id)
    state = sight.holding(held.peer_id, row.id)
    reached = sight.reach(held.peer_id, context.now)
    announced = status is not None and status.HasField("announced")
    missing = [
        name
        for name, known in (
            ("state", state is not None),
            ("announced", announced),
            ("reachable", reached.reachable is not None),
            ("rtt_ms", reached.rtt_us is not None),
        )
        if not known
    ]
    at = reached.last_handshake_at
    return {
        **speaker.describe(),
        "role": "primary" if place == 0 else "failover",
        "desired": (Holding.HOLDING if held.hold else Holding.STANDBY).value,
        "local_preference": held.local_preference or None,
        "state": None if state is None else state.value,
        "since": iso(status.since_ms) if state is not None and status is not None else None,
        "announced": status.announced if status is not None and announced else None,
        "reachable": reached.reachable,
        "reachable_evidence": f"{speaker.name}: {reached.sentence}",
        "alive_to": list(reached.alive_to),
        "dead_to": list(reached.dead_to),
        "rtt_ms": None if reached.rtt_us is None else reached.rtt_us / 1000,
        "last_handshake_at": None if at is None else iso(int(at * 1000)),
        "not_measured": missing,
    }


def _problem(
    context: Context, row: VirtualIp, held: Sequence[VirtualIpAssignment], sight: Sight
) -> Problem | None:
    memory = context.services.virtual_ip_memory(row.id)
    move = latest(context.session, row.id)
    approval = pending_for(context.session, row.id)
    primary = held[0].peer_id if held else ""
    silent = "; ".join(
        why for each in held if each.hold and (why := memory.silent.get(each.peer_id, ""))
    )
    names = [sight.speakers[each.peer_id].name for each in held]
    return virtual_ip_problems.diagnose(
        Situation(
            id=row.id,
            address=row.address,
            anycast=row.anycast,
            holder=names[0] if names else "",
            others=names[1:],
            held_by=[
                speaker.name
                for peer_id, speaker in sight.speakers.items()
                if sight.holding(peer_id, row.id) is Holding.HOLDING
            ],
            twice_for=(0.0 if memory.twice_since is None else context.now - memory.twice_since),
            silent=silent,
            absent=_absent_for(context, row, primary, sight),
            approval="" if approval is None else approval.id,
            moving=move is not None and MoveState(move.state) in IN_PROGRESS,
        )
    )


def _absent_for(context: Context, row: VirtualIp, primary: str, sight: Sight) -> float | None:
    if not primary or sight.holding(primary, row.id) is not Holding.ABSENT:
        return None
    status = status_of(sight.speakers[primary].report, row.id)
    return 0.0 if status is None else max(context.now - status.since_ms / 1000, 0.0)

"""Peers as actions answer them: what is desired, what was measured, what is wrong.

What was not measured is null, and `not_measured` names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import or_, select

from netns_lab.platform import peer_status, problems
from netns_lab.platform.context import Context, Observation
from netns_lab.platform.intent import Role
from netns_lab.platform.peer_status import Derived, Evidence, PeerStatus, Reporter
from netns_lab.platform.problems import Hub, Problem, Situation
from netns_lab.platform.queries import (
    decided_public,
    endpoint_of,
    is_public,
    public_key_of,
    why_public,
)
from netns_lab.platform.tables import Network, Peer


def answer_all(context: Context, network: Network) -> list[dict[str, object]]:
    """All peers of a network in their order."""
    hubs = _hubs(context, network.peers)
    evidence = _evidence(context, network.id, network.peers)
    return [_answer(context, peer, evidence, hubs) for peer in network.peers]


def answer_one(context: Context, peer: Peer) -> dict[str, object]:
    """One peer, as among all of them.

    Reads that peer's own report and those of the hubs: an action on one peer of thousands does not
    look at what all of them say.
    """
    candidates = context.session.scalars(
        select(Peer).where(
            Peer.network_id == peer.network_id,
            or_(Peer.wanted_public.is_(True), Peer.detected_public.is_(True)),
        )
    )
    hubs = [each for each in candidates if each is not peer and is_public(each)]
    evidence = _evidence(context, peer.network_id, [peer, *hubs])
    return _answer(context, peer, evidence, _hubs(context, hubs))


def answer_new(context: Context, peer: Peer) -> dict[str, object]:
    """A peer that was attached just now: nobody but its own node can have anything to say of it."""
    return _answer(context, peer, _evidence(context, peer.network_id, [peer]), ())


def describe(peer: Peer) -> dict[str, object]:
    """A peer as actions answer it; never its private key.

    `endpoint_address` is the runbook's word for `endpoint`. `publicly_reachable` is null until somebody
    has said or found out; `role` is what the peer is meanwhile.
    """
    return {
        "id": peer.id,
        "name": peer.node.name,
        "network_id": peer.network_id,
        "node_instance_id": peer.node_id,
        "public_key": public_key_of(peer, peer.active_generation) or None,
        "next_public_key": public_key_of(peer, peer.next_generation) or None,
        "host_address": peer.host_address,
        "host_ipv4": peer.host_ipv4 or None,
        "endpoint": endpoint_of(peer) or None,
        "endpoint_address": endpoint_of(peer) or None,
        "listen_port": peer.listen_port,
        "publicly_reachable": decided_public(peer),
        "publicly_reachable_evidence": why_public(peer),
        "detected": peer.wanted_public is None and peer.detected_public is not None,
        "role": (Role.HUB if is_public(peer) else Role.SPOKE).value,
        "key_source": peer.key_source,
        "lan_subnets": [
            {"prefix": lan.prefix, "description": lan.description} for lan in peer.lan_subnets
        ],
    }


def _answer(
    context: Context, peer: Peer, evidence: Evidence, hubs: Sequence[Hub]
) -> dict[str, object]:
    seen = context.services.observation(peer.node_id)
    derived = peer_status.derive(peer.id, peer.node.name, evidence, context.now)
    if derived.status is None and (seen.report is None or seen.received_at < peer.created_at):
        # It has said nothing since it was attached, so it has not picked the configuration up yet.
        since = (
            "never reported" if seen.report is None else "has not reported since it was attached"
        )
        derived = Derived(PeerStatus.HANDSHAKE_PENDING, None, f"{peer.node.name} {since}")
    described = describe(peer)
    at = derived.last_handshake_at
    unmeasured = [] if derived.status else ["status", "last_handshake_at"]
    if described["publicly_reachable"] is None:
        unmeasured.append("publicly_reachable")
    problem = _problem(context, peer, seen, derived, hubs) if seen.online else None
    problem = problem or problems.dead_hub(peer.node.name, _dead_to(context, peer))
    if problem is None and not seen.online:
        unmeasured.append("problem")
    return {
        **described,
        "status": derived.status.value if derived.status else None,
        "last_handshake_at": None if at is None else _iso(at),
        "evidence": derived.evidence,
        "problem": None if problem is None else _problem_answer(problem),
        "not_measured": unmeasured,
        "reporting": seen.online,
        "reported_seconds_ago": (
            None if seen.report is None else round(context.now - seen.received_at, 3)
        ),
    }


def _problem(
    context: Context, peer: Peer, seen: Observation, derived: Derived, hubs: Sequence[Hub]
) -> Problem | None:
    if seen.report is None:
        return None
    known = [
        key
        for generation in (peer.active_generation, peer.next_generation)
        if (key := public_key_of(peer, generation))
    ]
    desired = context.services.revision(peer.node_id)
    return problems.diagnose(
        Situation(
            network_id=peer.network_id,
            network=peer.network.name,
            peer_id=peer.id,
            name=peer.node.name,
            is_spoke=not is_public(peer),
            status=derived.status,
            report=seen.report,
            reported_at=seen.received_at,
            hubs=[hub for hub in hubs if hub.id != peer.id],
            out_of_step=problems.out_of_step(seen.report, peer.network_id, desired, known),
            remembered=context.services.remembered(peer.network_id, peer.id),
        ),
        context.now,
    )


def _dead_to(context: Context, peer: Peer) -> list[str]:
    """Names of the spokes that say now that `peer`, a hub, is dead to them."""
    remembered = context.services.remembered(peer.network_id, peer.id)
    spokes = (context.session.get(Peer, peer_id) for peer_id in remembered.dead_to)
    return sorted(
        spoke.node.name
        for spoke in spokes
        if spoke is not None and context.services.observation(spoke.node_id).online
    )


def _problem_answer(problem: Problem) -> dict[str, object]:
    return {
        "error": problem.error,
        "cause": problem.cause,
        "fix": problem.fix,
        "evidence": problem.evidence,
    }


def _evidence(context: Context, network_id: str, peers: Sequence[Peer]) -> Evidence:
    observed = ((peer, context.services.observation(peer.node_id)) for peer in peers)
    return peer_status.gather(
        network_id,
        (
            Reporter(peer.id, peer.node.name, seen.report)
            for peer, seen in observed
            if seen.online and seen.report is not None
        ),
    )


def _hubs(context: Context, peers: Sequence[Peer]) -> list[Hub]:
    return [
        Hub(
            id=peer.id,
            name=peer.node.name,
            endpoint=endpoint_of(peer),
            online=context.services.observation(peer.node_id).online,
        )
        for peer in peers
        if is_public(peer)
    ]


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")

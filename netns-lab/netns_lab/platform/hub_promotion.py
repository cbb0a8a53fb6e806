"""The runbook's sdwan_failover: which spoke could be a hub in place of one that is unreachable.

A plan from evidence: a spoke is a candidate if others could call it, which its own address, a trial by
witnesses (`standing`) or an operator's endpoint says. It names the exact actions. Nothing is changed
without approval: with `dry_run: false` the promotion is put in the approval queue, and what is approved
is looked at again before it is carried out. Traffic of a network with another hub that answers has
moved there by itself (`hubs`); then the plan says that nothing is needed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from netns_lab.platform import approvals
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.effect import Effect
from netns_lab.platform.errors import ActionError
from netns_lab.platform.intent import Role, Standing
from netns_lab.platform.phase2_peers import UpdatePeer, update_peer
from netns_lab.platform.queries import endpoint_of, peer_intent
from netns_lab.platform.registry import Action, Arguments, action
from netns_lab.platform.tables import Network, Peer

SKILL: Final = "sdwan_failover"
_POINTS: Final = {Standing.CONFIRMED: 40, Standing.PRESUMED: 20, Standing.UNTRIED: 10}
_OPERATOR_ENDPOINT: Final = 30
_REPORTS: Final = 20


class Failover(Arguments):
    """Without `target_peer_id` the candidate with the highest score. `dry_run: false` puts the
    promotion in the approval queue."""

    network_id: str
    target_peer_id: str | None = None
    dry_run: bool = True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A spoke, where others would call it (empty: nowhere), and what speaks for it and against."""

    peer: Peer
    endpoint: str
    points: int
    reasons: tuple[str, ...]

    @property
    def eligible(self) -> bool:
        """Others could call it, and it is there to be told."""
        return bool(self.endpoint) and self.points > 0

    def describe(self) -> dict[str, object]:
        """As actions answer it."""
        return {
            "peer_id": self.peer.id,
            "name": self.peer.node.name,
            "endpoint_address": self.endpoint or None,
            "score": self.points,
            "eligible": self.eligible,
            "reasons": list(self.reasons),
        }


def plan(context: Context, arguments: Failover) -> Answer:
    """Emits a plan to promote a spoke to a hub; it runs only when an operator approves."""
    network = context.network(arguments.network_id)
    answer, chosen = _plan(context, network, arguments.target_peer_id)
    if arguments.dry_run or chosen is None:
        return {**answer, "dry_run": arguments.dry_run}
    inputs = {"network_id": network.id, "target_peer_id": chosen.peer.id}
    asked, new = approvals.request(
        context.session,
        context.account_id,
        SKILL,
        network.id,
        inputs,
        str(answer["reason"]),
        context.now,
    )
    if asked.inputs != json.dumps(inputs):
        raise ActionError(
            "network_id",
            f"must have nothing else in the approval queue; {asked.id} waits for {asked.inputs}",
        )
    if new:
        context.event(
            "approval.requested",
            network_id=network.id,
            approval_id=asked.id,
            skill=SKILL,
            subject_id=network.id,
        )
    return {
        **answer,
        "dry_run": False,
        "reason": f"blocked by the require_approval policy of {SKILL}: run system_sdwan_approve with"
        f" approval_id {asked.id}",
        "approval": approvals.describe_approval(asked),
    }


def promote(context: Context, arguments: Failover) -> Answer:
    """Makes a spoke a hub."""
    network = context.network(arguments.network_id)
    answer, chosen = _plan(context, network, arguments.target_peer_id)
    if chosen is None:
        raise ActionError("network_id", f"must have a spoke to promote; {answer['reason']}")
    promoted = update_peer(
        context,
        UpdatePeer(
            peer_id=chosen.peer.id, publicly_reachable=True, endpoint_address=chosen.endpoint
        ),
    )
    context.event("hub.promoted", network_id=network.id, peer_id=chosen.peer.id)
    return {**answer, **promoted}


def _plan(
    context: Context, network: Network, target: str | None
) -> tuple[Answer, Candidate | None]:
    roles = {peer.id: peer_intent(peer).role for peer in network.peers}
    hubs = [peer for peer in network.peers if roles[peer.id] is Role.HUB]
    troubles = {hub.id: _trouble(context, network, hub) for hub in hubs}
    spokes = [_judge(context, peer) for peer in network.peers if roles[peer.id] is Role.SPOKE]
    # Sorting is stable: of equals the one that was attached first.
    spokes.sort(key=lambda each: (not each.eligible, -each.points))
    chosen, reason = _choose(spokes, target)
    serving = [hub.node.name for hub in hubs if not troubles[hub.id]]
    actions = [] if chosen is None else [_promotion(chosen)]
    return {
        "network_id": network.id,
        "hubs": [
            {
                "peer_id": hub.id,
                "name": hub.node.name,
                "unreachable": bool(troubles[hub.id]),
                "evidence": troubles[hub.id] or "nothing is known against it",
            }
            for hub in hubs
        ],
        "needed": not serving,
        "reason": f"not needed for reachability: {', '.join(serving)} serves; {reason}"
        if serving
        else reason,
        "candidates": [each.describe() for each in spokes],
        "promotes": None if chosen is None else chosen.peer.id,
        "actions": actions,
        "watch": "system_sdwan_list_peers: the spokes shake hands with the new hub",
    }, chosen


def _trouble(context: Context, network: Network, hub: Peer) -> str:
    """Why a hub counts as unreachable; empty: it does not."""
    known = context.services.remembered(network.id, hub.id)
    if known.dead_to:
        return f"dead to {len(known.dead_to)} of the spokes"
    return "its last handshake is more than 5 minutes old" if known.silent else ""


def _judge(context: Context, peer: Peer) -> Candidate:
    seen = context.services.observation(peer.node_id)
    if not seen.online:
        return Candidate(peer, "", 0, ("it does not report, so it cannot be told",))
    if peer.wanted_endpoint:
        why = "an operator gave its endpoint"
        return Candidate(
            peer, endpoint_of(peer), _OPERATOR_ENDPOINT + _REPORTS, ("it reports", why)
        )
    if not peer.detected_public:
        why = (
            "it comes from an address that none of its interfaces has, or has not said where it is"
        )
        return Candidate(peer, "", 0, (why,))
    standing = Standing(peer.standing)
    if standing is Standing.REFUTED:
        return Candidate(peer, "", 0, (peer.standing_because,))
    own = f"its own interface has the address that the platform sees, {peer.detected_endpoint}"
    reasons = ["it reports", own]
    if peer.standing_because:
        reasons.append(peer.standing_because)
    if peer.wanted_public is False:
        reasons.append("an operator said that it is not publicly reachable: ask why first")
    points = _POINTS[standing] + _REPORTS - (15 if peer.wanted_public is False else 0)
    return Candidate(peer, peer.detected_endpoint, points, tuple(reasons))


def _choose(spokes: list[Candidate], target: str | None) -> tuple[Candidate | None, str]:
    """The spoke to promote and why; None: there is none, and why. Raises `ActionError`."""
    if target is not None:
        named = next((each for each in spokes if each.peer.id == target), None)
        if named is None:
            raise ActionError("target_peer_id", f"must be a spoke of the network, got {target!r}")
        if not named.eligible:
            raise ActionError(
                "target_peer_id",
                f"must be a node that others can call; {', '.join(named.reasons)}",
            )
        return named, f"the operator named {named.peer.node.name}"
    if spokes and spokes[0].eligible:
        best = spokes[0]
        return best, f"{best.peer.node.name} has the highest score: {', '.join(best.reasons)}"
    return None, (
        "no spoke can be called by others: attach a node with a public address, or give one an endpoint"
        " that is forwarded to it (system_sdwan_update_peer, endpoint_address)"
    )


def _promotion(chosen: Candidate) -> dict[str, object]:
    return {
        "action": "system_sdwan_update_peer",
        "arguments": {
            "peer_id": chosen.peer.id,
            "publicly_reachable": True,
            "endpoint_address": chosen.endpoint,
        },
    }


PROMOTE: Final = action(SKILL, Failover, promote)
"""What the skill does once it is approved."""
FAILOVER: Final = action(SKILL, Failover, plan, effect=Effect.DESTRUCTIVE)

ACTIONS: Final[tuple[Action, ...]] = (FAILOVER,)

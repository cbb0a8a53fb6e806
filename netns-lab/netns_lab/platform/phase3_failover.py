"""Runbook, phase 3: failing a virtual IP over, by an operator or by a skill that an operator approves.

`system_sdwan_failover_virtual_ip` does it, and is the operator's own word. `sdwan_vip_failover` is the
skill of the same: its policy is require_approval, so it only puts the failover in the queue
(`approvals`), unless it is a dry run. An answer says what begins; `resolved` is false until the new
holder has reported that it holds, which the reports decide (`virtual_ip_moves`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from netns_lab.platform import approvals
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Network, Peer, VirtualIp
from netns_lab.platform.virtual_ip_answers import Sight, candidates, look
from netns_lab.platform.virtual_ip_move_rows import begin, blocks, describe_move, unfinished
from netns_lab.platform.virtual_ip_rows import assignments
from netns_lab.platform.virtual_ip_rules import virtual_ip_of
from netns_lab.platform.virtual_ip_scores import Score, rank
from netns_lab.platform.virtual_ip_sensor import SKILL
from netns_lab.platform.virtual_ip_tables import VirtualIpAssignment


class FailoverVirtualIp(Arguments):
    """Without `target_peer_id` the candidate with the highest score; `dry_run` says what would happen
    and does nothing."""

    virtual_ip_id: str
    target_peer_id: str | None = None
    dry_run: bool = False


def failover_virtual_ip(context: Context, arguments: FailoverVirtualIp) -> Answer:
    """Moves a virtual IP from its primary holder to another one, make before break."""
    row = virtual_ip_of(context, arguments.virtual_ip_id)
    held = assignments(context.session, row.id)
    previous = held[0].peer_id if held else None
    scores = _scores(context, row, held)
    said: Answer = {
        "resolved": False,
        "virtual_ip_id": row.id,
        "previous_holder": previous,
        "new_holder": None,
        "dry_run": arguments.dry_run,
        "anycast": row.anycast,
        "candidates": [each.describe() for each in scores],
        "reason": None,
        "move": None,
    }
    if row.anycast:
        return {
            **said,
            "reason": "informational only: all holders of an anycast virtual IP serve it, and routing"
            " handles failover",
        }
    refuse_while_moving(context, row)
    chosen, reason = _choose(row, held, scores, arguments.target_peer_id)
    if chosen is None:
        return {**said, "reason": reason}
    said |= {"new_holder": chosen, "reason": reason}
    if arguments.dry_run:
        return said
    return {**said, "move": _begin(context, row, chosen, reason)}


def vip_failover(context: Context, arguments: FailoverVirtualIp) -> Answer:
    """Puts the failover of a virtual IP in the approval queue; an operator approves, then it runs."""
    previewed = failover_virtual_ip(context, arguments.model_copy(update={"dry_run": True}))
    if arguments.dry_run or previewed["new_holder"] is None:
        return {**previewed, "dry_run": arguments.dry_run}
    inputs = arguments.model_dump(exclude={"dry_run"}, exclude_none=True)
    asked, new = approvals.request(
        context.session,
        context.account_id,
        SKILL,
        arguments.virtual_ip_id,
        inputs,
        "the skill was run",
        context.now,
    )
    if asked.inputs != json.dumps(inputs):
        raise ActionError(
            "virtual_ip_id",
            f"must have nothing else in the approval queue; {asked.id} waits for {asked.inputs}",
        )
    if new:
        context.event(
            "approval.requested", approval_id=asked.id, skill=asked.skill, subject_id=asked.subject
        )
    return {
        **previewed,
        "dry_run": False,
        "reason": f"blocked by the require_approval policy of {SKILL}: run system_sdwan_approve with"
        f" approval_id {asked.id}",
        "approval": approvals.describe_approval(asked),
    }


def move_to(context: Context, row: VirtualIp, target: str, field: str) -> None:
    """Begins a planned move to a holder. `field` is the argument that asked for it."""
    held = assignments(context.session, row.id)
    scores = _scores(context, row, held)
    _check_target(row, scores, target, field)
    _begin(context, row, target, f"the operator named another {field}")


def refuse_while_moving(context: Context, row: VirtualIp) -> None:
    """Raises `ActionError` while a move of the virtual IP is under way."""
    for each in unfinished(context.session, row.id):
        if blocks(each):
            raise ActionError(
                "virtual_ip_id", f"must have no move in progress; {each.id} is {each.state}"
            )


def leave_virtual_ips(context: Context, peer: Peer) -> None:
    """Before a peer is detached: what it holds alone goes to the best of the others at once."""
    for row in context.session.get_one(Network, peer.network_id).virtual_ips:
        held = assignments(context.session, row.id)
        if row.anycast or not held or held[0].peer_id != peer.id:
            continue
        if len(held) > 1 and not any(map(blocks, unfinished(context.session, row.id))):
            best = _scores(context, row, held)[0].candidate.peer_id
            away = f"{peer.node.name} was detached from the network"
            begin(context.session, row, best, "the holder leaves", context.now, away)
            context.starts_move = True


def _choose(
    row: VirtualIp,
    held: Sequence[VirtualIpAssignment],
    scores: Sequence[Score],
    target: str | None,
) -> tuple[str | None, str]:
    """The new holder and why; None: there is nowhere to go, and why. Raises `ActionError`."""
    if target is not None and not any(each.peer_id == target for each in held):
        raise ActionError("target_peer_id", f"must be a holder of {row.name}, got {target!r}")
    if not scores:
        return None, (
            f"only one candidate: {row.name} has no failover holder, so there is nothing to promote"
        )
    if target is not None:
        _check_target(row, scores, target, "target_peer_id")
        return target, "the operator named it"
    best = scores[0]
    if not best.eligible and len(scores) > 1:
        return None, "no candidate reports and can be reached; see their reasons"
    why = (
        "the highest score"
        if best.eligible
        else "the only candidate, and not known to be reachable"
    )
    return best.candidate.peer_id, f"{best.candidate.name} is {why}"


def _check_target(row: VirtualIp, scores: Sequence[Score], target: str, field: str) -> None:
    for each in scores:
        if each.candidate.peer_id == target:
            if not each.eligible and len(scores) > 1:
                raise ActionError(
                    field,
                    f"must report and be reachable; of {each.candidate.name} is known:"
                    f" {', '.join(each.reasons)}",
                )
            return
    raise ActionError(field, f"must be another holder of {row.name}; {target!r} holds it already")


def _begin(context: Context, row: VirtualIp, chosen: str, because: str) -> dict[str, object]:
    primary = context.session.get_one(Peer, assignments(context.session, row.id)[0].peer_id)
    move = begin(context.session, row, chosen, because, context.now, _away(context, row, primary))
    taken = approvals.withdraw(
        context.session, row.id, f"{move.id} moves the virtual IP", context.now
    )
    if taken is not None:
        context.event(
            "approval.withdrawn", approval_id=taken.id, skill=taken.skill, subject_id=taken.subject
        )
    context.touch(row.network_id)
    context.starts_move = True
    context.event(
        "virtual_ip.move_started",
        network_id=row.network_id,
        virtual_ip_id=row.id,
        move_id=move.id,
        previous_holder=move.from_peer_id,
        new_holder=move.to_peer_id,
        state=move.state,
    )
    return describe_move(move)


def _away(context: Context, row: VirtualIp, primary: Peer) -> str:
    """Why there is no use in waiting for the primary; empty: there is.

    Of a node that has not been heard of since the platform started, nothing is known yet.
    """
    silent = context.services.virtual_ip_memory(row.id).silent.get(primary.id, "")
    seen = context.services.observation(primary.node_id)
    if silent or seen.online or seen.report is None:
        return silent
    return f"{primary.node.name} does not report"


def _scores(
    context: Context, row: VirtualIp, held: Sequence[VirtualIpAssignment]
) -> tuple[Score, ...]:
    network = context.session.get_one(Network, row.network_id)
    sight: Sight = look(context, network)
    return rank(candidates(context, held, sight), context.now)


FAILOVER: Final = action("sdwan_vip_failover", FailoverVirtualIp, failover_virtual_ip)
"""What the skill does once it is approved."""
VIP_FAILOVER: Final = action(SKILL, FailoverVirtualIp, vip_failover)

ACTIONS: Final[tuple[Action, ...]] = (
    action(
        "system_sdwan_failover_virtual_ip",
        FailoverVirtualIp,
        failover_virtual_ip,
        effect=Effect.DESTRUCTIVE,
    ),
    VIP_FAILOVER,
)

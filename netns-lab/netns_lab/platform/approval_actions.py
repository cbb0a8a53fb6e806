"""Runbook, troubleshooting: the approval queue ("operator approves, executor runs").

`system_sdwan_list_approvals`, `system_sdwan_approve`, `system_sdwan_reject`. Approving carries out what
was asked for in the same transaction, by what is known then and not when it was asked: if that is
refused, the request stays in the queue.
"""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import select

from netns_lab.platform import hub_promotion, phase3_failover, phase7_user_devices
from netns_lab.platform.approvals import ApprovalState, decide, describe_approval
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.registry import Action, Arguments, Effect, action, make_registry
from netns_lab.platform.virtual_ip_tables import ApprovalRow

EXECUTORS: Final = make_registry(
    (phase3_failover.FAILOVER, phase7_user_devices.REVOKE, hub_promotion.PROMOTE)
)
"""What an approved skill does, by its name: one for each that `policies` says require_approval of."""


class ListApprovals(Arguments):
    """Requests in one state; null: in any."""

    state: Literal["pending", "executed", "rejected", "withdrawn"] | None = "pending"


class Approve(Arguments):
    """A request by id."""

    approval_id: str


class Reject(Approve):
    """`reason` is shown with the request."""

    reason: Annotated[str, Field(max_length=1000)] = ""


def list_approvals(context: Context, arguments: ListApprovals) -> Answer:
    """Lists what waits for approval, or was decided, oldest first."""
    query = select(ApprovalRow).where(ApprovalRow.account_id == context.account_id)
    if arguments.state is not None:
        query = query.where(ApprovalRow.state == arguments.state)
    rows = context.session.scalars(query.order_by(ApprovalRow.requested_at, ApprovalRow.id))
    return {"approvals": [describe_approval(row) for row in rows]}


def approve(context: Context, arguments: Approve) -> Answer:
    """Approves a request and carries it out."""
    row = _pending(context, arguments.approval_id)
    # Decided first: what is carried out withdraws whatever else waits about the same.
    decide(
        row, ApprovalState.EXECUTED, "approved by an operator", context.now, by=str(context.caller)
    )
    context.session.flush()
    try:
        answer = EXECUTORS[row.skill].run(context, json.loads(row.inputs))
    except ActionError as error:
        raise ActionError(
            "approval_id", f"must be possible to carry out; {error.field} {error.rule}"
        ) from None
    row.answer = json.dumps(answer)
    context.session.flush()
    context.event("approval.executed", approval_id=row.id, skill=row.skill, subject_id=row.subject)
    return {"approval": describe_approval(row), "answer": answer}


def reject(context: Context, arguments: Reject) -> Answer:
    """Rejects a request; it is asked for again when the sensor fires again."""
    row = _pending(context, arguments.approval_id)
    reason = arguments.reason or "rejected by an operator"
    decide(row, ApprovalState.REJECTED, reason, context.now, by=str(context.caller))
    context.session.flush()
    context.event("approval.rejected", approval_id=row.id, skill=row.skill, subject_id=row.subject)
    return {"approval": describe_approval(row)}


def _pending(context: Context, approval_id: str) -> ApprovalRow:
    row = context.session.get(ApprovalRow, approval_id)
    if row is None or row.account_id != context.account_id:
        raise ActionError(
            "approval_id", f"must be a request of the account; there is no {approval_id!r}"
        )
    if row.state != ApprovalState.PENDING.value:
        raise ActionError("approval_id", f"must be pending; {row.id} is {row.state}")
    return row


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_list_approvals", ListApprovals, list_approvals, effect=Effect.READ),
    action("system_sdwan_approve", Approve, approve, effect=Effect.DESTRUCTIVE),
    action("system_sdwan_reject", Reject, reject, effect=Effect.DESTRUCTIVE),
)

"""The approval queue: what a skill with the policy require_approval would do, and who has to say so.

    pending    waits for an operator
    executed   approved, and carried out in the same transaction: what was refused stays pending
    rejected   an operator said no
    withdrawn  what asked for it is over, or was settled by other means

One at a time waits for each subject: a sensor that says the same again asks for nothing new.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session

from netns_lab.platform.filter_reports import iso
from netns_lab.platform.virtual_ip_tables import ApprovalRow


class ApprovalState(Enum):
    """Where a request stands."""

    PENDING = "pending"
    EXECUTED = "executed"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


def pending_for(session: Session, subject: str) -> ApprovalRow | None:
    """What waits for approval about a subject; None: nothing."""
    return session.scalars(
        select(ApprovalRow).where(
            ApprovalRow.subject == subject, ApprovalRow.state == ApprovalState.PENDING.value
        )
    ).first()


def request(
    session: Session,
    account_id: str,
    skill: str,
    subject: str,
    inputs: Mapping[str, object],
    because: str,
    now: float,
) -> tuple[ApprovalRow, bool]:
    """The request that waits for a subject, and whether it is new."""
    waiting = pending_for(session, subject)
    if waiting is not None:
        return waiting, False
    row = ApprovalRow(
        id=f"appr-{secrets.token_hex(6)}",
        account_id=account_id,
        skill=skill,
        subject=subject,
        inputs=json.dumps(dict(inputs)),
        because=because,
        state=ApprovalState.PENDING.value,
        requested_at=now,
        decided_at=None,
        decision="",
        answer="null",
    )
    session.add(row)
    session.flush()
    return row, True


def decide(
    row: ApprovalRow,
    state: ApprovalState,
    decision: str,
    now: float,
    answer: Mapping[str, object] | None = None,
    by: str = "",
) -> None:
    """Writes down what became of a request. `now` in seconds since the epoch. `by` is who decided it;
    empty: the platform."""
    row.state, row.decision, row.decided_at = state.value, decision, now
    row.decided_by = by
    row.answer = json.dumps(answer)


def withdraw(session: Session, subject: str, because: str, now: float) -> ApprovalRow | None:
    """Takes back what waits for a subject; None: nothing did."""
    waiting = pending_for(session, subject)
    if waiting is not None:
        decide(waiting, ApprovalState.WITHDRAWN, because, now)
        session.flush()
    return waiting


def describe_approval(row: ApprovalRow) -> dict[str, object]:
    """A request as actions answer it."""
    decided = row.decided_at
    return {
        "id": row.id,
        "skill": row.skill,
        "policy": "require_approval",
        "subject_id": row.subject,
        "inputs": json.loads(row.inputs),
        "because": row.because,
        "state": row.state,
        "requested_at": iso(int(row.requested_at * 1000)),
        "decided_at": None if decided is None else iso(int(decided * 1000)),
        "decision": row.decision or None,
        "decided_by": row.decided_by or None,
        "answer": json.loads(row.answer),
    }

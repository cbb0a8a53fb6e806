"""The audit log: every call of an action that may change something, whatever the door, and who made it.

What succeeds is written in the action's own transaction, so that there is no change without a line and
no line without the change; what is refused in one of its own, because its transaction is rolled back.
Calls that change nothing are not logged: reads, and dry runs. They are most of all calls, and the log
would bury what it is for. Secrets never get in, and long values are cut. Nothing is ever taken out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import Index, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from netns_lab.platform.argument_errors import is_secret
from netns_lab.platform.caller import LONGEST, Caller
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_reports import iso
from netns_lab.platform.registry import Action, Arguments, Effect, action, plain_name
from netns_lab.platform.tables import Table

LONGEST_TEXT: Final = 500
LONGEST_LIST: Final = 50
DEEPEST: Final = 8
NOT_SHOWN: Final = "(not shown)"


class AuditRow(Table):
    """A call. `arguments` and `touched` are JSON, `at` seconds since the epoch."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("audit_log_by_account", "account_id", "id"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[float]
    account_id: Mapped[str]
    door: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    arguments: Mapped[str]
    outcome: Mapped[str]
    field: Mapped[str]
    rule: Mapped[str]
    touched: Mapped[str]
    approval_id: Mapped[str]


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came in. `action` is the name that was called, known or not."""

    at: float
    caller: Caller
    action: str
    arguments: Mapping[str, object]


def executed(session: Session, call: Call, context: Context, answer: Answer) -> None:
    """Writes down a call that succeeded, in its own transaction."""
    approval = answer.get("approval")
    approval_id = str(approval.get("id", "")) if isinstance(approval, Mapping) else ""
    session.add(_row(call, "ok", touched=_touched(context, answer), approval_id=approval_id))


def refused(session: Session, call: Call, error: ActionError) -> None:
    """Writes down a call that was refused; what it had changed is rolled back by now."""
    session.add(_row(call, "refused", field=error.field, rule=error.rule))


def _row(
    call: Call,
    outcome: str,
    *,
    field: str = "",
    rule: str = "",
    touched: Iterable[str] = (),
    approval_id: str = "",
) -> AuditRow:
    return AuditRow(
        at=call.at,
        account_id=call.caller.account_id,
        door=call.caller.door[:LONGEST],
        actor=call.caller.actor[:LONGEST],
        action=call.action[:LONGEST],
        arguments=json.dumps(without_secrets(call.arguments)),
        outcome=outcome,
        field=field[:LONGEST],
        rule=rule[:LONGEST_TEXT],
        touched=json.dumps(sorted(touched)[:LONGEST_LIST]),
        approval_id=approval_id,
    )


def without_secrets(value: object, name: str = "", depth: int = 0) -> object:
    """A value as it may be kept: secrets by name or by look are left out, and what is long is cut."""
    if isinstance(value, str):
        if is_secret(name, value):
            return NOT_SHOWN
        return value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
    if value is None or isinstance(value, bool | int | float):
        return NOT_SHOWN if value is not None and is_secret(name, "") else value
    if depth >= DEEPEST or is_secret(name, ""):
        return NOT_SHOWN
    if isinstance(value, Mapping):
        kept = list(value.items())[:LONGEST_LIST]
        return {
            str(key)[:LONGEST]: without_secrets(each, str(key), depth + 1) for key, each in kept
        }
    if isinstance(value, list | tuple):
        shown = [without_secrets(each, name, depth + 1) for each in value[:LONGEST_LIST]]
        more = len(value) - len(shown)
        return [*shown, f"… and {more} more"] if more else shown
    return f"a {type(value).__name__}"


def _touched(context: Context, answer: Answer) -> set[str]:
    """Ids of what changed: what the action said that it touched, and the objects that it answers."""
    found = {each for pair in context.touched for each in pair} | context.touched_nodes
    found |= {each for part in context.touched_filters for each in (part.network_id, part.id)}
    for value in answer.values():
        if isinstance(value, Mapping) and isinstance(id_ := value.get("id"), str):
            found.add(id_)
    return found - {""}


class ListAuditLog(Arguments):
    """Calls of one action, or of all; after `since`, in seconds since the epoch; the last `limit`."""

    action: str | None = None
    since: float = 0.0
    outcome: Literal["ok", "refused"] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def list_audit_log(context: Context, arguments: ListAuditLog) -> Answer:
    """Lists the account's calls that changed something or tried to, newest first."""
    query = select(AuditRow).where(
        AuditRow.account_id == context.account_id, AuditRow.at > arguments.since
    )
    if arguments.action is not None:
        query = query.where(AuditRow.action == plain_name(arguments.action))
    if arguments.outcome is not None:
        query = query.where(AuditRow.outcome == arguments.outcome)
    rows = context.session.scalars(query.order_by(AuditRow.id.desc()).limit(arguments.limit))
    return {"audit_log": [describe(row) for row in rows]}


def describe(row: AuditRow) -> dict[str, object]:
    """A line of the log as actions answer it."""
    return {
        "id": row.id,
        "at": iso(int(row.at * 1000)),
        "door": row.door,
        "actor": row.actor or None,
        "action": row.action,
        "arguments": json.loads(row.arguments),
        "outcome": row.outcome,
        "field": row.field or None,
        "rule": row.rule or None,
        "touched": json.loads(row.touched),
        "approval_id": row.approval_id or None,
    }


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_list_audit_log", ListAuditLog, list_audit_log, effect=Effect.READ),
)

"""Rows of route policies turned into intent, and back.

A policy may have a thousand statements, and every change of a network asks for its policies: one that
has not changed is not read again, and stays the object that it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from netns_lab.platform.intent import RoutingMode
from netns_lab.platform.policy_intent import PolicyDirection, RoutePolicyIntent, StatementIntent
from netns_lab.platform.route_policy_tables import RoutePolicyRow
from netns_lab.platform.tables import Network

_STATEMENTS: Final = TypeAdapter(tuple[StatementIntent, ...])


def policies_on(
    session: Session, network: Network, known: Iterable[RoutePolicyIntent] = ()
) -> tuple[RoutePolicyIntent, ...]:
    """The policies that a network's nodes get, its own and the account's, in their order; none where
    BGP does not choose. `known` are any that were read before."""
    if network.routing_mode != RoutingMode.IBGP.value:
        return ()
    held = {(policy.id, policy.edition): policy for policy in known}
    wanted = session.execute(
        select(RoutePolicyRow.id, RoutePolicyRow.edition).where(
            RoutePolicyRow.account_id == network.account_id,
            or_(RoutePolicyRow.network_id == network.id, RoutePolicyRow.network_id.is_(None)),
        )
    )
    found = (
        held.get((id_, edition)) or policy_intent(session.get_one(RoutePolicyRow, id_))
        for id_, edition in wanted
    )
    return tuple(sorted(found, key=lambda policy: policy.order))


def policy_intent(row: RoutePolicyRow) -> RoutePolicyIntent:
    """The intent of one policy."""
    return RoutePolicyIntent(
        id=row.id,
        edition=row.edition,
        network_id=row.network_id or "",
        name=row.name,
        direction=PolicyDirection(row.direction),
        priority=row.priority,
        statements=_STATEMENTS.validate_json(row.statements),
        created_at_ms=row.created_at_ms,
    )


def put_policy(row: RoutePolicyRow, policy: RoutePolicyIntent) -> None:
    """Writes an intent into the row with its id."""
    row.edition = policy.edition
    row.network_id = policy.network_id or None
    row.name, row.direction = policy.name, policy.direction.value
    row.priority = policy.priority
    row.statements = _STATEMENTS.dump_json(policy.statements).decode()
    row.created_at_ms = policy.created_at_ms

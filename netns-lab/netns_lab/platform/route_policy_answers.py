"""Route policies as actions answer them: statements in the runbook's words, as they can be given again.

`matches_nothing` names the statements whose peer is gone. They stay, and match nothing, until somebody
changes them: to delete one silently could turn an operator's `deny` into what follows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields

from sqlalchemy import select

from netns_lab.platform.context import Context
from netns_lab.platform.filter_reports import iso
from netns_lab.platform.policy_audit import Finding, Place
from netns_lab.platform.policy_intent import (
    MatchIntent,
    PolicyDirection,
    RoutePolicyIntent,
    SetIntent,
    StatementIntent,
)
from netns_lab.platform.tables import Network, Peer


def answer_all(context: Context, policies: Iterable[RoutePolicyIntent]) -> list[dict[str, object]]:
    """Policies in the order in which routes pass them, those for import first."""
    directions = list(PolicyDirection)
    in_order = sorted(policies, key=lambda each: (directions.index(each.direction), each.order))
    gone = peers_gone(context, in_order)
    return [_describe(policy, gone) for policy in in_order]


def answer_one(context: Context, policy: RoutePolicyIntent) -> dict[str, object]:
    """One policy."""
    return _describe(policy, peers_gone(context, (policy,)))


def peers_gone(context: Context, policies: Iterable[RoutePolicyIntent]) -> frozenset[str]:
    """The peers that statements name and the account does not have any more."""
    named = {
        statement.match.peer_id
        for policy in policies
        for statement in policy.statements
        if statement.match.peer_id
    }
    if not named:
        return frozenset()
    # All of the account's and not those that are named: a query takes only so many values.
    there = context.session.scalars(
        select(Peer.id)
        .join(Network, Network.id == Peer.network_id)
        .where(Network.account_id == context.account_id)
    )
    return frozenset(named.difference(there))


def matches_nothing(place: Place, gone: Iterable[str]) -> dict[str, object] | None:
    """The sentence for a statement that matches nothing any more; None: it may match."""
    peer_id = place.statement.match.peer_id
    if peer_id not in gone:
        return None
    return {**answer_place(place), "because": f"peer {peer_id} was detached from its network"}


def prepends_own_as(place: Place, as_number: int) -> dict[str, object] | None:
    """The sentence for a statement that prepends the account's AS number; None: it does not.

    A node lets its own number in as often as its policies prepend it once; a statement acts again on
    every node that a route passes.
    """
    if as_number not in place.statement.set.as_path_prepend:
        return None
    because = (
        f"{place} prepends {as_number}, the AS number of the account: neighbours may drop such a route"
        " as a loop; another private AS number makes the path as long"
    )
    return {**answer_place(place), "because": because}


def answer_place(place: Place) -> dict[str, object]:
    """Which statement it is."""
    return {
        "route_policy_id": place.policy.id,
        "route_policy_name": place.policy.name,
        "network_id": place.policy.network_id or None,
        "direction": place.policy.direction.value,
        "seq": place.statement.seq,
    }


def answer_finding(finding: Finding) -> dict[str, object]:
    """What the audit found."""
    return {
        **answer_place(finding.of),
        "by": answer_place(finding.by),
        "because": finding.because,
    }


def _describe(policy: RoutePolicyIntent, gone: frozenset[str]) -> dict[str, object]:
    places = (Place(policy, statement) for statement in policy.statements)
    dead = (matches_nothing(place, gone) for place in places)
    return {
        "id": policy.id,
        "network_id": policy.network_id or None,
        "scope": "network" if policy.network_id else "account",
        "name": policy.name,
        "direction": policy.direction.value,
        "priority": policy.priority,
        "statements": [_statement(each) for each in policy.statements],
        "created_at": iso(policy.created_at_ms),
        "status": "active",
        "matches_nothing": [
            {"seq": each["seq"], "because": each["because"]} for each in dead if each is not None
        ],
    }


def _statement(statement: StatementIntent) -> dict[str, object]:
    return {
        "seq": statement.seq,
        "match": {
            name.removesuffix("_id"): value for name, value in _given(statement.match).items()
        },
        "set": _given(statement.set),
        "action": statement.action.value,
    }


def _given(part: MatchIntent | SetIntent) -> dict[str, object]:
    """What is not as it is where nothing was said."""
    values = ((each.name, getattr(part, each.name), each.default) for each in fields(part))
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value, default in values
        if value != default
    }

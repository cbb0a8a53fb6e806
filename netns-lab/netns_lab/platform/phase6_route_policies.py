"""Runbook, phase 6: route policies.

`system_sdwan_create_route_policy`, `system_sdwan_list_route_policies`, `system_sdwan_get_route_policy`,
`system_sdwan_update_route_policy`, `system_sdwan_delete_route_policy`. A policy without a network is
one of all iBGP networks of the account, those to come included. What may be said is checked in
`route_policy_rules`; the audit is in `firewall_audit` and `policy_audit`.

`match.peer` is the BGP neighbour. A spoke hears of another spoke's routes from a hub: a statement that
names a spoke works on the hubs, and on other spokes its routes are told by prefix or community.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

from sqlalchemy import select

from netns_lab.platform import route_policy_rules
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_reports import routing_on, speakers
from netns_lab.platform.firewall_rules import Priority
from netns_lab.platform.phase1_networks import Name
from netns_lab.platform.policy_intent import PolicyDirection, RoutePolicyIntent
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.route_policy_answers import answer_all, answer_one
from netns_lab.platform.route_policy_rows import policies_on, policy_intent, put_policy
from netns_lab.platform.route_policy_rules import DirectionName, Statements
from netns_lab.platform.route_policy_tables import RoutePolicyRow
from netns_lab.platform.routing_rows import ibgp_networks


class CreateRoutePolicy(Arguments):
    """Without `network_id`: of all iBGP networks of the account. `priority` (lower first among those of
    a direction, then the older one) goes beyond the runbook; it may be left out."""

    network_id: str | None = None
    name: Name
    direction: DirectionName
    statements: Statements
    priority: Priority = 0


class UpdateRoutePolicy(Arguments):
    """What is left out stays as it is; `statements` replaces all of them."""

    route_policy_id: str
    name: Name | None = None
    direction: DirectionName | None = None
    statements: Statements | None = None
    priority: Priority | None = None


class PolicyReference(Arguments):
    """A route policy by id."""

    route_policy_id: str


class ListRoutePolicies(Arguments):
    """Without `network_id`: all of the account."""

    network_id: str | None = None


_CHANGEABLE: Final = tuple(name for name in UpdateRoutePolicy.model_fields if "_id" not in name)


def create_route_policy(context: Context, arguments: CreateRoutePolicy) -> Answer:
    """Creates a route policy, which every node of the network, or of all iBGP networks, holds."""
    if arguments.network_id is None and "network_id" in arguments.model_fields_set:
        raise ActionError("network_id", "must not be null; left out, it means the whole account")
    network = (
        None
        if arguments.network_id is None
        else route_policy_rules.policy_network(context, arguments.network_id)
    )
    route_policy_rules.check_room(context)
    route_policy_rules.check_name(context, network, arguments.name)
    age = route_policy_rules.next_age(context)
    policy = RoutePolicyIntent(
        # Nodes order policies of one priority by id, so it has to grow with age.
        id=f"rpl-{age:012x}-{secrets.token_hex(3)}",
        edition=1,
        network_id="" if network is None else network.id,
        name=arguments.name,
        direction=PolicyDirection(arguments.direction),
        priority=arguments.priority,
        statements=route_policy_rules.statements(context, network, arguments.statements),
        created_at_ms=age,
    )
    row = RoutePolicyRow(id=policy.id, account_id=context.account_id)
    put_policy(row, policy)
    context.session.add(row)
    _changed(context, policy, "created")
    return {"route_policy": answer_one(context, policy)}


def list_route_policies(context: Context, arguments: ListRoutePolicies) -> Answer:
    """Lists the route policies of a network, with those of the account, or all that the account has."""
    if arguments.network_id is None:
        if "network_id" in arguments.model_fields_set:
            raise ActionError("network_id", "must not be null; left out, it means the account")
        rows = context.session.scalars(
            select(RoutePolicyRow).where(RoutePolicyRow.account_id == context.account_id)
        )
        return {"route_policies": answer_all(context, map(policy_intent, rows))}
    network = context.network(arguments.network_id)
    return {
        "network_id": network.id,
        "routing_mode": network.routing_mode,
        "route_policies": answer_all(context, policies_on(context.session, network)),
        "nodes": [routing_on(speaker, network.id) for speaker in speakers(context, network)],
    }


def get_route_policy(context: Context, arguments: PolicyReference) -> Answer:
    """Shows one route policy."""
    policy = policy_intent(_policy(context, arguments.route_policy_id))
    return {"route_policy": answer_one(context, policy)}


def update_route_policy(context: Context, arguments: UpdateRoutePolicy) -> Answer:
    """Changes a route policy; it keeps its age and its scope."""
    row = _policy(context, arguments.route_policy_id)
    given = arguments.model_fields_set - {"route_policy_id"}
    if not given:
        raise ActionError("arguments", f"must name what to change: {', '.join(_CHANGEABLE)}")
    for name in sorted(given):
        if getattr(arguments, name) is None:
            raise ActionError(name, "must not be null; left out, it stays as it is")
    before = policy = policy_intent(row)
    network = context.network(policy.network_id) if policy.network_id else None
    if arguments.name is not None:
        route_policy_rules.check_name(context, network, arguments.name, policy.id)
        policy = replace(policy, name=arguments.name)
    if arguments.direction is not None:
        policy = replace(policy, direction=PolicyDirection(arguments.direction))
    if arguments.statements is not None:
        wanted = route_policy_rules.statements(context, network, arguments.statements)
        policy = replace(policy, statements=wanted)
    if arguments.priority is not None:
        policy = replace(policy, priority=arguments.priority)
    if policy != before:
        policy = replace(policy, edition=policy.edition + 1)
        put_policy(row, policy)
        _changed(context, policy, "updated", changed=sorted(given))
    return {"route_policy": answer_one(context, policy)}


def delete_route_policy(context: Context, arguments: PolicyReference) -> Answer:
    """Deletes a route policy."""
    row = _policy(context, arguments.route_policy_id)
    policy = policy_intent(row)
    described = answer_one(context, policy)
    context.session.delete(row)
    _changed(context, policy, "deleted")
    return {"route_policy": {**described, "status": "deleted"}}


def _policy(context: Context, policy_id: str) -> RoutePolicyRow:
    """A policy of the account; refuses any other."""
    row = context.session.get(RoutePolicyRow, policy_id)
    if row is None or row.account_id != context.account_id:
        raise ActionError(
            "route_policy_id", f"must be a route policy of the account; there is no {policy_id!r}"
        )
    return row


def _changed(context: Context, policy: RoutePolicyIntent, what: str, **details: object) -> None:
    """Has it told to whom it concerns: of the account's, to all networks at once, because a node on
    two of them holds it once."""
    context.session.flush()
    network_ids = (
        [policy.network_id]
        if policy.network_id
        else [network.id for network in ibgp_networks(context)]
    )
    for network_id in network_ids:
        context.touch(network_id)
    context.event(
        f"route_policy.{what}",
        network_id=policy.network_id or None,
        route_policy_id=policy.id,
        **details,
    )


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_create_route_policy", CreateRoutePolicy, create_route_policy),
    action(
        "system_sdwan_list_route_policies",
        ListRoutePolicies,
        list_route_policies,
        effect=Effect.READ,
    ),
    action("system_sdwan_get_route_policy", PolicyReference, get_route_policy, effect=Effect.READ),
    action(
        "system_sdwan_update_route_policy", UpdateRoutePolicy, update_route_policy, idempotent=True
    ),
    action(
        "system_sdwan_delete_route_policy",
        PolicyReference,
        delete_route_policy,
        effect=Effect.DESTRUCTIVE,
        idempotent=True,
    ),
)

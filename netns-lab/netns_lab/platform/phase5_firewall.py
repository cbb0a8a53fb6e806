"""Runbook, phase 5: firewall rules and policies.

`system_sdwan_create_firewall_rule`, `system_sdwan_list_firewall_rules`,
`system_sdwan_update_firewall_rule`, `system_sdwan_delete_firewall_rule`,
`system_sdwan_set_firewall_policy`. Every node of a network holds all of its rules. What may be said is
checked in `firewall_rules`, what is answered is put together in `firewall_answers`.

A rule outlives what it names. When its peer is detached or its tag loses its last member it stays, and
matches nothing until it is changed; the list says so. To delete it silently would turn an operator's
`drop` into the policy's `accept`.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Final

from netns_lab.platform import firewall_rules
from netns_lab.platform.context import Answer, Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.filter_intent import (
    Direction,
    FilterAction,
    OneTag,
    Part,
    Protocol,
    RuleIntent,
)
from netns_lab.platform.filter_reports import firewall_on, speakers
from netns_lab.platform.filter_rows import put_rule, rule_intent
from netns_lab.platform.firewall_answers import answer_all, answer_one, policy_answer
from netns_lab.platform.firewall_rules import (
    ActionName,
    DirectionName,
    Priority,
    ProtocolName,
    SelectorArguments,
)
from netns_lab.platform.firewall_tags import drop_unneeded
from netns_lab.platform.phase1_networks import NetworkReference
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import FirewallPolicyRow, FirewallRuleRow, Network


class CreateFirewallRule(Arguments):
    """`priority` (lower first, among selectors of a kind) and `destination` (of ingress rules: a
    virtual IP by id, or a prefix) go beyond the runbook; both may be left out."""

    network_id: str
    direction: DirectionName
    action: ActionName
    selector: SelectorArguments
    protocol: ProtocolName = "any"
    port_range: str | None = None
    priority: Priority = 0
    destination: str | None = None


class UpdateFirewallRule(Arguments):
    """What is left out stays as it is; null takes `port_range` and `destination` away."""

    firewall_rule_id: str
    direction: DirectionName | None = None
    action: ActionName | None = None
    selector: SelectorArguments | None = None
    protocol: ProtocolName | None = None
    port_range: str | None = None
    priority: Priority | None = None
    destination: str | None = None


class RuleReference(Arguments):
    """A firewall rule by id."""

    firewall_rule_id: str


class SetFirewallPolicy(Arguments):
    """What happens to packets that no rule matches; what is left out stays as it is."""

    network_id: str
    ingress: ActionName | None = None
    egress: ActionName | None = None


_CHANGEABLE: Final = tuple(name for name in UpdateFirewallRule.model_fields if "_id" not in name)
_CLEARABLE: Final = ("port_range", "destination")


def create_firewall_rule(context: Context, arguments: CreateFirewallRule) -> Answer:
    """Creates a firewall rule, which every node of the network holds."""
    network = context.network(arguments.network_id)
    firewall_rules.check_room(context, network)
    rule = RuleIntent(
        id=f"fwr-{secrets.token_hex(6)}",
        direction=Direction(arguments.direction),
        action=FilterAction(arguments.action),
        selector=firewall_rules.selector(context, network, arguments.selector),
        protocol=Protocol(arguments.protocol),
        ports=firewall_rules.port_range(arguments.port_range),
        priority=arguments.priority,
        destination=firewall_rules.destination(context, network, arguments.destination),
        created_at_ms=firewall_rules.next_age(context, network),
    )
    firewall_rules.check(context, rule)
    row = FirewallRuleRow(id=rule.id, network_id=network.id)
    put_rule(row, rule)
    context.session.add(row)
    context.session.flush()
    context.touch_filter(network.id, Part.RULE, rule.id)
    context.event("firewall_rule.created", network_id=network.id, firewall_rule_id=rule.id)
    return {"firewall_rule": answer_one(context, network, rule)}


def list_firewall_rules(context: Context, arguments: NetworkReference) -> Answer:
    """Lists a network's firewall rules in the order in which they decide, and what its nodes report."""
    network = context.network(arguments.network_id)
    saying = speakers(context, network)
    return {
        "firewall_rules": answer_all(context, network, saying),
        "firewall_policy": policy_answer(context, network),
        "nodes": [firewall_on(speaker, network.id) for speaker in saying],
    }


def update_firewall_rule(context: Context, arguments: UpdateFirewallRule) -> Answer:
    """Changes a firewall rule; it keeps its age."""
    row, network = _rule(context, arguments.firewall_rule_id)
    given = arguments.model_fields_set - {"firewall_rule_id"}
    if not given:
        raise ActionError("arguments", f"must name what to change: {', '.join(_CHANGEABLE)}")
    for name in sorted(given):
        if getattr(arguments, name) is None and name not in _CLEARABLE:
            raise ActionError(name, "must not be null; left out, it stays as it is")
    before = rule_intent(row)
    rule = before
    if arguments.direction is not None:
        rule = replace(rule, direction=Direction(arguments.direction))
    if arguments.action is not None:
        rule = replace(rule, action=FilterAction(arguments.action))
    if arguments.selector is not None:
        selector = firewall_rules.selector(context, network, arguments.selector)
        rule = replace(rule, selector=selector)
    if arguments.protocol is not None:
        rule = replace(rule, protocol=Protocol(arguments.protocol))
    if "port_range" in given:
        rule = replace(rule, ports=firewall_rules.port_range(arguments.port_range))
    if arguments.priority is not None:
        rule = replace(rule, priority=arguments.priority)
    if "destination" in given:
        destination = firewall_rules.destination(context, network, arguments.destination)
        rule = replace(rule, destination=destination)
    firewall_rules.check(context, rule)
    put_rule(row, rule)
    context.session.flush()
    context.touch_filter(network.id, Part.RULE, rule.id)
    _let_go(context, before)
    context.event(
        "firewall_rule.updated",
        network_id=network.id,
        firewall_rule_id=rule.id,
        changed=sorted(given),
    )
    return {"firewall_rule": answer_one(context, network, rule)}


def delete_firewall_rule(context: Context, arguments: RuleReference) -> Answer:
    """Deletes a firewall rule."""
    row, network = _rule(context, arguments.firewall_rule_id)
    rule = rule_intent(row)
    described = answer_one(context, network, rule)
    context.session.delete(row)
    context.session.flush()
    context.touch_filter(network.id, Part.RULE, rule.id)
    _let_go(context, rule)
    context.event("firewall_rule.deleted", network_id=network.id, firewall_rule_id=rule.id)
    return {"firewall_rule": {**described, "status": "deleted"}}


def set_firewall_policy(context: Context, arguments: SetFirewallPolicy) -> Answer:
    """Sets what a network's nodes do with packets that no rule matches."""
    network = context.network(arguments.network_id)
    if arguments.ingress is None and arguments.egress is None:
        raise ActionError("arguments", "must name what to change: ingress, egress")
    row = context.session.get(FirewallPolicyRow, network.id)
    if row is None:
        accept = FilterAction.ACCEPT.value
        row = FirewallPolicyRow(network_id=network.id, ingress=accept, egress=accept)
        context.session.add(row)
    row.ingress = arguments.ingress or row.ingress
    row.egress = arguments.egress or row.egress
    context.session.flush()
    context.touch_filter(network.id, Part.POLICY)
    context.event(
        "firewall_policy.set", network_id=network.id, ingress=row.ingress, egress=row.egress
    )
    return {"firewall_policy": policy_answer(context, network)}


def _rule(context: Context, rule_id: str) -> tuple[FirewallRuleRow, Network]:
    """A rule of the account with its network; refuses any other."""
    row = context.session.get(FirewallRuleRow, rule_id)
    network = None if row is None else context.session.get(Network, row.network_id)
    if row is None or network is None or network.account_id != context.account_id:
        raise ActionError(
            "firewall_rule_id", f"must be a firewall rule of the account; there is no {rule_id!r}"
        )
    return row, network


def _let_go(context: Context, before: RuleIntent) -> None:
    """Lets go of the tag that a rule named, if nothing else needs it."""
    if isinstance(before.selector, OneTag):
        drop_unneeded(context, (before.selector.tag_id,))


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_create_firewall_rule", CreateFirewallRule, create_firewall_rule),
    action(
        "system_sdwan_list_firewall_rules",
        NetworkReference,
        list_firewall_rules,
        effect=Effect.READ,
    ),
    action(
        "system_sdwan_update_firewall_rule",
        UpdateFirewallRule,
        update_firewall_rule,
        idempotent=True,
    ),
    action(
        "system_sdwan_delete_firewall_rule",
        RuleReference,
        delete_firewall_rule,
        effect=Effect.DESTRUCTIVE,
        idempotent=True,
    ),
    action(
        "system_sdwan_set_firewall_policy", SetFirewallPolicy, set_firewall_policy, idempotent=True
    ),
)

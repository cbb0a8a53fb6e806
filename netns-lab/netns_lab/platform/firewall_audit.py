"""Runbook, phase 6 and troubleshooting: `system.sdwan_route_policy_audit` surfaces shadowed firewall
rules, and statements of route policies that are shadowed, inconsistent, match nothing any more, or
make a route look like a loop.

The nodes find shadowed rules when they compile them, and report them; the platform only gathers what
they say. Which rule hides which is in each node's evidence. Route policies are the same on every node,
so the platform looks for itself (`policy_audit`), also where no node reports.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.filter_reports import shadow_answer, shadowed, speakers
from netns_lab.platform.filter_rows import rule_intent
from netns_lab.platform.firewall_answers import answer_some
from netns_lab.platform.phase1_networks import NetworkReference
from netns_lab.platform.policy_audit import Place, audit
from netns_lab.platform.registry import Action, Effect, action
from netns_lab.platform.route_policy_answers import (
    answer_finding,
    matches_nothing,
    peers_gone,
    prepends_own_as,
)
from netns_lab.platform.route_policy_rows import policies_on
from netns_lab.platform.routing_intent import DEFAULT_AS_NUMBER
from netns_lab.platform.tables import FirewallRuleRow, Network, Peer


def route_policy_audit(context: Context, arguments: NetworkReference) -> Answer:
    """Shows firewall rules and route policy statements that do nothing, or not what they say."""
    network = context.network(arguments.network_id)
    saying = speakers(context, network)
    by_rule = shadowed(saying)
    # A node on several networks reports on all of them, and for a moment on rules that are deleted.
    rows = context.session.scalars(
        select(FirewallRuleRow).where(
            FirewallRuleRow.network_id == network.id, FirewallRuleRow.id.in_(by_rule)
        )
    )
    described = answer_some(context, network, [rule_intent(row) for row in rows], saying)
    return {
        "network_id": network.id,
        "shadowed_rules": [
            {
                "firewall_rule": answer,
                "nodes": [shadow_answer(*word) for word in by_rule[str(answer["id"])]],
            }
            for answer in described
        ],
        "reporting": [speaker.name for speaker in saying if speaker.report is not None],
        "not_reporting": [speaker.name for speaker in saying if speaker.report is None],
        **_route_policies(context, network),
    }


def _route_policies(context: Context, network: Network) -> Answer:
    """What is found in the policies that the network's nodes hold, its own and the account's."""
    policies = policies_on(context.session, network)
    on_it = set(context.session.scalars(select(Peer.id).where(Peer.network_id == network.id)))
    findings = audit(policies, on_it.__contains__)
    gone = peers_gone(context, policies)
    as_number = network.account.as_number or DEFAULT_AS_NUMBER
    places = [Place(policy, statement) for policy in policies for statement in policy.statements]
    dead = (matches_nothing(place, gone) for place in places)
    looping = (prepends_own_as(place, as_number) for place in places)
    return {
        "shadowed_statements": [answer_finding(each) for each in findings.shadowed],
        "inconsistent_statements": [answer_finding(each) for each in findings.inconsistent],
        "statements_matching_nothing": [each for each in dead if each is not None],
        "statements_prepending_own_as": [each for each in looping if each is not None],
    }


AUDIT: Final = action(
    "system_sdwan_route_policy_audit", NetworkReference, route_policy_audit, effect=Effect.READ
)

ACTIONS: Final[tuple[Action, ...]] = (AUDIT,)

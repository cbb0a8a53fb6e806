"""Runbook, troubleshooting: `system.sdwan_route_policy_audit` surfaces shadowed firewall rules.

The nodes find them when they compile their rules, and report them; the platform only gathers what they
say. Which rule hides which is in each node's evidence.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.filter_reports import shadow_answer, shadowed, speakers
from netns_lab.platform.filter_rows import rule_intent
from netns_lab.platform.firewall_answers import answer_some
from netns_lab.platform.phase1_networks import NetworkReference
from netns_lab.platform.registry import Action, action
from netns_lab.platform.tables import FirewallRuleRow


def route_policy_audit(context: Context, arguments: NetworkReference) -> Answer:
    """Shows the firewall rules that nodes report as never reached, and which of them say so."""
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
    }


ACTIONS: Final[tuple[Action, ...]] = (
    action("system_sdwan_route_policy_audit", NetworkReference, route_policy_audit),
)

"""What the rules say of one connection, for whoever has to explain it to an operator. Pure.

The filter itself is compiled; this reads the rules one after the other, as the runbook tells them
(peer > tag > cidr > all, then by priority, then by age; the first that matches decides), and is asked
of single connections only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from powernode_agent.firewall.blocks import prefixes_of
from powernode_agent.model.firewall import (
    AllSelector,
    FirewallAction,
    FirewallDirection,
    FirewallProtocol,
    FirewallRule,
    TagSelector,
)
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.values import Address


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rule` None: no rule matches, the network's policy decides."""

    action: FirewallAction
    rule: FirewallRule | None


def rules_of(state: NetworkState, direction: FirewallDirection) -> list[FirewallRule]:
    """The rules of one direction, in the order in which they match."""
    rules = (
        rule
        for rule in state.firewall_rules.values()
        if rule.direction in (direction, FirewallDirection.BOTH)
    )
    return sorted(rules, key=lambda rule: rule.order)


def leaving(
    state: NetworkState,
    egress: Sequence[FirewallRule],
    destination: Address,
    protocol: FirewallProtocol,
    port: int,
) -> Verdict:
    """The verdict on a new connection that leaves by the network's link. `egress`: its `rules_of` that
    direction, which take a while to order. `protocol`: TCP or UDP."""
    for rule in egress:
        if rule.protocol not in (protocol, FirewallProtocol.ANY):
            continue
        ports = rule.port_range
        if ports is not None and not ports.first <= port <= ports.last:
            continue
        if _selects(state, rule, destination):
            return Verdict(rule.action, rule)
    return Verdict(state.network.firewall_policy.egress, None)


def _selects(state: NetworkState, rule: FirewallRule, address: Address) -> bool:
    match rule.selector:
        case AllSelector():
            return True
        case TagSelector(tag_id=tag_id):
            tag = state.firewall_tags.get(tag_id)
            return tag is not None and any(address in member for member in tag.members)
    return any(address in prefix for prefix in prefixes_of(rule))

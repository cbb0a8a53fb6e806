"""What the rules say of one connection, for whoever has to explain it to an operator. Pure.

The filter itself is compiled; this reads the rules one after the other, as the runbook tells them
(peer > tag > cidr > all, then by priority, then by age; the first that matches decides). Rules of a
prefix are found by the address, so that 10,000 of them are not read for each connection asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network

from powernode_agent.firewall.blocks import prefixes_of
from powernode_agent.model.firewall import (
    AllSelector,
    FirewallAction,
    FirewallDirection,
    FirewallProtocol,
    FirewallRule,
    FirewallTag,
    FirewallTagId,
    TagSelector,
)
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.values import Address, Prefix


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


class Leaving:
    """The rules for what leaves by a network's link; made once for many questions."""

    def __init__(self, state: NetworkState) -> None:
        self._rules = rules_of(state, FirewallDirection.EGRESS)
        self._everywhere: list[int] = []
        self._by_tag: dict[FirewallTagId, list[int]] = {}
        self._by_prefix: dict[tuple[int, int], dict[int, list[int]]] = {}
        """By IP version and prefix length, then by the prefix's own bits."""
        for position, rule in enumerate(self._rules):
            match rule.selector:
                case AllSelector():
                    self._everywhere.append(position)
                case TagSelector(tag_id=tag_id):
                    self._by_tag.setdefault(tag_id, []).append(position)
                case _:
                    for prefix in prefixes_of(rule):
                        key = (prefix.version, prefix.prefixlen)
                        found = self._by_prefix.setdefault(key, {})
                        found.setdefault(int(prefix.network_address), []).append(position)

    def verdict(
        self,
        state: NetworkState,
        destination: Address,
        protocol: FirewallProtocol,
        port: int,
    ) -> Verdict:
        """On a new connection; `state` has the tags and the policy of now. `protocol`: TCP or UDP."""
        positions = [*self._everywhere, *self._at(destination)]
        for tag_id, named in self._by_tag.items():
            tag = state.firewall_tags.get(tag_id)
            if tag is not None and _has(tag, destination):
                positions += named
        for position in sorted(positions):
            rule = self._rules[position]
            if rule.protocol not in (protocol, FirewallProtocol.ANY):
                continue
            ports = rule.port_range
            if ports is None or ports.first <= port <= ports.last:
                return Verdict(rule.action, rule)
        return Verdict(state.network.firewall_policy.egress, None)

    def _at(self, address: Address) -> list[int]:
        width = 32 if isinstance(address, IPv4Address) else 128
        number = int(address)
        return [
            position
            for (version, length), prefixes in self._by_prefix.items()
            if version == address.version
            for position in prefixes.get(number >> (width - length) << (width - length), ())
        ]


def _has(tag: FirewallTag, address: Address) -> bool:
    host: Prefix
    if isinstance(address, IPv4Address):
        host = IPv4Network((int(address), 32))
    else:
        host = IPv6Network((int(address), 128))
    # Members are mostly hosts, and those are found at once.
    return host in tag.members or any(
        address in member for member in tag.members if member.prefixlen != member.max_prefixlen
    )

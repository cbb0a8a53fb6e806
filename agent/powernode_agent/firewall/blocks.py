"""An ordered list of rules as a short list of lookups. Pure.

Each block stands for a run of rules and is looked up once: by address where the selectors are
prefixes, by port where they are tags or everyone. A packet that a block says nothing of goes on to
the next one, so blocks in order mean what the rules in order mean. A run whose lookup would be much
larger than the run itself (thousands of rules on ::/0 over thousands of small prefixes, wide port
ranges that all cross) is cut in two: twice the lookups, half the product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from powernode_agent.firewall.addresses import AddressRange, address_ranges
from powernode_agent.firewall.ports import PortTable, TooLargeError, port_table
from powernode_agent.model.firewall import CidrSelector, FirewallRule, PeerSelector
from powernode_agent.model.values import Prefix

_FACTOR: Final = 6
"""How much larger than its rules a lookup may be: a rule on one port of one peer makes two or three
pieces, so anything above that comes from crossing ranges."""
_SLACK: Final = 2000
"""Small sets are never cut: a thousand outcomes are a fraction of a megabyte."""


@dataclass(frozen=True, slots=True)
class AddressBlock:
    """Ranges of each IP version; `tables`: what holds in a range, by its rules."""

    ranges: Mapping[int, tuple[AddressRange, ...]]
    tables: Mapping[tuple[int, ...], PortTable]


@dataclass(frozen=True, slots=True)
class PortBlock:
    """One table for everyone, its outcomes asking for tags."""

    table: PortTable


Block = AddressBlock | PortBlock


def blocks(rules: Sequence[FirewallRule]) -> tuple[Block, ...]:
    """The blocks of `rules`, which stand in the order in which they match."""
    found: list[Block] = []
    for by_address, group in groupby(rules, key=_by_address):
        run = list(group)
        found += _address_blocks(run) if by_address else _port_blocks(run)
    return tuple(found)


def prefixes_of(rule: FirewallRule) -> tuple[Prefix, ...]:
    """The prefixes that a rule of a peer or CIDR selector names; none: it matches nothing."""
    match rule.selector:
        case PeerSelector(prefixes=prefixes):
            return prefixes
        case CidrSelector(prefix=prefix):
            return (prefix,)
    return ()


def _by_address(rule: FirewallRule) -> bool:
    return isinstance(rule.selector, PeerSelector | CidrSelector)


def _limit(rules: Sequence[FirewallRule]) -> int:
    return _FACTOR * len(rules) + _SLACK


def _port_blocks(rules: list[FirewallRule]) -> list[Block]:
    try:
        # A single rule always fits: the limit has room for all that it can make.
        return [PortBlock(port_table(rules, _limit(rules)))]
    except TooLargeError:
        half = len(rules) // 2
        return [*_port_blocks(rules[:half]), *_port_blocks(rules[half:])]


def _address_blocks(rules: list[FirewallRule]) -> list[Block]:
    try:
        return [_address_block(rules)]
    except TooLargeError:
        half = len(rules) // 2
        return [*_address_blocks(rules[:half]), *_address_blocks(rules[half:])]


def _address_block(rules: list[FirewallRule]) -> AddressBlock:
    named: dict[int, dict[Prefix, list[int]]] = {6: {}, 4: {}}
    count = 0
    for position, rule in enumerate(rules):
        for prefix in prefixes_of(rule):
            named[prefix.version].setdefault(prefix, []).append(position)
            count += 1
    # A peer may have hundreds of LANs: what a rule names counts, not that it is one rule.
    limit = _FACTOR * (count + len(rules)) + _SLACK if len(rules) > 1 else 1 << 62
    ranges: dict[int, tuple[AddressRange, ...]] = {}
    together: dict[tuple[int, ...], None] = {}
    # First what shows cheaply that it is too much: a table of thousands of rules takes milliseconds.
    for version, prefixes in named.items():
        found: list[AddressRange] = []
        for each in address_ranges(prefixes):
            found.append(each)
            if each.rules not in together:
                together[each.rules] = None
                limit -= len(each.rules)
                if limit < 0:
                    raise TooLargeError
        ranges[version] = tuple(found)
    tables: dict[tuple[int, ...], PortTable] = {}
    for positions in together:
        table = port_table([rules[position] for position in positions], limit)
        limit -= table.size
        tables[positions] = table
    return AddressBlock(ranges, tables)

"""A list of rules as a function of the other end's address. Pure.

Prefixes either nest or are apart, so the address space falls into disjoint ranges, each with the rules
whose prefixes cover it: those of the prefix itself and of all it lies in, in the list's order. A packet
looks up its range, and there finds all that can match it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from powernode_agent.model.values import Prefix


@dataclass(frozen=True, slots=True)
class AddressRange:
    """Addresses from `first` to `last`, as integers, and the positions of the rules that cover them."""

    first: int
    last: int
    rules: tuple[int, ...]


def address_ranges(prefixes: Mapping[Prefix, Sequence[int]]) -> Iterator[AddressRange]:
    """Disjoint ranges of one family, in order. `prefixes`: positions of the rules that name each.

    A range that no rule covers is not given.
    """
    for node in _forest(prefixes):
        yield from _cut(node, ())


@dataclass(slots=True)
class _Node:
    """A prefix, the rules that name it, and the prefixes directly inside it."""

    first: int
    last: int
    rules: tuple[int, ...]
    inside: list[_Node]


def _forest(prefixes: Mapping[Prefix, Sequence[int]]) -> Iterable[_Node]:
    roots: list[_Node] = []
    open_nodes: list[_Node] = []
    for prefix in sorted(prefixes, key=lambda p: (int(p.network_address), p.prefixlen)):
        first = int(prefix.network_address)
        last = first + (1 << prefix.max_prefixlen - prefix.prefixlen) - 1
        node = _Node(first, last, tuple(sorted(prefixes[prefix])), [])
        while open_nodes and open_nodes[-1].last < first:
            open_nodes.pop()
        (open_nodes[-1].inside if open_nodes else roots).append(node)
        open_nodes.append(node)
    return roots


def _cut(node: _Node, above: tuple[int, ...]) -> Iterator[AddressRange]:
    """The ranges of a node; at most 129 deep, since each prefix inside is longer."""
    rules = tuple(sorted({*above, *node.rules}))
    start = node.first
    for child in node.inside:
        if start < child.first:
            yield AddressRange(start, child.first - 1, rules)
        yield from _cut(child, rules)
        start = child.last + 1
    if start <= node.last:
        yield AddressRange(start, node.last, rules)

"""Rules that are never reached, because one before them matches all that they match. Pure.

Found at compile time and said with both rules named, whatever the two do: a shadowed accept below a
drop is an operator's puzzle, one below another accept is dead weight. Coverage is by a single earlier
rule; one that several rules cover only together is not found. A tag covers itself and nothing else,
since its members change without the rules.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from powernode_agent.firewall.blocks import prefixes_of
from powernode_agent.firewall.ports import LAST_PORT
from powernode_agent.model.firewall import (
    AllSelector,
    FirewallDirection,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallTagId,
    TagSelector,
)
from powernode_agent.model.values import Prefix


@dataclass(frozen=True, slots=True)
class _Network:
    """A prefix as numbers: of 10,000 rules all wider prefixes are asked for, which `ipaddress` would
    take seconds over."""

    version: int
    length: int
    bits: int
    """The first `length` bits of the address."""


Where = _Network | FirewallTagId | None
"""What a rule asks of the other end, part by part; None: nothing."""
_Place = Where | tuple[Where, ...]
"""A part, or all parts of a rule that has several."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """`rule` is never reached in `direction`: `by` comes first and matches all of it."""

    rule: FirewallRuleId
    by: FirewallRuleId
    direction: FirewallDirection


def shadowed(rules: Sequence[FirewallRule], direction: FirewallDirection) -> tuple[Shadow, ...]:
    """The shadowed ones of `rules`, which are those of one direction in the order they match."""
    seen = _Seen()
    found: list[Shadow] = []
    for rule in rules:
        by = seen.covering(rule)
        if by is not None:
            found.append(Shadow(rule.id, by, direction))
        else:
            seen.add(rule)
    return tuple(found)


@dataclass(slots=True)
class _Ranges:
    """Port ranges none of which lies in another: sorted by first port, they are sorted by last too."""

    firsts: list[int] = field(default_factory=list)
    lasts: list[int] = field(default_factory=list)
    rules: list[int] = field(default_factory=list)

    def covering(self, first: int, last: int) -> int | None:
        """Position of a rule whose ports include all of these."""
        at = bisect_right(self.firsts, first) - 1
        return self.rules[at] if at >= 0 and self.lasts[at] >= last else None

    def add(self, first: int, last: int, rule: int) -> None:
        at = bisect_left(self.firsts, first)
        end = at
        while end < len(self.firsts) and self.lasts[end] <= last:
            end += 1
        self.firsts[at:end] = [first]
        self.lasts[at:end] = [last]
        self.rules[at:end] = [rule]


class _Seen:
    """The rules so far, found by what they cover."""

    def __init__(self) -> None:
        self._rules: list[FirewallRule] = []
        self._by_place: dict[tuple[_Place, FirewallProtocol], dict[_Destinations, _Ranges]] = {}
        self._lengths: dict[int, set[int]] = {4: set(), 6: set()}
        """Prefix lengths in use, by IP version."""

    def add(self, rule: FirewallRule) -> None:
        """One that is not shadowed itself."""
        position = len(self._rules)
        self._rules.append(rule)
        first, last = _ports(rule)
        wheres = _wheres(rule)
        places: tuple[_Place, ...] = wheres if len(wheres) == 1 else (*wheres, wheres)
        for place in places:
            if isinstance(place, _Network):
                self._lengths[place.version].add(place.length)
            by_destination = self._by_place.setdefault((place, rule.protocol), {})
            ranges = by_destination.setdefault(rule.destinations, _Ranges())
            if ranges.covering(first, last) is None:
                ranges.add(first, last, position)

    def covering(self, rule: FirewallRule) -> FirewallRuleId | None:
        """An earlier rule that matches all that this one matches; None also for a rule that matches
        nothing by itself."""
        wheres = _wheres(rule)
        candidates: set[int] | None = None
        for where in wheres:
            found = set(self._at(where, rule))
            candidates = found if candidates is None else candidates & found
            if not candidates:
                break
        # Of each part only the widest ports are remembered, and those may be another rule's.
        if not candidates and len(wheres) > 1:
            candidates = set(self._at(wheres, rule))
        return self._rules[min(candidates)].id if candidates else None

    def _at(self, place: _Place, rule: FirewallRule) -> Iterator[int]:
        first, last = _ports(rule)
        for wider in self._widening(place):
            for protocol in {rule.protocol, FirewallProtocol.ANY}:
                for destinations, ranges in self._by_place.get((wider, protocol), {}).items():
                    if not _covers_destinations(destinations, rule.destinations):
                        continue
                    position = ranges.covering(first, last)
                    if position is not None:
                        yield position

    def _widening(self, place: _Place) -> Iterator[_Place]:
        """A prefix and all that include it, of the lengths there are; others are only themselves."""
        if not isinstance(place, _Network):
            yield place
            return
        for length in self._lengths[place.version]:
            if length <= place.length:
                yield _Network(place.version, length, place.bits >> (place.length - length))


_Destinations = tuple[Prefix, ...]


def _ports(rule: FirewallRule) -> tuple[int, int]:
    ports = rule.port_range
    return (0, LAST_PORT) if ports is None else (ports.first, ports.last)


def _wheres(rule: FirewallRule) -> tuple[Where, ...]:
    match rule.selector:
        case AllSelector():
            return (None,)
        case TagSelector(tag_id=tag_id):
            return (tag_id,)
    return tuple(
        _Network(
            prefix.version,
            prefix.prefixlen,
            int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen),
        )
        for prefix in prefixes_of(rule)
    )


def _covers_destinations(outer: _Destinations, inner: _Destinations) -> bool:
    if not outer:
        return True
    return bool(inner) and all(any(_inside(i, o) for o in outer) for i in inner)


def _inside(inner: Prefix, outer: Prefix) -> bool:
    if isinstance(inner, IPv6Network):
        return isinstance(outer, IPv6Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv4Network) and inner.subnet_of(outer)

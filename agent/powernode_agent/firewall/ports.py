"""A list of rules as a function of protocol and port. Pure.

For each protocol the port space is cut where some rule begins or ends; in each piece the rules that
match there stand in order up to the first that decides alone. So looking up the piece is the whole work
of the kernel, however many rules there are, and the first match is the same as in the list.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from powernode_agent.model.firewall import (
    FirewallAction,
    FirewallProtocol,
    FirewallRule,
    FirewallTagId,
    TagSelector,
)
from powernode_agent.model.values import Prefix

LAST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule does once protocol, port and address fit: `action`, if the other end is in `tag` and
    the destination in one of `destinations`; None and empty ask nothing."""

    tag: FirewallTagId | None
    destinations: tuple[Prefix, ...]
    action: FirewallAction

    @property
    def decides(self) -> bool:
        """Whether nothing after it can matter."""
        return self.tag is None and not self.destinations


_PLAIN = {action: Outcome(None, (), action) for action in FirewallAction}
"""Most rules ask nothing more: one object each instead of ten thousand."""

Leaf = tuple[Outcome, ...]
"""Outcomes in order; at most the last one decides."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Ports from `first` to `last` that share a leaf. `origin`: the first rule of it, for errors."""

    first: int
    last: int
    leaf: Leaf
    origin: str


@dataclass(frozen=True, slots=True)
class PortTable:
    """A list of rules by protocol. `other`: every protocol that is none of the three.

    What no rule matches has no piece, or an empty leaf. A packet that falls through its own leaf may
    be shown `other` too: all of `other` stands in every leaf, so it cannot match there either.
    """

    tcp: tuple[Piece, ...]
    udp: tuple[Piece, ...]
    icmp6: Leaf
    other: Leaf
    icmp6_origin: str = ""
    other_origin: str = ""

    @property
    def size(self) -> int:
        """Outcomes in all leaves: what the kernel has to hold."""
        pieces = sum(len(piece.leaf) for piece in (*self.tcp, *self.udp))
        return pieces + len(self.icmp6) + len(self.other)


class TooLargeError(Exception):
    """A table would hold far more than its list of rules; half of the list makes a smaller one."""


def port_table(rules: Sequence[FirewallRule], limit: int) -> PortTable:
    """The table of `rules`, which stand in the order in which they match. `limit` bounds the outcomes
    looked at, and with them time and size. Raises `TooLargeError` beyond it.
    """
    if len(rules) == 1:
        return _single(rules[0])
    budget = _Budget(limit)
    asking = _asking(rules)
    anything = (FirewallProtocol.ANY, FirewallProtocol.ICMP6)
    icmp6 = [at for at, rule in enumerate(rules) if rule.protocol in anything]
    other = [at for at, rule in enumerate(rules) if rule.protocol is FirewallProtocol.ANY]
    return PortTable(
        tcp=_pieces(rules, asking, FirewallProtocol.TCP, budget),
        udp=_pieces(rules, asking, FirewallProtocol.UDP, budget),
        icmp6=_leaf(asking, icmp6, budget),
        other=_leaf(asking, other, budget),
        icmp6_origin=str(rules[icmp6[0]]) if icmp6 else "",
        other_origin=str(rules[other[0]]) if other else "",
    )


def _single(rule: FirewallRule) -> PortTable:
    """The same for one rule, without the sweep: of 10,000 rules most are alone with their peer."""
    leaf = (_outcome(rule),)
    origin = str(rule)
    ports = rule.port_range
    first, last = (0, LAST_PORT) if ports is None else (ports.first, ports.last)
    piece = (Piece(first, last, leaf, origin),)
    match rule.protocol:
        case FirewallProtocol.ANY:
            return PortTable(piece, piece, leaf, leaf, origin, origin)
        case FirewallProtocol.TCP:
            return PortTable(piece, (), (), ())
        case FirewallProtocol.UDP:
            return PortTable((), piece, (), ())
        case FirewallProtocol.ICMP6:
            return PortTable((), (), leaf, (), origin)


def _outcome(rule: FirewallRule) -> Outcome:
    if not rule.destinations and not isinstance(rule.selector, TagSelector):
        return _PLAIN[rule.action]
    tag = rule.selector.tag_id if isinstance(rule.selector, TagSelector) else None
    return Outcome(tag, rule.destinations, rule.action)


_Asking = tuple[Outcome, int]
"""What a rule comes to, and a number that it shares with all that ask the same before they act."""


def _asking(rules: Iterable[FirewallRule]) -> list[_Asking]:
    """Of each rule; the leaves of crossing ranges meet each hundreds of times, so that prefixes are
    compared here, once, and equal outcomes are one."""
    outcomes: dict[Outcome, Outcome] = {}
    numbers: dict[tuple[FirewallTagId | None, tuple[Prefix, ...]], int] = {}
    found: list[_Asking] = []
    for rule in rules:
        outcome = _outcome(rule)
        number = numbers.setdefault((outcome.tag, outcome.destinations), len(numbers))
        found.append((outcomes.setdefault(outcome, outcome), number))
    return found


@dataclass(slots=True)
class _Budget:
    left: int

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TooLargeError


def _pieces(
    rules: Sequence[FirewallRule],
    asking: Sequence[_Asking],
    protocol: FirewallProtocol,
    budget: _Budget,
) -> tuple[Piece, ...]:
    """Disjoint, in order of ports; neighbours with the same leaf are one piece."""
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for position, rule in enumerate(rules):
        if rule.protocol not in (FirewallProtocol.ANY, protocol):
            continue
        ports = rule.port_range
        first, last = (0, LAST_PORT) if ports is None else (ports.first, ports.last)
        starts.setdefault(first, []).append(position)
        ends.setdefault(last + 1, []).append(position)
    pieces: list[Piece] = []
    active: list[int] = []
    cuts = sorted(starts.keys() | ends.keys())
    for cut, following in pairwise([*cuts, LAST_PORT + 1]):
        for position in ends.get(cut, ()):
            del active[bisect_left(active, position)]
        for position in starts.get(cut, ()):
            insort(active, position)
        if not active or cut > LAST_PORT:
            continue
        leaf = _leaf(asking, active, budget)
        if pieces and pieces[-1].last == cut - 1 and pieces[-1].leaf == leaf:
            before = pieces.pop()
            pieces.append(Piece(before.first, following - 1, leaf, before.origin))
        else:
            pieces.append(Piece(cut, following - 1, leaf, str(rules[active[0]])))
    return tuple(pieces)


def _leaf(asking: Sequence[_Asking], positions: Iterable[int], budget: _Budget) -> Leaf:
    found: list[Outcome] = []
    asked: set[int] = set()
    for position in positions:
        budget.spend()
        outcome, number = asking[position]
        if number in asked:
            continue  # whoever meets it has met it before
        asked.add(number)
        found.append(outcome)
        if outcome.decides:
            break
    return tuple(found)

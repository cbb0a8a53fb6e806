"""Statements of route policies that do nothing, and policies that undo each other. Pure.

Findings are certain: a statement is named only if no route whatever can make a difference to it. Within
a policy one statement hides another if it matches all of the other's routes and comes first. Over
several, a statement is hidden behind a policy that denies all of its routes, and is undone by a later
one that denies them, or sets anew what it has set. Where a community or the AS path was changed in
between, conditions on them prove nothing. What several statements hide only together is not found.

A statement that names a peer of no session here matches nothing, and so neither hides nor is hidden.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Final

from netns_lab.platform.compile_policies import lengths
from netns_lab.platform.policy_intent import (
    MatchIntent,
    PolicyAction,
    PolicyDirection,
    RoutePolicyIntent,
    SetIntent,
    StatementIntent,
)

_BITS: Final = {4: 32, 6: 128}


@dataclass(frozen=True, slots=True)
class Place:
    """A statement of a policy."""

    policy: RoutePolicyIntent
    statement: StatementIntent

    def __str__(self) -> str:
        return f"statement {self.statement.seq} of {self.policy.name}"


@dataclass(frozen=True, slots=True)
class Finding:
    """`of` does nothing, or not what it says, because of `by`."""

    of: Place
    by: Place
    because: str


@dataclass(frozen=True, slots=True)
class Findings:
    """`shadowed` are never reached; what `inconsistent` ones do is undone by a later policy. One that
    permits the very match that a policy before it denies is both."""

    shadowed: tuple[Finding, ...]
    inconsistent: tuple[Finding, ...]


def audit(
    policies: Sequence[RoutePolicyIntent], is_peer: Callable[[str], bool] = lambda _: True
) -> Findings:
    """What is to be said of the policies of one network. `is_peer`: whether a peer is on it."""
    shadowed: list[Finding] = []
    inconsistent: list[Finding] = []
    for direction in PolicyDirection:
        chain = [
            _read(policy, is_peer)
            for policy in sorted(policies, key=lambda policy: policy.order)
            if policy.direction is direction
        ]
        for number, policy in enumerate(chain):
            for one in policy.statements:
                hidden = policy.hidden(one) or _refused_before(chain, number, one)
                if hidden is not None:
                    shadowed.append(hidden)
                    if _contradiction(hidden):
                        inconsistent.append(hidden)
                elif one.action is PolicyAction.PERMIT:
                    inconsistent.extend(_undone_after(chain, number, one))
    return Findings(tuple(shadowed), tuple(inconsistent))


@dataclass(frozen=True, slots=True)
class _Condition:
    """The match of a statement as numbers. `version` 0: any prefix."""

    match: MatchIntent
    version: int = 0
    address: int = 0
    length: int = 0
    shortest: int = 0
    longest: int = 0

    def cut(self, length: int) -> int:
        """The address without what is behind `length` bits."""
        spare = _BITS[self.version] - length
        return self.address >> spare << spare

    def covers(self, other: _Condition, attributes: bool) -> bool:
        """Whether all that `other` matches is matched. Without `attributes` what is said of them may be
        true of a route now and not later."""
        mine, theirs = self.match, other.match
        if mine.peer_id not in ("", theirs.peer_id):
            return False
        if not attributes and (mine.community or mine.as_path):
            return False
        if mine.community not in ("", theirs.community) or mine.as_path not in ("", theirs.as_path):
            return False
        if not self.version:
            return True
        return (
            self.version == other.version
            and self.length <= other.length
            and other.cut(self.length) == self.address
            and self.shortest <= other.shortest
            and other.longest <= self.longest
        )

    def may_meet(self, other: _Condition) -> bool:
        """Whether one route may match both."""
        peers = {self.match.peer_id, other.match.peer_id} - {""}
        if len(peers) > 1:
            return False
        if not self.version or not other.version:
            return True
        wide, narrow = sorted((self, other), key=lambda each: each.length)
        return (
            wide.version == narrow.version
            and narrow.cut(wide.length) == wide.address
            and max(wide.shortest, narrow.shortest) <= min(wide.longest, narrow.longest)
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """A statement that may match something here. `number` is its place among those of its policy."""

    place: Place
    number: int
    condition: _Condition

    @property
    def action(self) -> PolicyAction:
        return self.place.statement.action

    @property
    def changes(self) -> SetIntent:
        return self.place.statement.set


@dataclass(slots=True, eq=False)
class _Policy:
    """The statements of a policy that may match something here, found by prefix: those that concern a
    prefix are its own, the ones around it, the ones inside it, and those for any."""

    statements: list[_Read] = field(default_factory=list)
    rewrites: bool = False
    reads_communities: bool = False
    _anywhere: list[int] = field(default_factory=list)
    _at: defaultdict[tuple[int, int, int], list[int]] = field(
        default_factory=lambda: defaultdict(list)
    )
    _starts: list[tuple[int, int, int]] = field(default_factory=list)

    def add(self, one: _Read) -> None:
        changes, condition = one.changes, one.condition
        self.statements.append(one)
        self.rewrites |= bool(changes.communities or changes.as_path_prepend)
        self.reads_communities |= bool(one.place.statement.match.community)
        if condition.version:
            self._at[condition.version, condition.address, condition.length].append(one.number)
            self._starts.append((condition.version, condition.address, one.number))
        else:
            self._anywhere.append(one.number)

    def finish(self) -> None:
        self._starts.sort()

    def hidden(self, one: _Read) -> Finding | None:
        """What comes first in the policy itself and matches all that `one` does."""
        for other in self._related(one.condition):
            if other.number >= one.number:
                return None
            if other.condition.covers(one.condition, attributes=True):
                return _finding(
                    one, other, f"is never reached: {other.place} matches all of it first"
                )
        return None

    def decides(self, one: _Read, attributes: bool) -> _Read | None:
        """The statement that decides on all routes of `one` that it lets through here; None: there is
        no telling."""
        for other in self._related(one.condition):
            if other.condition.covers(one.condition, attributes):
                return other
            if other.action is PolicyAction.PERMIT:
                return None
        return None

    def _related(self, condition: _Condition) -> Iterator[_Read]:
        """In order, those that may match a route that `condition` matches."""
        for number in self._numbers(condition):
            other = self.statements[number]
            if other.condition.may_meet(condition):
                yield other

    def _numbers(self, condition: _Condition) -> Iterable[int]:
        version = condition.version
        if not version:
            return range(len(self.statements))
        last = condition.address | ((1 << (_BITS[version] - condition.length)) - 1)
        inside = self._starts[
            bisect_left(self._starts, (version, condition.address, 0)) : bisect_right(
                self._starts, (version, last, len(self.statements))
            )
        ]
        around = (
            self._at.get((version, condition.cut(length), length), ())
            for length in range(condition.length)
        )
        return sorted(
            {
                *self._anywhere,
                *(number for _, _, number in inside),
                *(number for numbers in around for number in numbers),
            }
        )


def _read(policy: RoutePolicyIntent, is_peer: Callable[[str], bool]) -> _Policy:
    read = _Policy()
    for statement in policy.statements:
        if not statement.match.peer_id or is_peer(statement.match.peer_id):
            place, condition = Place(policy, statement), _condition(statement.match)
            read.add(_Read(place, len(read.statements), condition))
    read.finish()
    return read


def _condition(match: MatchIntent) -> _Condition:
    ends = lengths(match)
    if ends is None:
        return _Condition(match)
    prefix = ip_network(match.prefix)
    address = int(prefix.network_address)
    return _Condition(match, prefix.version, address, prefix.prefixlen, *ends)


def _refused_before(chain: Sequence[_Policy], number: int, one: _Read) -> Finding | None:
    for at in range(number):
        unchanged = not any(policy.rewrites for policy in chain[at:number])
        decides = chain[at].decides(one, unchanged)
        if decides is not None and decides.action is PolicyAction.DENY:
            return _finding(
                one, decides, f"is never reached: {decides.place} denies all of it before"
            )
    return None


def _contradiction(hidden: Finding) -> bool:
    """Whether two policies say the opposite of one match, and not the general and the special."""
    of, by = hidden.of, hidden.by
    return (
        of.policy is not by.policy
        and of.statement.match == by.statement.match
        and of.statement.action is not by.statement.action
    )


def _undone_after(chain: Sequence[_Policy], number: int, one: _Read) -> Iterator[Finding]:
    for at in range(number + 1, len(chain)):
        unchanged = not any(policy.rewrites for policy in chain[number:at])
        decides = chain[at].decides(one, unchanged)
        if decides is None:
            continue
        if decides.action is PolicyAction.DENY:
            yield _finding(one, decides, f"permits what {decides.place} denies afterwards")
            return
        # Somebody before it may have acted on the communities: then they were not set in vain.
        read = any(policy.reads_communities for policy in chain[number + 1 : at + 1])
        for what in _overwritten(one.changes, decides.changes, communities=not read):
            yield _finding(one, decides, f"sets {what}, which {decides.place} replaces")


def _overwritten(first: SetIntent, then: SetIntent, communities: bool) -> Iterator[str]:
    """What the first sets in vain; the same value twice is no contradiction."""
    for name, one, two in (
        ("local_pref", first.local_pref, then.local_pref),
        ("med", first.med, then.med),
    ):
        if one is not None and two is not None and one != two:
            yield f"{name} {one}"
    if then.communities_additive or not communities:
        return
    # Communities and large ones are kept apart, and replaced apart.
    replaced = {community.count(":") for community in then.communities}
    lost = [
        community
        for community in first.communities
        if community.count(":") in replaced and community not in then.communities
    ]
    if lost:
        yield f"communities {', '.join(lost)}"


def _finding(of: _Read, by: _Read, what: str) -> Finding:
    return Finding(of.place, by.place, f"{of.place} {what}")

"""Route policies: which routes come in or go out, and what is changed of them (runbook, phase 6).

Statements go by `seq`, the first that matches a route decides. A statement that names a peer this node
does not know matches nothing, never anything; that is no mistake, as peers come and go. Everything here
ends up in the configuration of a routing daemon, so all of it is numbers, prefixes and ids, and the one
text (`as_path`) has few characters and no way out of its line.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, NewType

from powernode_agent.model import as_path
from powernode_agent.model.checks import check_id, check_name, raise_if
from powernode_agent.model.values import NetworkId, PeerId, Prefix
from powernode_agent.model.violation import Violation, violation

RoutePolicyId = NewType("RoutePolicyId", str)

MAX_SEQ: Final = 65535
MAX_STATEMENTS: Final = 1_000
"""Of one policy. Every route is held against them one by one; more is a runaway generator."""
MAX_COMMUNITIES: Final = 32
MAX_PREPENDED: Final = 32
"""A route is long before; FRR takes a line of a few thousand characters at most."""
MAX_PRIORITY: Final = 2**31 - 1

COMMUNITY_EXPECTED: Final = (
    'a community such as "65000:100" (1 to 65534, 0 to 65535) or a large one such as "65000:1:2" (not '
    "0, 65535 or 4294967295 in front)"
)

_UINT16: Final = 2**16 - 1
_UINT32: Final = 2**32 - 1
_RESERVED: Final = frozenset({0, _UINT16, _UINT32})
"""Administrators that mean something by themselves or nothing at all (RFC 1997, RFC 8092). FRR prints
some of them as words; and the last one is left to the agent's own marks."""


class PolicyDirection(Enum):
    IMPORT = "import"
    EXPORT = "export"


class PolicyAction(Enum):
    PERMIT = "permit"
    DENY = "deny"


@dataclass(frozen=True, slots=True, order=True)
class Community:
    """A community of two numbers of 16 bits, or a large one of three numbers of 32 bits. The first is
    the AS that gives the others their meaning. Raises ValueError for numbers that are neither."""

    numbers: tuple[int, ...]

    def __post_init__(self) -> None:
        highest = {2: _UINT16, 3: _UINT32}.get(len(self.numbers))
        if (
            highest is None
            or self.numbers[0] in _RESERVED
            or not all(0 <= number <= highest for number in self.numbers)
        ):
            raise ValueError(f"{self} is not {COMMUNITY_EXPECTED}")

    @property
    def large(self) -> bool:
        """Whether it is a large community (RFC 8092): FRR keeps the two kinds apart."""
        return len(self.numbers) == 3

    def __str__(self) -> str:
        return ":".join(map(str, self.numbers))


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Conditions, all of which must hold; None: any. `PolicyStatement` checks them."""

    prefix: Prefix | None = None
    ge: int | None = None
    le: int | None = None
    peer_id: PeerId | None = None
    community: Community | None = None
    as_path: str | None = None

    @property
    def lengths(self) -> tuple[int, int] | None:
        """Shortest and longest prefix that matches; None without a prefix."""
        if self.prefix is None:
            return None
        own = self.prefix.prefixlen
        if self.le is not None:
            return (own if self.ge is None else self.ge, self.le)
        return (own, own) if self.ge is None else (self.ge, self.prefix.max_prefixlen)


@dataclass(frozen=True, slots=True)
class RouteSet:
    """What is changed of a permitted route; None and empty: nothing. `communities` replace those there
    are, of their own kind, unless `communities_additive`. `PolicyStatement` checks them."""

    local_pref: int | None = None
    med: int | None = None
    communities: tuple[Community, ...] = ()
    communities_additive: bool = False
    as_path_prepend: tuple[int, ...] = ()

    @property
    def changes_nothing(self) -> bool:
        """Whether a route goes through it as it is."""
        return (
            self.local_pref is None
            and self.med is None
            and not self.communities
            and not self.as_path_prepend
        )


@dataclass(frozen=True, slots=True)
class PolicyStatement:
    """One statement of a policy."""

    seq: int
    match: RouteMatch
    set: RouteSet
    action: PolicyAction

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        if not 1 <= self.seq <= MAX_SEQ:
            found.append(violation(which, "seq", self.seq, f"1 to {MAX_SEQ}"))
        self._check_lengths(found, which)
        if self.match.peer_id is not None:
            check_id(found, which, "match.peer_id", self.match.peer_id)
        pattern = self.match.as_path
        if pattern is not None and not as_path.is_as_path_pattern(pattern):
            found.append(violation(which, "match.as_path", pattern, as_path.EXPECTED))
        if self.action is PolicyAction.DENY and not self.set.changes_nothing:
            found.append(violation(which, "set", "(given)", "nothing with action deny"))
        _check_set(found, which, self.set)
        raise_if(found)

    def _check_lengths(self, found: list[Violation], which: str) -> None:
        prefix, ge, le = self.match.prefix, self.match.ge, self.match.le
        for field, length in (("match.ge", ge), ("match.le", le)):
            if length is None:
                continue
            if prefix is None:
                found.append(violation(which, field, length, "0 without match.prefix"))
            elif not prefix.prefixlen <= length <= prefix.max_prefixlen:
                expected = f"{prefix.prefixlen} to {prefix.max_prefixlen} with {prefix}, or 0"
                found.append(violation(which, field, length, expected))
        if prefix is not None and ge is not None and le is not None and le < ge:
            found.append(violation(which, "match.le", le, f"match.ge {ge} or more"))

    def __str__(self) -> str:
        return f"statement {self.seq}"


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """A policy of one network or, with `network_id` None, of every iBGP network of the account.

    `statements` are in order of `seq`, however they were given. Of the policies of one direction those
    with the lower `order` come first.
    """

    id: RoutePolicyId
    network_id: NetworkId | None
    name: str
    direction: PolicyDirection
    statements: tuple[PolicyStatement, ...]
    priority: int = 0

    def __post_init__(self) -> None:
        in_order = tuple(sorted(self.statements, key=lambda statement: statement.seq))
        object.__setattr__(self, "statements", in_order)
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        if self.network_id is not None:
            check_id(found, which, "network_id", self.network_id)
        check_name(found, which, self.name)
        if not -MAX_PRIORITY - 1 <= self.priority <= MAX_PRIORITY:
            found.append(violation(which, "priority", self.priority, "a 32-bit integer"))
        if not in_order:
            found.append(violation(which, "statements", "(none)", "at least one statement"))
        check_statement_count(found, which, len(in_order))
        before: int | None = None
        for statement in in_order:
            if statement.seq == before:
                found.append(violation(which, "statements.seq", statement.seq, "each seq once"))
            before = statement.seq
        raise_if(found)

    def __str__(self) -> str:
        return f"route policy {self.name} ({self.id})"

    @property
    def order(self) -> tuple[int, str]:
        """Sort key among the policies of one direction. The id makes it total, so that all nodes
        agree."""
        return (self.priority, self.id)


def check_statement_count(found: list[Violation], policy: str, count: int) -> None:
    """Notes more statements than a node takes. Asked for by `wire` too, before it spends anything on
    decoding them."""
    if count > MAX_STATEMENTS:
        found.append(violation(policy, "statements", count, f"at most {MAX_STATEMENTS}"))


def _check_set(found: list[Violation], which: str, changes: RouteSet) -> None:
    for field, value in (("set.local_pref", changes.local_pref), ("set.med", changes.med)):
        if value is not None and not 0 <= value <= _UINT32:
            found.append(violation(which, field, value, f"0 to {_UINT32}"))
    communities, prepended = changes.communities, changes.as_path_prepend
    if len(set(communities)) != len(communities):
        shown = ", ".join(map(str, communities))
        found.append(violation(which, "set.communities", shown, "no community twice"))
    if len(communities) > MAX_COMMUNITIES:
        found.append(
            violation(which, "set.communities", len(communities), f"at most {MAX_COMMUNITIES}")
        )
    found.extend(
        violation(which, "set.as_path_prepend", number, f"AS numbers from 1 to {_UINT32}")
        for number in prepended
        if not 1 <= number <= _UINT32
    )
    if len(prepended) > MAX_PREPENDED:
        found.append(
            violation(which, "set.as_path_prepend", len(prepended), f"at most {MAX_PREPENDED}")
        )

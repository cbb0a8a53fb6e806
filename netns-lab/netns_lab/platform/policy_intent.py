"""What an operator wants of the routes that BGP carries, as plain frozen values (runbook, phase 6).

A policy is a filter: its statements go by `seq`, and the first that matches a route decides; a route
that none matches passes as it is. The policies of a direction stand one behind the other, and a route
has to pass all of them. Empty and None mean "any" in a match and "unchanged" in a set.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class PolicyDirection(Enum):
    """IMPORT: routes that a node hears. EXPORT: routes that it tells."""

    IMPORT = "import"
    EXPORT = "export"


class PolicyAction(Enum):
    """What becomes of a route that a statement matches."""

    PERMIT = "permit"
    DENY = "deny"


@dataclass(frozen=True, slots=True)
class MatchIntent:
    """Conditions, all of which must hold. `peer_id` is the neighbour that the route comes from or goes
    to; `ge` and `le` are the shortest and longest length, with a prefix only."""

    prefix: str = ""
    ge: int | None = None
    le: int | None = None
    peer_id: str = ""
    community: str = ""
    as_path: str = ""


@dataclass(frozen=True, slots=True)
class SetIntent:
    """Changes of a permitted route. `communities` replace those there are, of their own kind, unless
    `communities_additive`."""

    local_pref: int | None = None
    med: int | None = None
    communities: tuple[str, ...] = ()
    communities_additive: bool = False
    as_path_prepend: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class StatementIntent:
    """One statement."""

    seq: int
    action: PolicyAction
    match: MatchIntent = MatchIntent()
    set: SetIntent = SetIntent()


@dataclass(frozen=True, slots=True)
class RoutePolicyIntent:
    """One policy. `network_id` empty: of every iBGP network of the account. `statements` are in order
    of `seq`. `edition` counts its changes: two of the same policy with one edition are equal."""

    id: str
    edition: int
    network_id: str
    name: str
    direction: PolicyDirection
    priority: int
    statements: tuple[StatementIntent, ...]
    created_at_ms: int

    @property
    def order(self) -> tuple[int, str]:
        """Sort key among the policies of a direction, the same as on the nodes. Ids grow with age, so
        of equal priorities the older one comes first."""
        return (self.priority, self.id)

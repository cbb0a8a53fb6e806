"""A change: one named step from what is to what should be.

Rooms compute lists of changes by comparing target and actual; the engine orders and carries them out;
`plan` prints the very same list. A change is the unit of application (one kernel transaction), and
may say several things in `lines`: 1,000 peers of a new device are one change of 1,000 lines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from powernode_agent.model.values import NetworkId


class Phase(IntEnum):
    """Order of application: additions upwards, removals downwards (ARCHITECTURE, "The flow")."""

    CLEAR = 5
    """What stands in the way of the rest: a link of ours that bears another network's name, a UDP port
    of ours that another network is to have."""
    GUARD = 7
    """The filter of a network that must not carry packets without it: before its link exists, and gone
    only after its link."""
    FILTER = 8
    """The filter of a network that has no rules: it keeps overlays apart, and can wait."""
    DEVICE = 10
    """WireGuard devices exist, with key and port."""
    LINK = 20
    """Links have alias, MTU, sysctls and addresses, and are up."""
    PEER = 30
    """WireGuard peers and their allowed IPs."""
    ROUTE = 50
    """The agent's own routes."""
    NAT = 55
    """Port mappings: their targets can be reached by now."""
    SETTINGS = 60
    """Kernel settings: late, so that a read-only /proc/sys costs forwarding and not the tunnels."""
    ROUTING = 62
    """What FRR runs; brought about by a task of its own, and only foreseen as a change."""
    VIRTUAL_IP = 65
    """Virtual IPs: last, because on iBGP networks holding one is announcing it; let go of first."""
    BOOTSTRAP = 70
    """What k3s reads when it starts. Nothing holds it back: k3s without it would make a cluster of
    another kind, while one that finds no link says so and tries again."""


class Verb(Enum):
    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Change:
    """One step. `subsystem` names the room; `network` the network it is for, None: the whole node.

    `lines` say what happens in an operator's words, one thing a line, with no secret in them:
    "add peer hub-fra: endpoint 203.0.113.5:51820, allowed IPs fd00:1::/64". `apply` carries the step
    out and raises `AgentError` if it cannot; the room that made the change owns what it does.
    """

    subsystem: str
    network: NetworkId | None
    phase: Phase
    verb: Verb
    lines: tuple[str, ...]
    apply: Callable[[], Awaitable[None]] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Step:
    """What a change is one of: the same step of the same network, tried again, is the same value."""

    subsystem: str
    network: NetworkId | None
    phase: Phase
    verb: Verb

    def hinders(self, other: Step) -> bool:
        """Whether `other` makes no sense while this step fails.

        Without a device nothing of its network can stand, without its link no route and no virtual IP,
        and without the filter that guards it no new peer. That is all: a route that a foreign one
        blocks must not keep a revoked peer in the device, and a setting that cannot be written must
        not keep a prefix on a dead hub.
        """
        if self == other:
            return True
        if self.network is None or self.network != other.network or self.verb is Verb.REMOVE:
            return False
        if other.phase is Phase.BOOTSTRAP:
            return False
        if self.phase is Phase.DEVICE and self.verb is Verb.ADD:
            return other.verb is not Verb.REMOVE
        if self.phase is Phase.GUARD:
            # A door without its lock is not opened to anyone new.
            return other.phase in (Phase.PEER, Phase.ROUTE) and other.verb is Verb.ADD
        stands_on_link = other.phase in (Phase.ROUTE, Phase.VIRTUAL_IP)
        return self.phase is Phase.LINK and stands_on_link and other.verb is Verb.ADD


def step_of(change: Change) -> Step:
    """The step that `change` is."""
    return Step(change.subsystem, change.network, change.phase, change.verb)


def in_order(changes: list[Change]) -> list[Change]:
    """Additions and changes by phase, then removals by phase backwards: add before delete, always.

    Only what stands in the way goes first. The sort is stable: within a phase a room's own order
    stands.
    """
    removed = [c for c in changes if c.verb is Verb.REMOVE and c.phase is not Phase.CLEAR]
    kept = [c for c in changes if c.verb is not Verb.REMOVE or c.phase is Phase.CLEAR]
    return sorted(kept, key=lambda c: c.phase) + sorted(removed, key=lambda c: -c.phase)

"""What an operator wants of one virtual IP, and where a move of it stands, as plain frozen values.

The compiler works on these: equal intent compiles to equal desired state, so what a move does not
concern is not sent again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HolderIntent:
    """A peer that may hold a virtual IP. `local_preference` 0: the default of iBGP."""

    peer_id: str
    hold: bool
    local_preference: int = 0


@dataclass(frozen=True, slots=True)
class NearestIntent:
    """Holders of an anycast virtual IP as one peer should prefer them, nearest first, as measured."""

    peer_id: str
    holders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VirtualIpIntent:
    """One virtual IP. The first of `holders` is the primary: traffic is led there, and with `anycast`
    to all. Peers that `nearest` does not name prefer holders as the network prefers hubs."""

    id: str
    name: str
    address: str
    anycast: bool
    holders: tuple[HolderIntent, ...]
    nearest: tuple[NearestIntent, ...] = ()

    @property
    def prefix(self) -> str:
        """The /128."""
        return f"{self.address}/128"

    @property
    def serving(self) -> tuple[str, ...]:
        """The peers that traffic may be led to, the primary first."""
        if self.anycast:
            return tuple(each.peer_id for each in self.holders)
        return tuple(each.peer_id for each in self.holders[:1])

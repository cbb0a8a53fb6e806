"""iBGP of one network on this node: who its neighbours are and what it announces (runbook, phase 8).

What several networks of a host have to share (one AS number, one router id) is `desired_state`'s
business; that neighbours are peers is `network_state`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final, NewType

from powernode_agent.model.checks import check_id, check_routable, raise_if
from powernode_agent.model.values import NetworkId, PeerId, Prefix
from powernode_agent.model.violation import Violation, violation

BgpInstanceId = NewType("BgpInstanceId", str)

MIN_AS_NUMBER: Final = 64512
MAX_AS_NUMBER: Final = 65534
"""The private range of two bytes (RFC 6996)."""

MIN_BFD_INTERVAL_MS: Final = 50
"""Below, a busy host loses packets to its own scheduler and takes living neighbours for dead."""
MAX_BFD_INTERVAL_MS: Final = 10_000

MAX_DESCRIPTION_LENGTH: Final = 255


@dataclass(frozen=True, slots=True)
class BgpNeighbor:
    """One neighbour. `passive`: we wait for it to connect. `bfd_interval_ms` None: no BFD."""

    peer_id: PeerId
    route_reflector_client: bool = False
    passive: bool = False
    bfd_interval_ms: int | None = None

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "peer_id", self.peer_id)
        interval = self.bfd_interval_ms
        if interval is not None and not MIN_BFD_INTERVAL_MS <= interval <= MAX_BFD_INTERVAL_MS:
            found.append(
                violation(
                    which,
                    "bfd_interval_ms",
                    interval,
                    f"{MIN_BFD_INTERVAL_MS} to {MAX_BFD_INTERVAL_MS}, or 0 for no BFD",
                )
            )
        raise_if(found)

    def __str__(self) -> str:
        return f"BGP neighbor {self.peer_id}"


@dataclass(frozen=True, slots=True)
class SubnetAdvertisement:
    """A prefix that this node announces; `description` is what operators say of it."""

    prefix: Prefix
    description: str = ""

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_routable(found, which, "prefix", self.prefix)
        if len(self.description) > MAX_DESCRIPTION_LENGTH or not self.description.isprintable():
            found.append(
                violation(
                    which,
                    "description",
                    self.description,
                    f"at most {MAX_DESCRIPTION_LENGTH} printable characters",
                )
            )
        raise_if(found)

    def __str__(self) -> str:
        return f"advertisement {self.prefix}"


@dataclass(frozen=True, slots=True)
class BgpInstance:
    """iBGP of one network. `cluster_id` is given exactly where this node reflects routes."""

    id: BgpInstanceId
    network_id: NetworkId
    as_number: int
    router_id: IPv4Address
    cluster_id: IPv4Address | None = None
    neighbors: tuple[BgpNeighbor, ...] = ()
    advertisements: tuple[SubnetAdvertisement, ...] = ()

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_id(found, which, "network_id", self.network_id)
        if not MIN_AS_NUMBER <= self.as_number <= MAX_AS_NUMBER:
            found.append(
                violation(which, "as_number", self.as_number, f"{MIN_AS_NUMBER} to {MAX_AS_NUMBER}")
            )
        for field, identifier in (("router_id", self.router_id), ("cluster_id", self.cluster_id)):
            # Any other 32 bits will do (RFC 6286); zero is how BGP and FRR say "none".
            if identifier is not None and int(identifier) == 0:
                found.append(violation(which, field, identifier, "an IPv4 address, not 0.0.0.0"))
        self._check_neighbors(found, which)
        prefixes: set[Prefix] = set()
        for advertisement in self.advertisements:
            if advertisement.prefix in prefixes:
                found.append(
                    violation(
                        which, "advertisements.prefix", advertisement.prefix, "each prefix once"
                    )
                )
            prefixes.add(advertisement.prefix)
        raise_if(found)

    def _check_neighbors(self, found: list[Violation], which: str) -> None:
        peers: set[PeerId] = set()
        for neighbor in self.neighbors:
            if neighbor.peer_id in peers:
                found.append(
                    violation(which, "neighbors.peer_id", neighbor.peer_id, "each peer once")
                )
            peers.add(neighbor.peer_id)
            if neighbor.route_reflector_client and not self.route_reflector:
                found.append(
                    violation(
                        which,
                        "neighbors.route_reflector_client",
                        neighbor.peer_id,
                        "no clients on a node that is no route reflector",
                    )
                )

    def __str__(self) -> str:
        return f"BGP instance {self.id}"

    @property
    def route_reflector(self) -> bool:
        """Whether this node reflects routes between its clients."""
        return self.cluster_id is not None

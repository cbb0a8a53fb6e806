"""What `paths` decides for one network: which peer carries which prefix.

WireGuard and the kernel's routes both follow from it: `wireguard` takes the allowed IPs, `links` the
routes. It lives in the model because three rooms speak of it and none of them may import another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from powernode_agent.model.values import Address, NetworkId, PathId, PeerId, Prefix

NEAREST_METRIC: Final = 1024
"""Metric of the route for the whole overlay, by which every peer is reached that has no host route."""
FURTHEST_METRIC: Final = NEAREST_METRIC + 10_000
"""Metric of a host route to a peer that does not answer, or of which nothing was ever known."""


@dataclass(frozen=True, slots=True)
class PathChoice:
    """Who carries one path, and why. `peer_id` None: nobody may; `reason` says what was refused."""

    path_id: PathId
    prefix: Prefix
    peer_id: PeerId | None
    reason: str
    local: bool = False
    """Whether this node moved by itself, against the platform's order."""


@dataclass(frozen=True, slots=True)
class Carrying:
    """Every peer's allowed IPs (host addresses included) and the prefixes that leave by our link, by
    routes of ours."""

    network_id: NetworkId
    allowed_ips: Mapping[PeerId, frozenset[Prefix]]
    routes: frozenset[Prefix]
    choices: tuple[PathChoice, ...] = ()
    refused: tuple[str, ...] = field(default=())
    """One sentence, with what to do, for each prefix of the overlay that must not be routed here and
    for each candidate that is not permitted to carry its prefix."""
    withheld: frozenset[Address] = frozenset()
    """Own overlay addresses that must not stand on the link, because their prefix is refused."""
    learned: Mapping[Prefix, PeerId] = field(default_factory=dict)
    """Who carries the prefixes that were learned from routes on the link (iBGP networks)."""
    host_routes: Mapping[Prefix, int | None] = field(default_factory=dict)
    """Routes to single peers beside `routes`, with their metrics: the distance by which BGP tells the
    holders of an anycast address apart. None: not measured, and what stands is left as it is, so that
    a restart of the agent moves nobody; where nothing stands, the furthest."""

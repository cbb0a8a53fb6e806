"""How far from a route reflector they are who may hold virtual IPs, as metrics of host routes. Pure.

The holders of an anycast address announce the same prefix with the same preference, and what BGP asks
next is whose next hop is nearer by the kernel's routes. By the one route for the whole overlay all are
equally near, and the lowest router id would serve everybody. So a reflector has a host route to each
neighbour that may hold a virtual IP, and its metric is the round trip: the closest holder is the one
that is closest to the reflector.

Reflectors alone have them, and none to other hubs. Everybody else takes what a reflector has chosen,
and both ends of a conversation choose the same reflector only while none is nearer than another.

A change of metric moves conversations from one holder to another, and ends them. So metrics are coarse
steps, and a step stays until the round trip has left it well behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from math import ceil, log
from typing import Final

from powernode_agent.model.bgp import BgpInstance
from powernode_agent.model.carrying import FURTHEST_METRIC, NEAREST_METRIC
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network, Peer, PeerRole, RoutingMode
from powernode_agent.model.status import Liveness, LivenessReading
from powernode_agent.model.values import PeerId, Prefix

RATIO: Final = 1.5
"""Between two steps; the first is 1 ms. Its square root is within `SLACK`, so that a step is not left
as soon as it was taken."""

LAST_STEP: Final = 21
"""5.0 s, the latest answer that the prober counts."""

SLACK: Final = 0.25
SLACK_MS: Final = 2.0
"""A step is left when the round trip differs from it by more than both: the part of it, and the time,
below which a busy machine at either end is what was measured."""

REVIEW: Final = 10.0
"""Seconds until round trips are looked at again: nothing tells of one that changed, and a peer that
is probed every 20 s has no news more often."""

HostRoutes = Mapping[Prefix, int | None]


@dataclass(frozen=True, slots=True)
class Distances:
    """What one measurement hands to the next one of the same network. Starts empty."""

    steps: Mapping[PeerId, int] = field(default_factory=dict)
    """In force; kept while a peer is dead or not measured."""
    holders: Mapping[PeerId, Prefix] = field(default_factory=dict)
    """Who may hold, by own address; looked for again only where `ground` changed."""
    ground: tuple[Network, BgpInstance | None, Mapping[PeerId, Peer]] | None = field(
        default=None, repr=False
    )


def measure(
    network: NetworkState, liveness: Mapping[PeerId, LivenessReading], before: Distances
) -> tuple[HostRoutes, Distances]:
    """The metric of each holder's host route, as in `Carrying.host_routes`; none on other nodes."""
    holders = before.holders
    if before.ground is None or not _same(before.ground, network):
        holders = _holders(network)
    steps: dict[PeerId, int] = {}
    metrics: dict[Prefix, int | None] = {}
    for peer_id, prefix in holders.items():
        reading = liveness.get(peer_id)
        step = before.steps.get(peer_id)
        dead = reading is not None and reading.state is Liveness.DEAD
        if reading is not None and reading.rtt is not None and not dead:
            step = step_of(reading.rtt, step)
        if step is not None:
            steps[peer_id] = step
        metrics[prefix] = FURTHEST_METRIC if dead else None if step is None else metric_of(step)
    return metrics, Distances(steps, holders, (network.network, network.bgp, network.peers))


def step_of(rtt: float, before: int | None) -> int:
    """The step of a round trip in seconds, where `before` was in force."""
    milliseconds = rtt * 1000
    if before is not None:
        middle = RATIO**before
        if abs(milliseconds - middle) <= max(SLACK * middle, SLACK_MS):
            return before
    return min(round(log(max(milliseconds, 1.0), RATIO)), LAST_STEP)


def metric_of(step: int) -> int:
    """In whole milliseconds above the route for the overlay; rounded up, which keeps steps apart."""
    return NEAREST_METRIC + ceil(RATIO**step)


def _same(
    ground: tuple[Network, BgpInstance | None, Mapping[PeerId, Peer]], of: NetworkState
) -> bool:
    return ground[0] is of.network and ground[1] is of.bgp and ground[2] is of.peers


def _holders(network: NetworkState) -> dict[PeerId, Prefix]:
    """A reflector's neighbours that may carry some single address of the overlay besides their own.

    Which virtual IPs there are, a node knows of its own alone; of others, what they may carry.
    """
    bgp, own = network.bgp, network.network
    if bgp is None or not bgp.route_reflector or own.routing_mode is not RoutingMode.IBGP:
        return {}
    neighbors = (network.peers[neighbor.peer_id] for neighbor in bgp.neighbors)
    return {
        peer.id: IPv6Network((int(peer.host_address), 128))
        for peer in neighbors
        if peer.role is not PeerRole.HUB
        and any(
            prefix.prefixlen == 128 and prefix.network_address in own.prefix
            for prefix in peer.permitted_prefixes
        )
    }

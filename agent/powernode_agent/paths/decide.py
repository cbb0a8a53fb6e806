"""Who carries what on one network: the allowed IPs of every peer and the routes over our link. Pure.

What holds of every decision, whatever the liveness and its history:
- a prefix belongs to at most one peer, because WireGuard would silently move it otherwise;
- a peer's own host prefixes stay with that peer, so hubs never depend on a choice to reach a spoke;
- this node's own addresses and LAN subnets are never given away, and nothing that a peer may not
  carry is given to it: what is refused is carried by nobody, has no route, and is reported;
- nothing that covers an address of the underlay is routed, the overlay's own prefixes included;
- on a static network the platform's order is obeyed, except for a peer that is dead to this node while
  another candidate is alive, for as long as `standing` says;
- on an iBGP network BGP decides: a prefix with a learned route goes to the peer that the route means
  (`learned`), and a path of desired state is what holds while there is none. Outside of the overlay the
  agent has no routes of its own there: to zebra they would be better than BGP's, which it would then
  not install. Inside it, a route reflector has host routes that tell how far holders are (`distance`).
  What another account's gateway carries is no matter of BGP, and has a route of ours (`gateways`);
- on a static network only prefixes of pods are learned, and those have one route together (`pods`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from powernode_agent.model.carrying import Carrying, PathChoice
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network, Peer, RoutingMode
from powernode_agent.model.status import Liveness, LivenessReading
from powernode_agent.model.values import Address, PathId, PeerId, Prefix
from powernode_agent.paths.distance import REVIEW, Distances, measure
from powernode_agent.paths.gateways import carried_by_gateways, gateway_routes, gateways_of
from powernode_agent.paths.learned import NOTHING_LEARNED, Learned, Resolution, resolve
from powernode_agent.paths.permits import (
    Overlay,
    Permit,
    Underlay,
    covers,
    permit,
    permit_overlay,
    underlay_of,
)
from powernode_agent.paths.pods import routed_as
from powernode_agent.paths.standing import LOCAL_GRACE, PLATFORM_GRACE, Standing, next_standing

Candidates = tuple[PeerId, ...]


@dataclass(frozen=True)
class PathMemory:
    """What one decision hands to the next one of the same network. Starts empty."""

    standings: Mapping[PeerId, Standing] = field(default_factory=dict)
    firsts: Mapping[PathId, PeerId] = field(default_factory=dict)
    """The platform's first permitted candidate of each path: a change is the platform speaking."""
    chosen: Mapping[Candidates, PeerId] = field(default_factory=dict)
    """Who carries the paths with these permitted candidates."""
    permits: Mapping[PathId, Permit] = field(default_factory=dict, repr=False)
    """Drawn from `ground`; like `pinned`, kept so that one changed peer among 2,000 costs little."""
    ground: tuple[Network, Underlay] | None = field(default=None, repr=False)
    pinned: Mapping[PeerId, tuple[Peer, frozenset[Prefix]]] = field(
        default_factory=dict, repr=False
    )
    """Host prefixes of each peer, kept because making them again for 2,000 peers costs more than the
    rest of a decision; also keeps the sets of untouched peers identical (`is`)."""
    resolution: Resolution | None = field(default=None, repr=False)
    distances: Distances = field(default_factory=Distances)


@dataclass(frozen=True, slots=True)
class Decision:
    """`wake_at`: when to decide again although nothing else happened, by the clock of `now`; None:
    not before something does."""

    carrying: Carrying
    memory: PathMemory
    wake_at: float | None


def decide(
    network: NetworkState,
    liveness: Mapping[PeerId, LivenessReading],
    memory: PathMemory,
    now: float,
    platform_speaks: bool,
    elsewhere: frozenset[Address] = frozenset(),
    learned: Learned = NOTHING_LEARNED,
) -> Decision:
    """Decides for one network.

    `now` and the readings' `since` are seconds of the same clock. `platform_speaks`: the platform is
    connected and moves the network itself if it can, so a local move waits a little longer.
    `elsewhere`: addresses beyond this network's endpoints that must never be reached through a tunnel.
    `learned`: what others routed over the link; on static networks, where paths are the routes, only
    prefixes of pods.
    """
    underlay = underlay_of(network.peers.values(), elsewhere)
    ground = (network.network, underlay)
    permits = _permits(network, ground, memory)
    overlay = permit_overlay(network, underlay)
    standings, wake_at = _standings(network, permits, liveness, memory, now, platform_speaks)
    chosen = {
        candidates: _choose(candidates, liveness, standings, memory.chosen.get(candidates))
        for candidates in {granted.candidates for granted in permits}
        if candidates
    }
    choices = tuple(_explain(network, granted, chosen, standings, liveness) for granted in permits)
    fallback = {choice.prefix: choice.peer_id for choice in choices if choice.peer_id is not None}
    gateways = gateways_of(network)
    crossing = carried_by_gateways(gateways, choices)
    if crossing and learned:
        ours = {choice.prefix for choice in crossing}
        learned = {prefix: hops for prefix, hops in learned.items() if prefix not in ours}
    resolution = resolve(network, underlay, learned, fallback, memory.resolution)
    if resolution.carried:
        choices = tuple(_learned_first(choice, resolution) for choice in choices)
    pinned = _pinned(network, memory)
    host_routes, distances = measure(network, liveness, memory.distances)
    if network.network.prefix not in overlay.routed:
        host_routes = {}
    if host_routes:
        wake_at = now + REVIEW if wake_at is None else min(wake_at, now + REVIEW)
    remembered = PathMemory(
        standings,
        {granted.path.id: granted.candidates[0] for granted in permits if granted.candidates},
        chosen,
        {granted.path.id: granted for granted in permits},
        ground,
        pinned,
        resolution,
        distances,
    )
    paths_are_routes = network.network.routing_mode is RoutingMode.STATIC
    routes = frozenset(
        routed_as(prefix, network.network, underlay)
        for prefix in _routes(overlay, choices if paths_are_routes else crossing)
    )
    to_gateways, unrouted = gateway_routes(network, gateways, routes, underlay)
    carrying = Carrying(
        network.network.id,
        _allowed_ips(pinned, choices, resolution),
        routes | to_gateways,
        choices,
        (
            *overlay.refused,
            *(why for granted in permits for why in granted.refused),
            *resolution.refused,
            *unrouted,
        ),
        overlay.withheld,
        resolution.carried,
        host_routes,
    )
    return Decision(carrying, remembered, wake_at)


def _permits(
    network: NetworkState, ground: tuple[Network, Underlay], memory: PathMemory
) -> list[Permit]:
    """The permits of all paths by the paths' ids; drawn again only where something changed."""
    kept = memory.permits if memory.ground == ground else {}
    permits: list[Permit] = []
    for path_id, path in sorted(network.paths.items(), key=itemgetter(0)):
        granted = kept.get(path_id)
        if granted is None or not granted.holds(network, path):
            granted = permit(network, path, ground[1])
        permits.append(granted)
    return permits


def _standings(
    network: NetworkState,
    permits: list[Permit],
    liveness: Mapping[PeerId, LivenessReading],
    memory: PathMemory,
    now: float,
    platform_speaks: bool,
) -> tuple[dict[PeerId, Standing], float | None]:
    """The standing of every peer that has an alternative, and when the next one may change."""
    others: dict[PeerId, dict[PeerId, LivenessReading | None]] = {}
    for candidates in {granted.candidates for granted in permits if len(granted.candidates) > 1}:
        for candidate in candidates:
            found = others.setdefault(candidate, {})
            found.update((other, liveness.get(other)) for other in candidates if other != candidate)
    promoted = {
        granted.candidates[0]
        for granted in permits
        if granted.candidates
        and memory.firsts.get(granted.path.id, granted.candidates[0]) != granted.candidates[0]
    }
    grace = PLATFORM_GRACE if platform_speaks else LOCAL_GRACE
    standings: dict[PeerId, Standing] = {}
    wakes: list[float] = []
    for peer_id, alternatives in others.items():
        before = memory.standings.get(peer_id)
        if peer_id in promoted:
            before = Standing(False, now, 0 if before is None else before.flaps)
        after, wake = next_standing(before, liveness.get(peer_id), alternatives, now, grace)
        if after is not None:
            standings[peer_id] = after
        if wake is not None:
            wakes.append(wake)
    return standings, min(wakes, default=None)


def _choose(
    candidates: Candidates,
    liveness: Mapping[PeerId, LivenessReading],
    standings: Mapping[PeerId, Standing],
    before: PeerId | None,
) -> PeerId:
    """The peer that carries the paths with these candidates."""

    def trusted(candidate: PeerId) -> bool:
        standing = standings.get(candidate)
        return standing is None or not standing.avoided

    def alive(candidate: PeerId) -> bool:
        reading = liveness.get(candidate)
        return reading is not None and reading.state is Liveness.ALIVE

    first = candidates[0]
    if trusted(first):
        return first
    for candidate in candidates:
        # The one that carries them now gets its grace; another has to be alive to be moved to.
        if trusted(candidate) and (candidate == before or alive(candidate)):
            return candidate
    # Nobody of good standing: one that answers, even if it is still held down, and if none does, no
    # move, since moving between dead peers helps nobody.
    if before is not None and alive(before):
        return before
    living = next((candidate for candidate in candidates if alive(candidate)), None)
    return living or before or first


def _explain(
    network: NetworkState,
    granted: Permit,
    chosen: Mapping[Candidates, PeerId],
    standings: Mapping[PeerId, Standing],
    liveness: Mapping[PeerId, LivenessReading],
) -> PathChoice:
    path = granted.path
    if not granted.candidates:
        reason = "; ".join(granted.refused)
        reason = f"refused: {reason}" if reason else "no candidate has a public key yet"
        return PathChoice(path.id, path.prefix, None, reason)
    carrier = chosen[granted.candidates]
    first = granted.candidates[0]
    if carrier == first:
        reason = (
            "first candidate"
            if first == path.candidates[0]
            else "first candidate that may and can carry it"
        )
        return PathChoice(path.id, path.prefix, carrier, reason)
    standing = standings[first]  # only an avoided first candidate is passed over
    reason = f"moved by this node: {network.peers[first].name} {standing.evidence}"
    reading = liveness.get(first)
    if reading is not None and reading.state is Liveness.ALIVE:
        reason += f"; it answers again, and returns after {standing.hold_down:.0f} s without loss"
    return PathChoice(path.id, path.prefix, carrier, reason, local=True)


def _learned_first(choice: PathChoice, resolution: Resolution) -> PathChoice:
    """A path of desired state gives way to a learned route for the same prefix."""
    carrier = resolution.carried.get(choice.prefix)
    if carrier is None:
        return choice
    verdict = resolution.verdicts[choice.prefix]
    return PathChoice(choice.path_id, choice.prefix, carrier, f"learned: next hop {verdict.hop}")


def _pinned(
    network: NetworkState, memory: PathMemory
) -> dict[PeerId, tuple[Peer, frozenset[Prefix]]]:
    """Every peer's own host prefixes; made again only for peers that changed."""
    pinned: dict[PeerId, tuple[Peer, frozenset[Prefix]]] = {}
    for peer_id, peer in network.peers.items():
        kept = memory.pinned.get(peer_id)
        if kept is None or kept[0] is not peer:
            kept = (peer, frozenset(peer.host_prefixes))
        pinned[peer_id] = kept
    return pinned


def _allowed_ips(
    pinned: Mapping[PeerId, tuple[Peer, frozenset[Prefix]]],
    choices: tuple[PathChoice, ...],
    resolution: Resolution,
) -> dict[PeerId, frozenset[Prefix]]:
    carried: dict[PeerId, list[Prefix]] = {}
    for choice in choices:
        if choice.peer_id is not None and choice.prefix not in resolution.carried:
            carried.setdefault(choice.peer_id, []).append(choice.prefix)
    for prefix, peer_id in resolution.carried.items():
        carried.setdefault(peer_id, []).append(prefix)
    allowed = {peer_id: prefixes for peer_id, (_, prefixes) in pinned.items()}
    for peer_id, prefixes in carried.items():
        allowed[peer_id] = allowed[peer_id].union(prefixes)
    return allowed


def _routes(overlay: Overlay, choices: tuple[PathChoice, ...]) -> frozenset[Prefix]:
    """The overlay's own prefixes, whole where they may be, and what is carried outside of them.

    The overlay is routed whole even where only host addresses are carried: packets to an address that
    nobody has must end at WireGuard, not leave for the internet by the default route.
    """
    outside = (
        choice.prefix
        for choice in choices
        if choice.peer_id is not None and not any(covers(p, choice.prefix) for p in overlay.routed)
    )
    return frozenset(overlay.routed).union(outside)

"""Which network of this host a prefix belongs to. Pure.

A host has one routing table, so one prefix has one way out. Peers of two networks may both be permitted
to announce it; then the more specific claim is the better one, and of equal claims that of the network
whose id comes first. Every node decides so, and no announcement changes it: a route of one network
never competes with a route of another. What is inside an overlay is that network's and nobody else's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from ipaddress import IPv4Network, IPv6Network

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network
from powernode_agent.model.values import NetworkId, Prefix
from powernode_agent.routing.prefix_list import Entry, merged, without_covered


class Claims:
    """What one network may not take, because it is another's."""

    def __init__(
        self,
        own: Set[Prefix],
        better: Set[Prefix],
        worse: Set[Prefix],
        overlays: Set[Prefix],
    ) -> None:
        """`own` claims; those of networks that come before, and after; and the others' overlays."""
        # An equal claim of a network that comes later is no claim, and an overlay is beyond any.
        self._equal_is_lost = better | overlays
        self._overlays = overlays
        self._overlay_lengths = {overlay.prefixlen for overlay in overlays}
        claims = self._equal_is_lost | (worse - own)
        self._claims = {
            version: sorted(
                ((int(c.network_address), c.prefixlen, c) for c in claims if c.version == version),
                key=lambda claim: claim[:2],
            )
            for version in (4, 6)
        }

    def entries(self, permitted: Iterable[Prefix]) -> dict[int, list[Entry]]:
        """What may be taken of somebody who is permitted these prefixes, for each IP version."""
        found: dict[int, dict[Prefix, Entry]] = {4: {}, 6: {}}
        for prefix in permitted:
            if prefix in self._equal_is_lost or self._is_in_an_overlay(prefix):
                continue
            entries = found[prefix.version]
            entries[prefix] = Entry(prefix)
            for inner in self._inside(prefix):
                entries.setdefault(inner, Entry(inner, permit=False))
        decisions = {
            version: without_covered(entries.values()) for version, entries in found.items()
        }
        return {
            # Merging is for the permitted alone: a refusal between them would lose its place.
            version: merged(entry.prefix for entry in entries)
            if all(entry.permit for entry in entries)
            else entries
            for version, entries in decisions.items()
        }

    def _is_in_an_overlay(self, prefix: Prefix) -> bool:
        return any(
            prefix.supernet(new_prefix=length) in self._overlays
            for length in self._overlay_lengths
            if length <= prefix.prefixlen
        )

    def _inside(self, prefix: Prefix) -> Iterable[Prefix]:
        """Claims of others that are more specific than `prefix`."""
        claims = self._claims[prefix.version]
        at = bisect_left(claims, (int(prefix.network_address), 0), key=lambda claim: claim[:2])
        end = int(prefix.broadcast_address)
        while at < len(claims) and claims[at][0] <= end:
            claim = claims[at][2]
            if claim.prefixlen > prefix.prefixlen:
                yield claim
            at += 1


def claims_of(states: Mapping[NetworkId, NetworkState]) -> Mapping[NetworkId, Claims]:
    """The claims of every network against those of all others."""
    claimed = {id_: frozenset(_claimed(states[id_])) for id_ in sorted(states)}
    overlays = {id_: frozenset(overlays_of(state.network)) for id_, state in states.items()}
    every_overlay = frozenset().union(*overlays.values())
    after = Counter(prefix for claims in claimed.values() for prefix in claims)
    before: set[Prefix] = set()
    found: dict[NetworkId, Claims] = {}
    for id_, own in claimed.items():
        after.subtract(own)
        worse = {prefix for prefix, count in after.items() if count}
        found[id_] = Claims(own, frozenset(before), worse, every_overlay - overlays[id_])
        before |= own
    return found


def overlays_of(network: Network) -> tuple[Prefix, ...]:
    """The overlay's own prefixes."""
    if network.overlay_ipv4_prefix is None:
        return (network.prefix,)
    return (network.prefix, network.overlay_ipv4_prefix)


def _claimed(state: NetworkState) -> Iterable[Prefix]:
    """What somebody on a network may announce there, outside of its overlay."""
    inside = overlays_of(state.network)
    advertised = () if state.bgp is None else state.bgp.advertisements
    for prefix in (
        *(advertisement.prefix for advertisement in advertised),
        *(prefix for peer in state.peers.values() for prefix in peer.permitted_prefixes),
    ):
        if not any(_covers(overlay, prefix) for overlay in inside):
            yield prefix


def _covers(outer: Prefix, inner: Prefix) -> bool:
    if isinstance(outer, IPv6Network):
        return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv4Network) and inner.subnet_of(outer)

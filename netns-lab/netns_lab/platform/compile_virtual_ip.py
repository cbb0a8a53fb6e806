"""From the virtual IPs of a network to what each node gets of them. Pure.

A node that may hold one is told whether it does now. On a static network every node that does not hold
it gets a path to whoever does: the holder itself where the two have a session, and else the hubs in
the network's own order, as for anything else (`compile`). There is no detour over a hub to a holder
that has a session: what comes from there would not pass WireGuard's source check. Of several holders
the nearest comes first, as measured, and else a hub before a spoke.

On an iBGP network holding is announcing, and BGP chooses. A hub that may hold one has a path to whoever
it is led to all the same, for the time in which both hold: while it has the address itself no route to
the other one gets into its kernel, and it would drop what that one answers through it.

Whoever may hold a virtual IP may always carry it, so that a move changes no peer of anybody.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role, RoutingMode, Topology
from netns_lab.platform.path_messages import path_message
from netns_lab.platform.revisions import Resource, Resources, key_of
from netns_lab.platform.virtual_ip_intent import VirtualIpIntent
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import virtual_ip_pb2


@dataclass(frozen=True, slots=True)
class VirtualIps:
    """The virtual IPs of a network, and what is the same for all its nodes. `permitted`: what a peer
    may carry because it may hold it, by peer id."""

    network: NetworkIntent
    peers: Mapping[str, PeerIntent]
    permitted: Mapping[str, tuple[str, ...]]

    def of(self, own: PeerIntent) -> Iterator[Resource]:
        """What one node gets."""
        for virtual_ip in self.network.virtual_ips:
            yield from self._of_one(virtual_ip, own)

    def some(self, own: PeerIntent, ids: Container[str]) -> Resources:
        """What one node gets of the virtual IPs `ids`."""
        return {
            key_of(resource): resource
            for virtual_ip in self.network.virtual_ips
            if virtual_ip.id in ids
            for resource in self._of_one(virtual_ip, own)
        }

    def _of_one(self, virtual_ip: VirtualIpIntent, own: PeerIntent) -> Iterator[Resource]:
        network = self.network
        static = network.routing_mode is RoutingMode.STATIC
        mine = next((each for each in virtual_ip.holders if each.peer_id == own.id), None)
        if mine is not None:
            yield virtual_ip_pb2.VirtualIp(
                id=virtual_ip.id,
                network_id=network.id,
                name=virtual_ip.name,
                address=virtual_ip.address,
                hold=mine.hold,
                anycast=virtual_ip.anycast,
                # One that does not announce has none: a release is a change of `hold` alone.
                local_preference=mine.local_preference if mine.hold and not static else 0,
            )
        if static:
            ways = () if mine is not None and mine.hold else self._ways(virtual_ip, own)
        elif mine is not None and own.role is Role.HUB and not virtual_ip.anycast:
            ways = self.direct(virtual_ip, own)
        else:
            ways = ()
        if ways:
            yield path_message(network.id, virtual_ip.prefix, pb.PATH_PURPOSE_VIRTUAL_IP, ways)

    def direct(self, virtual_ip: VirtualIpIntent, own: PeerIntent) -> tuple[str, ...]:
        """The holders that a node has a session with, in the order in which it prefers them."""
        serving = self._serving(virtual_ip, own)
        if virtual_ip.anycast:
            serving = self._nearest_first(virtual_ip, own, serving)
        topology = self.network.topology
        return tuple(holder.id for holder in serving if connected(topology, own, holder))

    def _serving(self, virtual_ip: VirtualIpIntent, own: PeerIntent) -> list[PeerIntent]:
        return [
            self.peers[id_] for id_ in virtual_ip.serving if id_ in self.peers and id_ != own.id
        ]

    def _ways(self, virtual_ip: VirtualIpIntent, own: PeerIntent) -> tuple[str, ...]:
        direct = self.direct(virtual_ip, own)
        if len(direct) == len(self._serving(virtual_ip, own)):
            return direct
        hubs = (hub for hub in self.network.hub_order if hub != own.id and hub not in direct)
        return (*direct, *hubs)

    def _nearest_first(
        self, virtual_ip: VirtualIpIntent, own: PeerIntent, serving: list[PeerIntent]
    ) -> list[PeerIntent]:
        measured = next((each.holders for each in virtual_ip.nearest if each.peer_id == own.id), ())
        order = {id_: place for place, id_ in enumerate(measured)}
        hubs = {id_: place for place, id_ in enumerate(self.network.hub_order)}
        return sorted(
            serving,
            key=lambda holder: (
                order.get(holder.id, len(order)),
                hubs.get(holder.id, len(hubs)),
            ),
        )


def share_virtual_ips(network: NetworkIntent, peers: Mapping[str, PeerIntent]) -> VirtualIps:
    """The virtual IPs of a network, ready for its nodes."""
    permitted: dict[str, tuple[str, ...]] = {}
    for virtual_ip in network.virtual_ips:
        for holder in virtual_ip.holders:
            before = permitted.get(holder.peer_id, ())
            permitted[holder.peer_id] = (*before, virtual_ip.prefix)
    return VirtualIps(network, peers, permitted)


def changed_virtual_ips(was: NetworkIntent, now: NetworkIntent) -> frozenset[str]:
    """The virtual IPs that are not what they were, by id."""
    before = {each.id: each for each in was.virtual_ips}
    after = {each.id: each for each in now.virtual_ips}
    return frozenset(
        id_ for id_ in before.keys() | after.keys() if before.get(id_) != after.get(id_)
    )


def connected(topology: Topology, own: PeerIntent, other: PeerIntent) -> bool:
    """Whether two peers of a network have a WireGuard session."""
    if Role.HUB in (own.role, other.role):
        return True
    return topology is Topology.FULL_MESH and bool(own.endpoint or other.endpoint)

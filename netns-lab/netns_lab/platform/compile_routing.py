"""From the intent of an iBGP network to the BGP instance of each node, and what a peer may carry. Pure.

Peers that have a WireGuard session have a BGP session, and no others: a neighbour is reached through
its own tunnel or not at all. Hubs reflect routes to those spokes that cannot be called, because two of
them never have a session with each other; whoever can be called hears of everything at first hand.
Several hubs are neighbours of each other and reflect to the same clients, so the loss of one costs
nobody a route.

One end of a session waits and the other connects, or two connections would collide and cost a second:
a hub waits for its spokes, and of two equals the one with the lower id waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from netns_lab.platform.compile_virtual_ip import connected
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role, RoutingMode, Topology
from netns_lab.platform.routing_intent import CLUSTER_ID
from powernode.sdwan.v1 import bgp_pb2

BFD_INTERVAL_MS: Final = 100
"""Loss is found after three: traffic goes by the other hub within half a second."""


def instance_of(
    network: NetworkIntent, own: PeerIntent, neighbors: Iterable[PeerIntent]
) -> bgp_pb2.BgpInstance:
    """BGP of one node on an iBGP network. `neighbors` are the peers that it has a session with.

    Nobody is passive: who helps a neighbour through its restart waits for it to connect, and if that
    one waits too, there is no session until the restart time is over (two minutes).
    """
    reflects = own.role is Role.HUB
    return bgp_pb2.BgpInstance(
        id=f"bgp.{network.id}",
        network_id=network.id,
        as_number=network.as_number,
        router_id=own.routing.router_id,
        route_reflector=reflects,
        cluster_id=CLUSTER_ID if reflects else "",
        neighbors=[
            bgp_pb2.BgpNeighbor(
                peer_id=other.id,
                route_reflector_client=reflects and _is_client(network, other),
                bfd_interval_ms=BFD_INTERVAL_MS,
            )
            # In an order that does not change with the hub in use.
            for other in sorted(neighbors, key=lambda peer: peer.id)
        ],
        advertisements=_advertisements(own),
    )


def neighbors_of(network: NetworkIntent, own: PeerIntent) -> Iterator[PeerIntent]:
    """The peers that a node of an iBGP network has a BGP session with, in the order of the network."""
    if network.routing_mode is not RoutingMode.IBGP:
        return
    for other in network.peers:
        if other.id != own.id and connected(network.topology, own, other):
            yield other


def carried_by_hubs(
    network: NetworkIntent, lans: Iterable[tuple[PeerIntent, str]], own: PeerIntent
) -> tuple[str, ...]:
    """All that a hub may carry for another node of an iBGP network: everything but that node's own
    LANs. `lans` are all of the network, with who has them."""
    whole = (network.prefix, network.overlay_ipv4_prefix, network.pod_subnet_prefix)
    return (
        *(prefix for prefix in whole if prefix),
        *(lan for holder, lan in lans if holder.id != own.id),
    )


def _is_client(network: NetworkIntent, other: PeerIntent) -> bool:
    if other.role is Role.HUB:
        return False
    return network.topology is Topology.HUB_SPOKE or not other.endpoint


def _advertisements(own: PeerIntent) -> Iterator[bgp_pb2.SubnetAdvertisement]:
    yield bgp_pb2.SubnetAdvertisement(prefix=f"{own.host_address}/128")
    if own.host_ipv4:
        yield bgp_pb2.SubnetAdvertisement(prefix=f"{own.host_ipv4}/32")
    descriptions = dict(own.routing.lan_descriptions)
    for lan in own.lan_subnets:
        yield bgp_pb2.SubnetAdvertisement(prefix=lan, description=descriptions.get(lan, ""))

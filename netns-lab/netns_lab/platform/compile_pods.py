"""From the k3s nodes of a network to what each node gets of them. Pure.

A k3s node is told its bootstrap. Of everyone's pods it is told as little as it takes: flannel makes the
routes on k3s nodes itself, so what counts is which WireGuard peer may carry what. A spoke reaches the
prefix of all pods by the hubs, in the network's own order, as one path; pods of a node that it has a
session with are carried by that node itself, and so hubs know each node's pods. That is how they reach
each other through a hub that is no k3s node, and why nobody can take over the pods of another: a peer
may carry the subnet that it reported, inside of the network's prefix, and no other.

On an iBGP network there are no paths: a node announces its own pods, and BGP chooses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from netns_lab.platform.compile_virtual_ip import connected
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role, RoutingMode
from netns_lab.platform.path_messages import path_message
from netns_lab.platform.pod_intent import K3sRole
from netns_lab.platform.revisions import Resource
from powernode.sdwan.v1 import bgp_pb2, flannel_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

_ROLES: Final = {
    K3sRole.SERVER: flannel_pb2.K3S_ROLE_SERVER,
    K3sRole.AGENT: flannel_pb2.K3S_ROLE_AGENT,
}
HOST_GW: Final = "host-gw"


def pod_resources(network: NetworkIntent, own: PeerIntent) -> Iterator[Resource]:
    """Bootstrap and paths of one node."""
    if not network.pod_subnet_prefix:
        return
    for node in network.pods:
        if node.peer_id == own.id:
            yield flannel_pb2.FlannelBootstrap(
                id=f"k3s.{node.cluster_id}",
                network_id=network.id,
                role=_ROLES[node.role],
                flannel_iface=f"wg-sdwan-{network.handle}",
                flannel_backend=HOST_GW,
                cluster_cidr=network.pod_subnet_prefix,
            )
    if network.routing_mode is RoutingMode.STATIC:
        yield from _paths(network, own)


def pods_permitted(network: NetworkIntent, own: PeerIntent, other: PeerIntent) -> tuple[str, ...]:
    """What `other` may carry of pods for `own`. On an iBGP network hubs may carry all of them already
    (`compile_routing`)."""
    if not network.pod_subnet_prefix:
        return ()
    if other.role is Role.HUB and own.role is Role.SPOKE:
        return (network.pod_subnet_prefix,) if network.routing_mode is RoutingMode.STATIC else ()
    return tuple(node.subnet for node in network.pods if node.peer_id == other.id and node.subnet)


def pod_announcements(
    network: NetworkIntent, own: PeerIntent
) -> Iterator[bgp_pb2.SubnetAdvertisement]:
    """What a node of an iBGP network announces of its pods."""
    for node in network.pods if network.pod_subnet_prefix else ():
        if node.peer_id == own.id and node.subnet:
            yield bgp_pb2.SubnetAdvertisement(prefix=node.subnet, description="pods")


def _paths(network: NetworkIntent, own: PeerIntent) -> Iterator[pb.Path]:
    def path(prefix: str, candidates: tuple[str, ...]) -> pb.Path:
        return path_message(network.id, prefix, pb.PATH_PURPOSE_POD_SUBNET, candidates)

    if own.role is Role.SPOKE and network.hub_order and network.pods:
        yield path(network.pod_subnet_prefix, network.hub_order)
    subnets = {node.peer_id: node.subnet for node in network.pods if node.subnet}
    for other in network.peers if subnets else ():
        has_pods = other.id in subnets and other.id != own.id
        if has_pods and connected(network.topology, own, other):
            yield path(subnets[other.id], (other.id,))

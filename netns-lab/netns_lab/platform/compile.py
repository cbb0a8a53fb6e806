"""From the intent of one network to the resources of each node on it. Pure.

Spokes know the hubs and reach everything else through the first of them; hubs know everyone. A prefix
has its candidates in the network's own hub order, the same on every node, because WireGuard checks
sources too: two ends that choose different hubs drop each other's packets. A peer's host address is
always carried by the peer itself, so nothing is compiled for it, and a node's own LAN never appears
among what its hubs may carry: that would send LAN traffic back to the hub.

The firewall and the port mappings come from `compile_filter`, BGP from `compile_routing`, its policies
from `compile_policies`; here they are laid on the nodes.

Resources carry no version here; `revisions` gives them one when they are found to have changed.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from netns_lab.platform.allocation import stand_in_address
from netns_lab.platform.compile_devices import (
    Devices,
    changed_devices,
    homes_of,
    share_devices,
)
from netns_lab.platform.compile_federation import (
    federated_announcements,
    federated_prefixes,
    federation_resources,
    without_clashes,
)
from netns_lab.platform.compile_filter import (
    Filters,
    compile_filters,
    difference,
    policy_message,
)
from netns_lab.platform.compile_pods import pod_announcements, pod_resources, pods_permitted
from netns_lab.platform.compile_policies import change_policies, compile_policies
from netns_lab.platform.compile_routing import carried_by_hubs, instance_of
from netns_lab.platform.compile_virtual_ip import (
    VirtualIps,
    changed_virtual_ips,
    share_virtual_ips,
)
from netns_lab.platform.filter_intent import NO_FILTER
from netns_lab.platform.intent import (
    KeySource,
    NetworkIntent,
    PeerIntent,
    Role,
    RoutingMode,
    Topology,
)
from netns_lab.platform.path_messages import path_message
from netns_lab.platform.revisions import Key, Resource, Resources, key_of
from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1.agent_service_pb2 import RESOURCE_KIND_NETWORK, RESOURCE_KIND_PEER

KEEPALIVE_SECONDS: Final = 25
"""Shorter than the UDP timeout of any NAT worth supporting (RFC 4787 asks for two minutes; many give
thirty seconds)."""

_NOTHING: Final[Mapping[Key, Resource]] = {}
_ROLES: Final = {Role.HUB: pb.PEER_ROLE_HUB, Role.SPOKE: pb.PEER_ROLE_SPOKE}
_KEY_SOURCES: Final = {
    KeySource.PLATFORM: pb.KEY_SOURCE_PLATFORM,
    KeySource.NODE: pb.KEY_SOURCE_NODE,
}
_ROUTING_MODES: Final = {
    RoutingMode.STATIC: pb.ROUTING_MODE_STATIC,
    RoutingMode.IBGP: pb.ROUTING_MODE_IBGP,
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """A network and what each of its nodes gets, by node id."""

    network: NetworkIntent
    nodes: Mapping[str, Resources]
    filters: Filters
    policies: Resources


@dataclass(frozen=True, slots=True)
class _Shared:
    """What is the same for all nodes, worked out once. `trials`: by peer id, both ways."""

    network: NetworkIntent
    peers: Mapping[str, PeerIntent]
    hubs: tuple[PeerIntent, ...]
    lans: tuple[tuple[PeerIntent, str], ...]
    overlay: tuple[str, ...]
    virtual_ips: VirtualIps
    devices: Devices
    trials: Mapping[str, tuple[str, ...]]
    federated: tuple[str, ...]


def compile_network(network: NetworkIntent, before: Compiled | None = None) -> Compiled:
    """Resources of each node of the network.

    `before` is any earlier result for the same network: what cannot have changed since is taken from
    it, as the same objects, and the result is equal to the one without it. One new spoke among
    thousands then costs its own resources and one peer on each hub, one changed firewall rule that
    rule on each node.
    """
    shared = _share(network)
    earlier = None if before is None else _share(before.network)
    filters = compile_filters(network, None if before is None else (before.network, before.filters))
    policies = (
        compile_policies(network.policies)
        if before is None
        else compile_policies(network.policies, (before.network.policies, before.policies))
    )
    if before is None or earlier is None or not _same_frame(earlier, shared):
        return Compiled(
            network,
            {
                peer.node_id: _compile_node(shared, peer) | filters.of(peer.node_id) | policies
                for peer in network.peers
            },
            filters,
            policies,
        )
    changed = {
        id_
        for id_ in shared.peers.keys() | earlier.peers.keys()
        if ((now := shared.peers.get(id_)) is not (was := earlier.peers.get(id_)) and now != was)
        or shared.virtual_ips.permitted.get(id_) != earlier.virtual_ips.permitted.get(id_)
    }
    devices = changed_devices(earlier.devices, shared.devices)
    affected = set(changed)
    if devices:
        affected.update(network.hub_order)
    for side in (earlier, shared):
        for peer in (side.peers[id_] for id_ in changed if id_ in side.peers):
            affected.update(other.id for other in _neighbours(side, peer))
            affected.update(side.trials.get(peer.id, ()))
    # Of a hub that is home to a changed device, other hubs are told what more it may carry.
    homes = homes_of(earlier.devices, devices) | homes_of(shared.devices, devices)
    stale = changed | devices | homes
    nodes = dict(before.nodes)
    for id_ in changed & earlier.peers.keys():
        del nodes[earlier.peers[id_].node_id]
    for own in (shared.peers[id_] for id_ in affected if id_ in shared.peers):
        reusable = {} if own.id in changed else before.nodes[own.node_id]
        resources = _compile_node(shared, own, reusable, stale)
        nodes[own.node_id] = resources | filters.of(own.node_id) | policies
    untouched = [peer for peer in network.peers if peer.id not in affected]
    _change_filters(nodes, untouched, before, network, filters)
    _change_virtual_ips(nodes, untouched, earlier.virtual_ips, shared.virtual_ips)
    _change_devices(nodes, untouched, earlier.devices, shared.devices, devices)
    change_policies(nodes, untouched, before.policies, policies)
    return Compiled(network, nodes, filters, policies)


def _share(network: NetworkIntent) -> _Shared:
    network = without_clashes(network)
    peers = {peer.id: peer for peer in network.peers}
    trials: dict[str, tuple[str, ...]] = {}
    for candidate in network.peers:
        for witness in candidate.witnesses:
            # Its witness may have been detached.
            if witness in peers:
                trials[candidate.id] = (*trials.get(candidate.id, ()), witness)
                trials[witness] = (*trials.get(witness, ()), candidate.id)
    return _Shared(
        network=network,
        peers=peers,
        hubs=tuple(peers[hub] for hub in network.hub_order),
        lans=tuple((peer, lan) for peer in network.peers for lan in peer.lan_subnets),
        overlay=tuple(prefix for prefix in (network.prefix, network.overlay_ipv4_prefix) if prefix),
        virtual_ips=share_virtual_ips(network, peers),
        devices=share_devices(network),
        trials=trials,
        federated=federated_prefixes(network),
    )


def _same_frame(one: _Shared, two: _Shared) -> bool:
    """Whether what every node depends on is the same: then only changed peers make a difference."""

    def frame(side: _Shared) -> tuple[object, ...]:
        return (
            replace(
                side.network, peers=(), filter=NO_FILTER, virtual_ips=(), policies=(), devices=()
            ),
            tuple((peer.id, lan) for peer, lan in side.lans),
        )

    return frame(one) == frame(two)


def _change_filters(
    nodes: dict[str, Resources],
    untouched: Iterable[PeerIntent],
    before: Compiled,
    network: NetworkIntent,
    filters: Filters,
) -> None:
    """Takes nodes that nothing else has changed for to the new filters; without a difference they stay
    the objects they are."""
    put, gone = difference(before.filters.common, filters.common)
    new_policy = before.network.filter.policy != network.filter.policy
    for own in untouched:
        own_put, own_gone = difference(
            before.filters.served.get(own.node_id, _NOTHING),
            filters.served.get(own.node_id, _NOTHING),
        )
        if not (put or gone or own_put or own_gone or new_policy):
            continue
        resources = {**nodes[own.node_id], **put, **own_put}
        for key in (*gone, *own_gone):
            del resources[key]
        if new_policy:
            resources[(RESOURCE_KIND_NETWORK, network.id)] = _network(network, own)
        nodes[own.node_id] = resources


def _change_virtual_ips(
    nodes: dict[str, Resources], untouched: Iterable[PeerIntent], was: VirtualIps, now: VirtualIps
) -> None:
    """As `_change_filters`, for the virtual IPs."""
    changed = changed_virtual_ips(was.network, now.network)
    if not changed:
        return
    for own in untouched:
        before, after = was.some(own, changed), now.some(own, changed)
        put, gone = difference(before, after)
        put = {key: resource for key, resource in put.items() if before.get(key) != resource}
        if not put and not gone:
            continue
        resources = {**nodes[own.node_id], **put}
        for key in gone:
            del resources[key]
        nodes[own.node_id] = resources


def _change_devices(
    nodes: dict[str, Resources],
    untouched: Iterable[PeerIntent],
    was: Devices,
    now: Devices,
    changed: frozenset[str],
) -> None:
    """As `_change_filters`, for the user devices; hubs are compiled anew."""
    for own in untouched if changed else ():
        before, after = was.some(own, changed), now.some(own, changed)
        if before != after:
            kept = {key: each for key, each in nodes[own.node_id].items() if key not in before}
            nodes[own.node_id] = kept | after


def _compile_node(
    shared: _Shared,
    own: PeerIntent,
    reusable: Mapping[Key, Resource] = _NOTHING,
    changed: Container[str] = (),
) -> Resources:
    """`reusable` are the node's resources from before, good for all peers that are not `changed`."""
    neighbours = {peer.id: peer for peer in _neighbours(shared, own)}
    resources: Resources = {}

    def add(resource: Resource) -> None:
        resources[key_of(resource)] = resource

    add(_network(shared.network, own))
    for other in neighbours.values():
        key = (RESOURCE_KIND_PEER, other.id)
        kept = None if other.id in changed else reusable.get(key)
        resources[key] = _peer(shared, own, other) if kept is None else kept
    for id_ in shared.trials.get(own.id, ()):
        add(_tried(shared, own, shared.peers[id_]))
    for path in _paths(shared, own, neighbours):
        add(path)
    for resource in shared.virtual_ips.of(own):
        add(resource)
    for resource in shared.devices.of(own, reusable, changed):
        add(resource)
    if shared.network.routing_mode is RoutingMode.IBGP:
        instance = instance_of(shared.network, own, neighbours.values())
        instance.advertisements.extend(federated_announcements(shared.network, own))
        instance.advertisements.extend(pod_announcements(shared.network, own))
        add(instance)
    for resource in pod_resources(shared.network, own):
        add(resource)
    for resource in federation_resources(shared.network, own, KEEPALIVE_SECONDS):
        add(resource)
    return resources


def _neighbours(shared: _Shared, own: PeerIntent) -> Iterator[PeerIntent]:
    """The peers that `own` has a WireGuard session with."""
    if own.role is Role.SPOKE and shared.network.topology is Topology.HUB_SPOKE:
        yield from shared.hubs
        return
    for other in shared.network.peers:
        if other.id == own.id:
            continue
        if Role.HUB in (own.role, other.role) or own.endpoint or other.endpoint:
            yield other


def _tried(shared: _Shared, own: PeerIntent, other: PeerIntent) -> pb.Peer:
    """The other end of a trial: a session for a handshake and for nothing else.

    Its address is nobody's, so that traffic between the two goes by the hubs until the trial is over.
    A witness shakes hands because of the keepalive. The id and the key are the peer's own: when the
    candidate becomes a hub the same session goes on.
    """
    calls = own.id in other.witnesses
    return pb.Peer(
        id=other.id,
        network_id=shared.network.id,
        name=other.name,
        kind=pb.PEER_KIND_NODE,
        role=_ROLES[other.role],
        public_key=other.keys.public,
        next_public_key=other.keys.next_public,
        host_address=stand_in_address(other.host_address),
        endpoint=other.tried_at if calls else "",
        persistent_keepalive_seconds=KEEPALIVE_SECONDS if calls else 0,
    )


def _network(network: NetworkIntent, own: PeerIntent) -> pb.Network:
    keys = own.keys
    from_node = keys.source is KeySource.NODE
    return pb.Network(
        id=network.id,
        name=network.name,
        handle=network.handle,
        prefix=network.prefix,
        overlay_ipv4_prefix=network.overlay_ipv4_prefix,
        routing_mode=_ROUTING_MODES[network.routing_mode],
        pod_subnet_prefix=network.pod_subnet_prefix,
        interface=pb.Interface(
            peer_id=own.id,
            address=own.host_address,
            overlay_ipv4=own.host_ipv4,
            role=_ROLES[own.role],
            listen_port=own.listen_port,
            mtu=0,
            key_source=_KEY_SOURCES[keys.source],
            private_key="" if from_node else keys.private,
            key_generation=keys.generation if from_node else 0,
            next_key_generation=keys.next_generation if from_node else 0,
            lan_subnets=own.lan_subnets,
        ),
        firewall_policy=policy_message(network.filter.policy),
    )


def _peer(shared: _Shared, own: PeerIntent, other: PeerIntent) -> pb.Peer:
    # A hub does not keep a spoke's NAT open; the spoke behind the NAT does.
    keeps_alive = bool(other.endpoint) and not (own.role is Role.HUB and other.role is Role.SPOKE)
    return pb.Peer(
        id=other.id,
        network_id=shared.network.id,
        name=other.name,
        kind=pb.PEER_KIND_NODE,
        role=_ROLES[other.role],
        public_key=other.keys.public,
        next_public_key=other.keys.next_public,
        host_address=other.host_address,
        host_ipv4=other.host_ipv4,
        endpoint=other.endpoint,
        persistent_keepalive_seconds=KEEPALIVE_SECONDS if keeps_alive else 0,
        permitted_prefixes=(
            *_permitted(shared, own, other),
            *pods_permitted(shared.network, own, other),
            *shared.devices.carried(own, other),
        ),
        publicly_reachable=other.publicly_reachable,
    )


def _permitted(shared: _Shared, own: PeerIntent, other: PeerIntent) -> tuple[str, ...]:
    """All that `other` may carry for `own`: for a spoke's hub everything but the spoke's own LANs.

    Where BGP chooses, a hub may carry everything for other hubs as well: a spoke that one of them has
    lost is reached by the other.
    """
    if shared.network.routing_mode is RoutingMode.IBGP and other.role is Role.HUB:
        return carried_by_hubs(shared.network, shared.lans, own) + shared.federated
    if own.role is Role.SPOKE and other.role is Role.HUB:
        lans = tuple(lan for holder, lan in shared.lans if holder.id != own.id)
        return shared.overlay + lans + shared.federated
    return other.lan_subnets + shared.virtual_ips.permitted.get(other.id, ())


def _paths(
    shared: _Shared, own: PeerIntent, neighbours: dict[str, PeerIntent]
) -> Iterator[pb.Path]:
    network = shared.network
    hubs = tuple(hub.id for hub in shared.hubs)
    if own.role is Role.SPOKE and hubs:
        for prefix in shared.overlay:
            yield path_message(network.id, prefix, pb.PATH_PURPOSE_OVERLAY, hubs)
    if network.routing_mode is RoutingMode.IBGP:
        # BGP chooses; the overlay is what it speaks over, and what is left when it is away.
        return
    for holder, lan in shared.lans:
        if holder.id == own.id:
            continue
        candidates = (holder.id,) if holder.id in neighbours else hubs
        if candidates:
            yield path_message(network.id, lan, pb.PATH_PURPOSE_LAN, candidates)

"""Rows turned into intent. The only place that knows how a peer's role and endpoint come to be.

The operator's word wins over what was detected; what was not detected yet counts as not reachable, so
that a new node starts as a spoke. A node whose address says that it could be a hub becomes one when the
evidence allows it (`trials`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from netns_lab.platform.device_intent import DeviceIntent
from netns_lab.platform.federation_intent import FederationIntent
from netns_lab.platform.filter_intent import NO_FILTER, FilterIntent
from netns_lab.platform.intent import (
    Keys,
    KeySource,
    NetworkIntent,
    PeerIntent,
    Role,
    RoutingMode,
    Standing,
    Topology,
)
from netns_lab.platform.pod_intent import PodNode
from netns_lab.platform.policy_intent import RoutePolicyIntent
from netns_lab.platform.reachability import join_endpoint, split_endpoint
from netns_lab.platform.routing_intent import DEFAULT_AS_NUMBER, PeerRouting, router_id_of
from netns_lab.platform.tables import Network, Peer
from netns_lab.platform.virtual_ip_intent import VirtualIpIntent


def load_networks(session: Session) -> Sequence[Network]:
    """All networks with their peers and nodes in a few queries, however many there are."""
    return session.scalars(
        select(Network).options(selectinload(Network.peers).joinedload(Peer.node))
    ).all()


def network_intent(
    network: Network,
    peers: tuple[PeerIntent, ...],
    filter_: FilterIntent = NO_FILTER,
    virtual_ips: tuple[VirtualIpIntent, ...] = (),
    policies: tuple[RoutePolicyIntent, ...] = (),
    federations: tuple[FederationIntent, ...] = (),
    devices: tuple[DeviceIntent, ...] = (),
    pods: tuple[PodNode, ...] = (),
) -> NetworkIntent:
    """The intent of a network. `peers` are all of its peers in their order."""
    return NetworkIntent(
        id=network.id,
        name=network.name,
        handle=network.handle,
        prefix=network.prefix,
        overlay_ipv4_prefix=network.overlay_ipv4_prefix,
        pod_subnet_prefix=network.pod_subnet_prefix,
        topology=Topology(network.topology),
        peers=peers,
        hub_order=hub_order(network, peers),
        filter=filter_,
        routing_mode=RoutingMode(network.routing_mode),
        as_number=network.account.as_number or DEFAULT_AS_NUMBER,
        virtual_ips=virtual_ips,
        policies=policies,
        federations=federations,
        devices=devices,
        pods=pods,
    )


def hub_order(network: Network, peers: Iterable[PeerIntent]) -> tuple[str, ...]:
    """The ids of a network's hubs, the one in use first."""
    hubs = [peer.id for peer in peers if peer.role is Role.HUB]
    if network.current_hub_id in hubs:
        hubs.remove(network.current_hub_id)
        hubs.insert(0, network.current_hub_id)
    return tuple(hubs)


def peer_intent(peer: Peer) -> PeerIntent:
    """The intent of one peer."""
    reachable = is_public(peer)
    return PeerIntent(
        id=peer.id,
        node_id=peer.node_id,
        name=peer.node.name,
        role=Role.HUB if reachable else Role.SPOKE,
        host_address=peer.host_address,
        host_ipv4=peer.host_ipv4,
        listen_port=peer.listen_port,
        keys=_keys(peer),
        endpoint=endpoint_of(peer),
        publicly_reachable=reachable,
        lan_subnets=tuple(lan.prefix for lan in peer.lan_subnets),
        standing=standing_of(peer),
        candidate_since=peer.detected_at,
        tried_at=peer.detected_endpoint if peer.witnesses else "",
        witnesses=tuple(peer.witnesses.split()),
        can_witness=not endpoint_of(peer) and False in (peer.wanted_public, peer.detected_public),
        routing=PeerRouting(
            router_id=router_id_of(peer.node.router_number),
            lan_descriptions=tuple((lan.prefix, lan.description) for lan in peer.lan_subnets),
        ),
    )


def standing_of(peer: Peer) -> Standing | None:
    """What evidence made of a candidate; None: it is none, or the operator has spoken."""
    if peer.wanted_public is not None or not peer.detected_public:
        return None
    return Standing(peer.standing)


def is_public(peer: Peer) -> bool:
    """Whether the peer counts as publicly reachable, and so as a hub."""
    if peer.wanted_public is not None:
        return peer.wanted_public
    return standing_of(peer) in (Standing.PRESUMED, Standing.CONFIRMED)


def decided_public(peer: Peer) -> bool | None:
    """As `is_public`; None while nobody has said or found out, and it is a spoke for want of anything
    better."""
    undecided = peer.detected_public is None or standing_of(peer) is Standing.UNTRIED
    return None if peer.wanted_public is None and undecided else is_public(peer)


def why_public(peer: Peer) -> str:
    """The sentence that supports `is_public`."""
    if peer.wanted_public is not None:
        return "the operator said so"
    if peer.detected_public is None:
        return "not detected yet: its agent has not reported where it is"
    if not peer.detected_public:
        return "it comes from an address that none of its interfaces has"
    if standing_of(peer) is Standing.UNTRIED:
        tried = len(peer.witnesses.split())
        return f"not decided: on trial, witnesses that try to reach it unasked: {tried}"
    return peer.standing_because


def endpoint_of(peer: Peer) -> str:
    """Where others reach the peer; empty: nowhere that is known."""
    if peer.wanted_endpoint:
        split = split_endpoint(peer.wanted_endpoint)
        if split is not None:
            return join_endpoint(split[0], split[1] or peer.listen_port)
    return peer.detected_endpoint if is_public(peer) else ""


def public_key_of(peer: Peer, generation: int) -> str:
    """The public key of a generation; empty: there is none, or the node has not reported it."""
    return next((key.public_key for key in peer.keys if key.generation == generation), "")


def _keys(peer: Peer) -> Keys:
    private = next(
        (key.private_key for key in peer.keys if key.generation == peer.node_generation), ""
    )
    return Keys(
        source=KeySource(peer.key_source),
        public=public_key_of(peer, peer.active_generation),
        next_public=public_key_of(peer, peer.next_generation),
        private=private,
        generation=peer.node_generation,
        next_generation=(
            peer.next_generation if peer.next_generation > peer.node_generation else 0
        ),
    )

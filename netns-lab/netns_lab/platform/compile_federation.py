"""From the federations of a network to what each of its nodes gets of them. Pure.

The hubs of the two networks are WireGuard peers of each other, each with each. Of the prefixes that
the other side advertises, a hub gives all to the remote hub that is in use there, and the other one
does the same with ours. Everything that spokes exchange therefore crosses between the two hubs in use,
in both directions, which is what WireGuard's source check asks for; what a hub says for itself goes
directly, because its own address is always its own.

Spokes reach the other side through their own hubs: by paths on static networks, and on iBGP networks
by what the hub in use announces. It alone does: BGP has an order of reflectors of its own, and
another one would send by a hub from which the far side takes nothing.

What a node may send to is checked at the far end as well: a hub is told what its own side advertises.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from netns_lab.platform.federation_intent import FederationIntent, RemoteHub
from netns_lab.platform.intent import NetworkIntent, PeerIntent, Role, RoutingMode
from netns_lab.platform.path_messages import path_message
from netns_lab.platform.revisions import Resource
from powernode.sdwan.v1 import bgp_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

_LONGEST_NAME: Final = 63


def federation_resources(
    network: NetworkIntent, own: PeerIntent, keepalive_seconds: int
) -> Iterator[Resource]:
    """What one node gets of all federations of its network."""
    for federation in network.federations:
        if own.role is Role.HUB:
            for hub in federation.hubs:
                yield _peer(network, federation, hub, keepalive_seconds)
            yield from _hub_paths(network, federation)
        elif network.routing_mode is RoutingMode.STATIC and network.hub_order:
            for prefix in federation.prefixes:
                yield path_message(
                    network.id, prefix, pb.PATH_PURPOSE_FEDERATION, network.hub_order
                )


def without_clashes(network: NetworkIntent) -> NetworkIntent:
    """The network without remote hubs whose key somebody else has, of us or of an earlier federation.

    A node may report whatever key it likes, also one of ours that it knows as a peer, and WireGuard has
    one peer for a key: a state with both is refused as a whole, and then nothing arrives any more, no
    revocation either.
    """
    if not network.federations:
        return network
    taken = {key for peer in network.peers for key in (peer.keys.public, peer.keys.next_public)}
    taken.discard("")
    federations: list[FederationIntent] = []
    for federation in network.federations:
        hubs: list[RemoteHub] = []
        for hub in federation.hubs:
            keys = {hub.public_key, hub.next_public_key} - {""}
            if not keys & taken:
                hubs.append(hub)
                taken |= keys
        federations.append(replace(federation, hubs=tuple(hubs)))
    return replace(network, federations=tuple(federations))


def federated_prefixes(network: NetworkIntent) -> tuple[str, ...]:
    """All that lies beyond the hubs of a network: hubs may carry it for everyone else."""
    return tuple(prefix for federation in network.federations for prefix in federation.prefixes)


def federated_announcements(
    network: NetworkIntent, own: PeerIntent
) -> Iterator[bgp_pb2.SubnetAdvertisement]:
    """What a node of an iBGP network announces besides its own: FRR does while there is a route."""
    if own.role is not Role.HUB or network.hub_order[:1] != (own.id,):
        return
    for federation in network.federations:
        for prefix in federation.prefixes:
            yield bgp_pb2.SubnetAdvertisement(
                prefix=prefix, description=f"federation {federation.id}"
            )


def _peer(
    network: NetworkIntent, federation: FederationIntent, hub: RemoteHub, keepalive_seconds: int
) -> pb.Peer:
    return pb.Peer(
        id=hub.id,
        network_id=network.id,
        name=f"{federation.remote_network_name}/{hub.name}"[:_LONGEST_NAME],
        kind=pb.PEER_KIND_FEDERATION,
        role=pb.PEER_ROLE_HUB,
        public_key=hub.public_key,
        next_public_key=hub.next_public_key,
        host_address=hub.host_address,
        host_ipv4=hub.host_ipv4,
        endpoint=hub.endpoint,
        persistent_keepalive_seconds=keepalive_seconds if hub.endpoint else 0,
        permitted_prefixes=federation.prefixes,
        publicly_reachable=True,
        remote_account_id=federation.remote_account_id,
        remote_network_id=federation.remote_network_id,
        advertised_prefixes=federation.advertised,
    )


def _hub_paths(network: NetworkIntent, federation: FederationIntent) -> Iterator[pb.Path]:
    candidates = tuple(hub.id for hub in federation.hubs)
    own = {f"{hub.host_address}/128" for hub in federation.hubs}
    own |= {f"{hub.host_ipv4}/32" for hub in federation.hubs if hub.host_ipv4}
    for prefix in federation.prefixes:
        # A hub's own address is carried by the hub itself, whatever paths say.
        if candidates and prefix not in own:
            yield path_message(network.id, prefix, pb.PATH_PURPOSE_FEDERATION, candidates)

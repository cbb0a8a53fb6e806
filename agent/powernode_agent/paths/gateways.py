"""What the gateways of other accounts' networks add to the routes of a node. Pure.

A federation peer speaks no BGP with us, so on an iBGP network too what it carries is this node's own
route: there is no route of BGP's that it could stand in the way of, and FRR announces the prefix to
everyone else because the route is there. Its own address lies outside of the overlay, where no other
route leads: probes go there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from powernode_agent.model.carrying import PathChoice
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Peer, PeerKind
from powernode_agent.model.values import PeerId, Prefix
from powernode_agent.paths.permits import Underlay, covers, obstacle


def gateways_of(network: NetworkState) -> dict[PeerId, Peer]:
    """The federation peers of a network that WireGuard has."""
    return {
        peer_id: peer
        for peer_id, peer in network.peers.items()
        if peer.kind is PeerKind.FEDERATION and peer.public_key is not None
    }


def carried_by_gateways(
    gateways: Collection[PeerId], choices: Iterable[PathChoice]
) -> tuple[PathChoice, ...]:
    """The paths that lead to a gateway itself, and not to another node which knows one."""
    return tuple(choice for choice in choices if choice.peer_id in gateways) if gateways else ()


def gateway_routes(
    network: NetworkState,
    gateways: Mapping[PeerId, Peer],
    routes: Collection[Prefix],
    underlay: Underlay,
) -> tuple[frozenset[Prefix], tuple[str, ...]]:
    """Routes to the gateways' own addresses where none of `routes` leads there, and what is refused."""
    missing: set[Prefix] = set()
    refused: list[str] = []
    for peer in gateways.values():
        for host in peer.host_prefixes:
            if any(covers(route, host) for route in routes):
                continue
            why = obstacle(network, host, underlay)
            if why:
                refused.append(f"the address {host} of {peer} is not routed: {why}")
            else:
                missing.add(host)
    return frozenset(missing), tuple(refused)

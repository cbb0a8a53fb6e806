"""iBGP of one network on this host, and how its neighbours are told apart. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from powernode_agent.model.bgp import BgpInstance, BgpNeighbor
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.network import Network, Peer, PeerRole
from powernode_agent.model.route_policy import RoutePolicy
from powernode_agent.model.values import PeerId
from powernode_agent.routing.claims import Claims, claims_of
from powernode_agent.routing.names import mark_of, of_network

FAMILIES: Final = (4, 6)
"""Both are always on: turning one on later resets the session."""

SECOND_REFLECTOR: Final = 8
"""Added to the MED of what comes over two reflectors: longer than any way over one. Small beside what
preferences of virtual IPs differ by (`model.virtual_ip.address_metric`)."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """iBGP of one network, and what it must know of the others."""

    network: Network
    bgp: BgpInstance
    state: NetworkState
    policies: tuple[RoutePolicy, ...]
    claims: Claims

    @property
    def mark(self) -> str:
        return mark_of(self.network.id)

    @property
    def neighbors(self) -> list[tuple[BgpNeighbor, Peer]]:
        """Its neighbours, by address."""
        found = [(neighbor, self.state.peers[neighbor.peer_id]) for neighbor in self.bgp.neighbors]
        return sorted(found, key=lambda pair: pair[1].host_address)

    @property
    def groups(self) -> dict[str, BgpNeighbor]:
        """The groups of neighbours that are treated alike, each with one of them."""
        found = {self.group(neighbor): neighbor for neighbor in self.bgp.neighbors}
        return {name: found[name] for name in sorted(found)}

    def group(self, neighbor: BgpNeighbor) -> str:
        """The peer group of a neighbour."""
        kind = "client" if neighbor.route_reflector_client else "peer"
        return of_network(self.network, kind, "passive" if neighbor.passive else "active")


def speakers_of(state: DesiredState) -> list[Speaker]:
    """One for each network with iBGP, in an order that does not depend on the message's."""
    claims = claims_of(state.networks)
    return [
        Speaker(
            network=network_state.network,
            bgp=network_state.bgp,
            state=network_state,
            policies=(*state.account_policies.values(), *network_state.route_policies.values()),
            claims=claims[id_],
        )
        for id_, network_state in sorted(state.networks.items())
        if network_state.bgp is not None
    ]


def ranks_of(speaker: Speaker) -> dict[PeerId, int]:
    """What is added to the MED of routes, by neighbour.

    WireGuard takes packets from the peer only that it would send the answer to, so both ends of a
    conversation have to choose the same reflector. Of otherwise equal ways BGP prefers the one whose
    *origin* has the lower router id, and two holders of an anycast address have different ones: then
    the ends would differ. Hence an order of reflectors, the same on every node, that counts before.
    """
    hubs = sorted(
        (peer for neighbor, peer in speaker.neighbors if peer.role is PeerRole.HUB),
        key=lambda peer: peer.host_address,
    )
    if speaker.bgp.route_reflector:
        return {peer.id: SECOND_REFLECTOR for peer in hubs}
    return {peer.id: min(place, SECOND_REFLECTOR - 1) for place, peer in enumerate(hubs)}

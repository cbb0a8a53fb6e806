"""Which peers are probed, and how closely: pure, from the desired state alone.

Every probe costs both ends a packet, and a hub hears the probes of all its spokes, so only the peers
whose death moves a prefix are watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.network import PeerKind, PeerRole
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.paths.liveness import Pace

TargetKey = tuple[NetworkId, PeerId]


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One peer to probe: from our own overlay address, out of our own link, to its overlay address."""

    link: str
    source: IPv6Address
    destination: IPv6Address
    pace: Pace


def probe_targets(state: DesiredState) -> dict[TargetKey, ProbeTarget]:
    """The peers of all networks that are probed.

    Watched are the candidates of paths that have an alternative, and the other hubs of a hub: the
    platform moves a whole network on what the nodes report, hubs are few, and the hubs' own view of
    each other tells a dead hub from a spoke's bad line. Everyone else is relaxed.

    Not probed, and therefore "not measured": peers without a key, which WireGuard does not have yet;
    and user devices, because phones sleep, do not answer for good reasons, and pay with their battery.
    """
    return {
        (network_id, peer_id): target
        for network_id, network_state in state.networks.items()
        for peer_id, target in _of_network(network_state).items()
    }


def _of_network(state: NetworkState) -> dict[PeerId, ProbeTarget]:
    network = state.network
    own = network.interface
    choosable = {
        candidate
        for path in state.paths.values()
        if len(path.candidates) > 1
        for candidate in path.candidates
    }
    targets: dict[PeerId, ProbeTarget] = {}
    for peer in state.peers.values():
        if peer.public_key is None or peer.kind is PeerKind.USER_DEVICE:
            continue
        both_hubs = own.role is PeerRole.HUB and peer.role is PeerRole.HUB
        pace = Pace.WATCHED if both_hubs or peer.id in choosable else Pace.RELAXED
        targets[peer.id] = ProbeTarget(network.link, own.address, peer.host_address, pace)
    return targets

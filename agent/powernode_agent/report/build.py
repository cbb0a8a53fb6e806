"""The whole status of the node, from what the rooms observed. Pure.

One tree feeds `status`, the reports to the platform and the metrics, so the three cannot disagree.
What was not observed is not in the input, and comes out as None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.firewall import ACCEPT_ALL
from powernode_agent.model.keys import public_key_of
from powernode_agent.model.network import Network, PlatformKey
from powernode_agent.model.port_mapping import PortMappingId
from powernode_agent.model.status import (
    AgentStatus,
    BgpSession,
    EndpointCandidate,
    FirewallStatus,
    FlannelReading,
    LinkObservation,
    LivenessReading,
    NetworkStatus,
    NodeStatus,
    PathStatus,
    PeerStatus,
    PortMappingStatus,
    RejectedRevision,
    SubsystemOutcome,
    VirtualIpReading,
    WireguardDevice,
    WireguardPeer,
)
from powernode_agent.model.values import NetworkId, PathId, PeerId, PublicKey, Revision
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.report.peers import measure_peer
from powernode_agent.report.routing import sessions_of, virtual_ips_of


@dataclass(frozen=True, slots=True)
class Revisions:
    """How far desired state has come; the words of `NodeStatus`."""

    applied: Revision | None = None
    applied_at: float | None = None
    applied_in: float | None = None
    rejected: RejectedRevision | None = None


@dataclass(frozen=True, slots=True)
class Observations:
    """What the rooms found, at one moment. What is None or not in a mapping was not measured."""

    devices: Mapping[NetworkId, WireguardDevice | None] = field(default_factory=dict)
    missing_devices: frozenset[NetworkId] = frozenset()
    """Networks whose device was looked for and is not there: their peers are pending, which is
    something else than not measured."""
    links: Mapping[NetworkId, LinkObservation | None] = field(default_factory=dict)
    liveness: Mapping[tuple[NetworkId, PeerId], LivenessReading] = field(default_factory=dict)
    carrying: Mapping[NetworkId, Carrying] = field(default_factory=dict)
    node_keys: Mapping[NetworkId, tuple[tuple[int, PublicKey], ...]] = field(default_factory=dict)
    liveness_epoch: float = 0.0
    """What to add to a reading's `since` to get seconds since the epoch: the prober runs by a clock
    that does not jump, the status by the one that people read."""
    firewalls: Mapping[NetworkId, FirewallStatus] = field(default_factory=dict)
    port_mappings: Mapping[PortMappingId, PortMappingStatus] = field(default_factory=dict)
    """Without their two sides in words: those come from desired state."""
    virtual_ips: Mapping[VirtualIpId, VirtualIpReading] = field(default_factory=dict)
    """Without their names: those come from desired state."""
    bgp_sessions: Mapping[tuple[NetworkId, PeerId], BgpSession] = field(default_factory=dict)
    flannel: FlannelReading | None = None


def build_status(
    at: float,
    agent: AgentStatus,
    node_id: str,
    node_name: str,
    platform: str,
    state: DesiredState | None,
    revisions: Revisions,
    seen: Observations,
    outcomes: tuple[SubsystemOutcome, ...] = (),
    endpoint_candidates: tuple[EndpointCandidate, ...] = (),
    platform_away_since: float | None = None,
) -> NodeStatus:
    """The status at `at`, in seconds since the epoch.

    `state` None: no desired state was accepted yet; `node_id` and `node_name` then come from the
    node's identity. `platform` says in words how the platform is reached.
    """
    networks = {} if state is None else state.networks
    peers: dict[tuple[NetworkId, PeerId], PeerStatus] = {}
    paths: dict[PathId, PathStatus] = {}
    for network_id, network in networks.items():
        in_device = _peers_in_device(network_id, seen)
        for peer in network.peers.values():
            reading = _by_epoch(seen.liveness.get((network_id, peer.id)), seen.liveness_epoch)
            peers[network_id, peer.id] = measure_peer(peer, in_device, reading, at)
        carrying = seen.carrying.get(network_id)
        for choice in () if carrying is None else carrying.choices:
            paths[choice.path_id] = PathStatus(
                choice.path_id, network_id, choice.prefix, choice.peer_id, choice.reason
            )
    return NodeStatus(
        at=at,
        agent=agent,
        node_id=node_id if state is None else state.node.id,
        node_name=node_name if state is None else state.node.name,
        platform=platform,
        accepted_revision=None if state is None else state.revision,
        applied_revision=revisions.applied,
        applied_at=revisions.applied_at,
        applied_in=revisions.applied_in,
        rejected=revisions.rejected,
        networks={
            network_id: _network_status(network, seen) for network_id, network in networks.items()
        },
        peers=peers,
        paths=paths,
        outcomes=outcomes,
        endpoint_candidates=endpoint_candidates,
        firewalls={
            network_id: firewall
            for network_id, network in networks.items()
            if (firewall := _firewall_status(network, seen)) is not None
        },
        port_mappings={
            mapping_id: replace(
                seen.port_mappings.get(mapping_id, PortMappingStatus(mapping_id, network_id)),
                external=mapping.external,
                internal=mapping.internal,
            )
            for network_id, network in networks.items()
            for mapping_id, mapping in network.port_mappings.items()
        },
        virtual_ips=virtual_ips_of(networks, seen.virtual_ips, agent.started_at),
        bgp_sessions=sessions_of(networks, seen.bgp_sessions),
        flannel=seen.flannel,
        platform_away_since=platform_away_since,
    )


def _network_status(state: NetworkState, seen: Observations) -> NetworkStatus:
    network = state.network
    device = seen.devices.get(network.id)
    link = seen.links.get(network.id)
    return NetworkStatus(
        network_id=network.id,
        name=network.name,
        handle=network.handle,
        link=network.link,
        role=network.interface.role.value,
        routing_mode=network.routing_mode.value,
        up=None if link is None else link.up,
        mtu=None if link is None else link.mtu,
        listen_port=None if device is None else device.listen_port,
        backend=None if device is None else device.backend,
        public_key=None if device is None else device.public_key,
        node_keys=seen.node_keys.get(network.id, ()),
        wanted_public_key=_wanted_key(network, seen),
    )


def _wanted_key(network: Network, seen: Observations) -> PublicKey | None:
    key = network.interface.key
    if isinstance(key, PlatformKey):
        return public_key_of(key.private_key)
    return dict(seen.node_keys.get(network.id, ())).get(key.generation)


def _firewall_status(state: NetworkState, seen: Observations) -> FirewallStatus | None:
    """None: nothing to enforce, and nothing was found at work either."""
    network = state.network
    measured = seen.firewalls.get(network.id)
    if state.firewall_rules or network.firewall_policy != ACCEPT_ALL:
        return measured or FirewallStatus(network.id)
    return measured if measured is not None and measured.rules else None


def _peers_in_device(
    network_id: NetworkId, seen: Observations
) -> Mapping[PublicKey, WireguardPeer] | None:
    device = seen.devices.get(network_id)
    if device is not None:
        return device.peers
    return {} if network_id in seen.missing_devices else None


def _by_epoch(reading: LivenessReading | None, epoch: float) -> LivenessReading | None:
    if reading is None or epoch == 0.0:
        return reading
    return replace(reading, since=reading.since + epoch)

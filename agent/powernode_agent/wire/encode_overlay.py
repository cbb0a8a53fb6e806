"""The agent, its overlays and its own work, as messages of a report. Pure."""

from __future__ import annotations

from typing import Final

from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.status import (
    AgentStatus,
    Backend,
    EndpointCandidate,
    Liveness,
    NetworkStatus,
    PathStatus,
    PeerState,
    PeerStatus,
    RejectedRevision,
    SubsystemOutcome,
)
from powernode_agent.wire.encode_filter import RESULTS

_MAX_UINT32: Final = 2**32 - 1

_BACKENDS: Final = {
    None: pb.WIREGUARD_BACKEND_UNSPECIFIED,
    Backend.KERNEL: pb.WIREGUARD_BACKEND_KERNEL,
    Backend.USERSPACE: pb.WIREGUARD_BACKEND_USERSPACE,
}
_PEER_STATES: Final = {
    None: pb.PEER_STATE_UNSPECIFIED,
    PeerState.HANDSHAKE_PENDING: pb.PEER_STATE_HANDSHAKE_PENDING,
    PeerState.HANDSHAKING: pb.PEER_STATE_HANDSHAKING,
    PeerState.CONNECTED: pb.PEER_STATE_CONNECTED,
    PeerState.SILENT: pb.PEER_STATE_SILENT,
}
_LIVENESS: Final = {
    Liveness.ALIVE: pb.LIVENESS_ALIVE,
    Liveness.DEAD: pb.LIVENESS_DEAD,
}


def encode_agent(agent: AgentStatus) -> pb.AgentStatus:
    """The agent itself."""
    return pb.AgentStatus(
        version=agent.version,
        kernel_release=agent.kernel_release,
        started_at_ms=milliseconds(agent.started_at),
        drift_repaired=agent.drift_repaired,
    )


def encode_rejected(rejected: RejectedRevision) -> pb.RejectedRevision:
    """A revision that was refused, with the reasons."""
    return pb.RejectedRevision(
        revision=rejected.revision,
        reasons=[
            pb.Rejection(
                resource=reason.resource,
                field=reason.field,
                value=reason.value,
                expected=reason.expected,
            )
            for reason in rejected.reasons
        ],
        rejected_at_ms=milliseconds(rejected.rejected_at),
    )


def encode_network(network: NetworkStatus) -> pb.NetworkStatus:
    """One network."""
    return pb.NetworkStatus(
        network_id=network.network_id,
        link=network.link,
        up=network.up,
        mtu=network.mtu,
        listen_port=network.listen_port,
        backend=_BACKENDS[network.backend],
        public_key=network.public_key or "",
        node_keys=[
            pb.NodeKey(generation=generation, public_key=key)
            for generation, key in network.node_keys
        ],
    )


def encode_peer(peer: PeerStatus) -> pb.PeerStatus:
    """One peer."""
    message = pb.PeerStatus(
        peer_id=peer.peer_id,
        network_id=peer.network_id,
        state=_PEER_STATES[peer.state],
        endpoint="" if peer.endpoint is None else str(peer.endpoint),
        rx_bytes=peer.rx_bytes,
        tx_bytes=peer.tx_bytes,
        public_key=peer.public_key or "",
        next_key_ready=peer.next_key_ready,
    )
    if peer.last_handshake is not None:
        message.last_handshake_at_ms = milliseconds(peer.last_handshake)
    if peer.liveness is not None:
        message.liveness = _LIVENESS[peer.liveness.state]
        if peer.liveness.rtt is not None:
            message.rtt_us = min(round(peer.liveness.rtt * 1_000_000), _MAX_UINT32)
    return message


def encode_path(path: PathStatus) -> pb.PathStatus:
    """One path."""
    return pb.PathStatus(
        path_id=path.path_id,
        network_id=path.network_id,
        carried_by_peer_id=path.carried_by or "",
        reason=path.reason,
    )


def encode_outcome(outcome: SubsystemOutcome) -> pb.SubsystemOutcome:
    """How one room's work went."""
    return pb.SubsystemOutcome(
        subsystem=outcome.subsystem,
        network_id=outcome.network_id or "",
        result=RESULTS[outcome.result],
        message=outcome.message,
        since_ms=milliseconds(outcome.since),
    )


def encode_candidate(candidate: EndpointCandidate) -> pb.EndpointCandidate:
    """Where a network may be reached."""
    return pb.EndpointCandidate(
        network_id=candidate.network_id,
        endpoint=str(candidate.endpoint),
        source=pb.ENDPOINT_SOURCE_INTERFACE,
    )


def milliseconds(seconds: float) -> int:
    """Times of the model are seconds, those of the contract milliseconds."""
    return round(seconds * 1000)

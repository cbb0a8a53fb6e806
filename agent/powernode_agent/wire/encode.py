"""What the node measured, as reports for the platform. Pure.

A report is full, or holds what changed since an earlier one. Revisions and the rejection stand in
every report, because an absent one means "none" and could not also mean "as before". A difference
has no words for "this peer is gone" either: when anything went away, `difference_report` answers
with a full report, which replaces all that was said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeVar

from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.status import (
    AgentStatus,
    Backend,
    EndpointCandidate,
    Liveness,
    NetworkStatus,
    NodeStatus,
    PathStatus,
    PeerState,
    PeerStatus,
    RejectedRevision,
    SubsystemOutcome,
)
from powernode_agent.model.values import NetworkId
from powernode_agent.wire.encode_filter import (
    RESULTS,
    encode_firewall,
    encode_port_mapping,
    encode_warning,
    firewall_state,
    port_mapping_state,
    warning_states,
)

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

_K = TypeVar("_K")
_V = TypeVar("_V")
_M = TypeVar(
    "_M",
    pb.NetworkStatus,
    pb.PeerStatus,
    pb.PathStatus,
    pb.SubsystemOutcome,
    pb.FirewallStatus,
    pb.PortMappingStatus,
)
_OutcomeKey = tuple[str, NetworkId | None]


class StatusEncoder:
    """The functions below as one object, in the shape that the reporter asks for."""

    def full(self, status: NodeStatus, sequence: int) -> pb.StatusReport:
        """See `full_report`."""
        return full_report(status, sequence)

    def difference(
        self, before: NodeStatus, after: NodeStatus, sequence: int
    ) -> pb.StatusReport | None:
        """See `difference_report`."""
        return difference_report(before, after, sequence)

    def urgent(self, before: NodeStatus, after: NodeStatus) -> bool:
        """See `urgent_change`."""
        return urgent_change(before, after)


def full_report(status: NodeStatus, sequence: int) -> pb.StatusReport:
    """Everything; `sequence` counts from 1 in each stream."""
    report = _frame(status, sequence)
    report.full = True
    report.agent.CopyFrom(_agent(status.agent))
    report.networks.extend(map(_network, status.networks.values()))
    report.peers.extend(map(_peer, status.peers.values()))
    report.paths.extend(map(_path, status.paths.values()))
    report.outcomes.extend(map(_outcome, status.outcomes))
    report.endpoint_candidates.extend(map(_candidate, status.endpoint_candidates))
    report.port_mappings.extend(map(encode_port_mapping, status.port_mappings.values()))
    report.firewalls.extend(map(encode_firewall, status.firewalls.values()))
    report.warnings.extend(map(encode_warning, status.warnings))
    return report


def difference_report(
    before: NodeStatus, after: NodeStatus, sequence: int
) -> pb.StatusReport | None:
    """What is not as it was, counters included; None if nothing is. Full if anything went away."""
    outcomes_before, outcomes_after = _by_key(before.outcomes), _by_key(after.outcomes)
    gone = (
        not before.networks.keys() <= after.networks.keys()
        or not before.peers.keys() <= after.peers.keys()
        or not before.paths.keys() <= after.paths.keys()
        or not outcomes_before.keys() <= outcomes_after.keys()
        or not before.port_mappings.keys() <= after.port_mappings.keys()
        or not before.firewalls.keys() <= after.firewalls.keys()
        or (before.endpoint_candidates and not after.endpoint_candidates)
        or (before.warnings and not after.warnings)
    )
    if gone:
        return full_report(after, sequence)
    report = _frame(after, sequence)
    report.networks.extend(_changed(before.networks, after.networks, _network))
    report.peers.extend(_changed(before.peers, after.peers, _peer))
    report.paths.extend(_changed(before.paths, after.paths, _path))
    report.outcomes.extend(_changed(outcomes_before, outcomes_after, _outcome))
    if before.endpoint_candidates != after.endpoint_candidates:
        report.endpoint_candidates.extend(map(_candidate, after.endpoint_candidates))
    report.port_mappings.extend(
        _changed(before.port_mappings, after.port_mappings, encode_port_mapping)
    )
    report.firewalls.extend(_changed(before.firewalls, after.firewalls, encode_firewall))
    if before.warnings != after.warnings:
        report.warnings.extend(map(encode_warning, after.warnings))
    if before.agent != after.agent:
        report.agent.CopyFrom(_agent(after.agent))
    told = (
        report.networks
        or report.peers
        or report.paths
        or report.outcomes
        or report.endpoint_candidates
        or report.port_mappings
        or report.firewalls
        or report.warnings
        or report.HasField("agent")
    )
    return report if told or _revisions(before) != _revisions(after) else None


def urgent_change(before: NodeStatus, after: NodeStatus) -> bool:
    """Whether someone has to know now: a state changed, or something came or went.

    Counters, round trips, handshakes that were merely refreshed and words that carry an age are not:
    they change all the time, and wait for the next report.
    """
    return (
        _revisions(before) != _revisions(after)
        or before.endpoint_candidates != after.endpoint_candidates
        or before.networks != after.networks
        or _differ(_by_key(before.outcomes), _by_key(after.outcomes), _outcome_state)
        or _differ(before.peers, after.peers, _peer_state)
        or _differ(before.paths, after.paths, _path_state)
        or _differ(before.port_mappings, after.port_mappings, port_mapping_state)
        or _differ(before.firewalls, after.firewalls, firewall_state)
        or warning_states(before.warnings) != warning_states(after.warnings)
    )


def _peer_state(peer: PeerStatus) -> tuple[object, ...]:
    liveness = None if peer.liveness is None else peer.liveness.state
    return (peer.state, liveness, peer.endpoint, peer.public_key, peer.next_key_ready)


def _path_state(path: PathStatus) -> tuple[object, ...]:
    return (path.prefix, path.carried_by)


def _outcome_state(outcome: SubsystemOutcome) -> tuple[object, ...]:
    return (outcome.result, outcome.message)


def _revisions(status: NodeStatus) -> tuple[object, ...]:
    return (status.accepted_revision, status.applied_revision, status.rejected)


def _by_key(outcomes: Iterable[SubsystemOutcome]) -> Mapping[_OutcomeKey, SubsystemOutcome]:
    return {(outcome.subsystem, outcome.network_id): outcome for outcome in outcomes}


def _differ(
    before: Mapping[_K, _V], after: Mapping[_K, _V], state: Callable[[_V], tuple[object, ...]]
) -> bool:
    if before.keys() != after.keys():
        return True
    for key, value in after.items():
        earlier = before[key]
        if earlier is not value and state(earlier) != state(value):
            return True
    return False


def _changed(
    before: Mapping[_K, _V], after: Mapping[_K, _V], encode: Callable[[_V], _M]
) -> Iterable[_M]:
    """The encoded values that are new or encode differently: not all that is measured is told."""
    for key, value in after.items():
        earlier = before.get(key)
        if earlier is value or earlier == value:
            continue
        message = encode(value)
        if earlier is None or encode(earlier) != message:
            yield message


def _frame(status: NodeStatus, sequence: int) -> pb.StatusReport:
    return pb.StatusReport(
        sequence=sequence,
        reported_at_ms=_milliseconds(status.at),
        applied_revision=status.applied_revision,
        accepted_revision=status.accepted_revision,
        rejected=None if status.rejected is None else _rejected(status.rejected),
    )


def _agent(agent: AgentStatus) -> pb.AgentStatus:
    return pb.AgentStatus(
        version=agent.version,
        kernel_release=agent.kernel_release,
        started_at_ms=_milliseconds(agent.started_at),
        drift_repaired=agent.drift_repaired,
    )


def _rejected(rejected: RejectedRevision) -> pb.RejectedRevision:
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
        rejected_at_ms=_milliseconds(rejected.rejected_at),
    )


def _network(network: NetworkStatus) -> pb.NetworkStatus:
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


def _peer(peer: PeerStatus) -> pb.PeerStatus:
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
        message.last_handshake_at_ms = _milliseconds(peer.last_handshake)
    if peer.liveness is not None:
        message.liveness = _LIVENESS[peer.liveness.state]
        if peer.liveness.rtt is not None:
            message.rtt_us = min(round(peer.liveness.rtt * 1_000_000), _MAX_UINT32)
    return message


def _path(path: PathStatus) -> pb.PathStatus:
    return pb.PathStatus(
        path_id=path.path_id,
        network_id=path.network_id,
        carried_by_peer_id=path.carried_by or "",
        reason=path.reason,
    )


def _outcome(outcome: SubsystemOutcome) -> pb.SubsystemOutcome:
    return pb.SubsystemOutcome(
        subsystem=outcome.subsystem,
        network_id=outcome.network_id or "",
        result=RESULTS[outcome.result],
        message=outcome.message,
        since_ms=_milliseconds(outcome.since),
    )


def _candidate(candidate: EndpointCandidate) -> pb.EndpointCandidate:
    return pb.EndpointCandidate(
        network_id=candidate.network_id,
        endpoint=str(candidate.endpoint),
        source=pb.ENDPOINT_SOURCE_INTERFACE,
    )


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)

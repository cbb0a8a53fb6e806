"""What the node measured, as reports for the platform. Pure.

A report is full, or holds what changed since an earlier one. Revisions and the rejection stand in
every report, because an absent one means "none" and could not also mean "as before". A difference
has no words for "this peer is gone" either: when anything went away, `difference_report` answers
with a full report, which replaces all that was said before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from powernode.sdwan.v1 import status_pb2 as pb
from powernode_agent.model.status import (
    NodeStatus,
    PathStatus,
    PeerStatus,
    SubsystemOutcome,
)
from powernode_agent.model.values import NetworkId
from powernode_agent.wire.encode_filter import (
    encode_firewall,
    encode_port_mapping,
    encode_warning,
    firewall_state,
    port_mapping_state,
    warning_states,
)
from powernode_agent.wire.encode_flannel import encode_flannel
from powernode_agent.wire.encode_overlay import (
    encode_agent,
    encode_candidate,
    encode_network,
    encode_outcome,
    encode_path,
    encode_peer,
    encode_rejected,
    milliseconds,
)
from powernode_agent.wire.encode_routing import (
    bgp_session_state,
    encode_bgp_session,
    encode_virtual_ip,
    virtual_ip_state,
)

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
    pb.BgpSessionStatus,
    pb.VirtualIpStatus,
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
    report.agent.CopyFrom(encode_agent(status.agent))
    report.networks.extend(map(encode_network, status.networks.values()))
    report.peers.extend(map(encode_peer, status.peers.values()))
    report.paths.extend(map(encode_path, status.paths.values()))
    report.outcomes.extend(map(encode_outcome, status.outcomes))
    report.endpoint_candidates.extend(map(encode_candidate, status.endpoint_candidates))
    report.port_mappings.extend(map(encode_port_mapping, status.port_mappings.values()))
    report.firewalls.extend(map(encode_firewall, status.firewalls.values()))
    report.bgp_sessions.extend(map(encode_bgp_session, status.bgp_sessions.values()))
    report.virtual_ips.extend(map(encode_virtual_ip, status.virtual_ips.values()))
    if status.flannel is not None:
        report.flannel.CopyFrom(encode_flannel(status.flannel))
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
        or not before.bgp_sessions.keys() <= after.bgp_sessions.keys()
        or not before.virtual_ips.keys() <= after.virtual_ips.keys()
        or (before.flannel is not None and after.flannel is None)
        or (before.endpoint_candidates and not after.endpoint_candidates)
        or (before.warnings and not after.warnings)
    )
    if gone:
        return full_report(after, sequence)
    report = _frame(after, sequence)
    report.networks.extend(_changed(before.networks, after.networks, encode_network))
    report.peers.extend(_changed(before.peers, after.peers, encode_peer))
    report.paths.extend(_changed(before.paths, after.paths, encode_path))
    report.outcomes.extend(_changed(outcomes_before, outcomes_after, encode_outcome))
    if before.endpoint_candidates != after.endpoint_candidates:
        report.endpoint_candidates.extend(map(encode_candidate, after.endpoint_candidates))
    report.port_mappings.extend(
        _changed(before.port_mappings, after.port_mappings, encode_port_mapping)
    )
    report.firewalls.extend(_changed(before.firewalls, after.firewalls, encode_firewall))
    report.bgp_sessions.extend(
        _changed(before.bgp_sessions, after.bgp_sessions, encode_bgp_session)
    )
    report.virtual_ips.extend(_changed(before.virtual_ips, after.virtual_ips, encode_virtual_ip))
    if after.flannel is not None and before.flannel != after.flannel:
        report.flannel.CopyFrom(encode_flannel(after.flannel))
    if before.warnings != after.warnings:
        report.warnings.extend(map(encode_warning, after.warnings))
    if before.agent != after.agent:
        report.agent.CopyFrom(encode_agent(after.agent))
    told = (
        report.networks
        or report.peers
        or report.paths
        or report.outcomes
        or report.endpoint_candidates
        or report.port_mappings
        or report.firewalls
        or report.bgp_sessions
        or report.virtual_ips
        or report.warnings
        or report.HasField("flannel")
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
        or before.flannel != after.flannel
        or before.endpoint_candidates != after.endpoint_candidates
        or before.networks != after.networks
        or _differ(_by_key(before.outcomes), _by_key(after.outcomes), _outcome_state)
        or _differ(before.peers, after.peers, _peer_state)
        or _differ(before.paths, after.paths, _path_state)
        or _differ(before.port_mappings, after.port_mappings, port_mapping_state)
        or _differ(before.firewalls, after.firewalls, firewall_state)
        or _differ(before.bgp_sessions, after.bgp_sessions, bgp_session_state)
        or _differ(before.virtual_ips, after.virtual_ips, virtual_ip_state)
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
        reported_at_ms=milliseconds(status.at),
        applied_revision=status.applied_revision,
        accepted_revision=status.accepted_revision,
        rejected=None if status.rejected is None else encode_rejected(status.rejected),
    )

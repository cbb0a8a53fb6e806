"""A node's reports folded into one: the first of a stream is full, later ones hold what changed. Pure.

Lists are keyed by the thing an entry is about. What is gone disappears with the next full report; until
then the reader ignores entries of things that no longer exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from powernode.sdwan.v1 import status_pb2 as pb

T = TypeVar("T")


def merge(before: pb.StatusReport | None, report: pb.StatusReport) -> pb.StatusReport:
    """What is known after `report`. Neither argument is changed."""
    if before is None or report.full:
        whole = pb.StatusReport()
        whole.CopyFrom(report)
        return whole
    whole = pb.StatusReport()
    whole.CopyFrom(before)
    _merge_scalars(whole, report)
    peers = _keyed(before.peers, report.peers, lambda item: (item.network_id, item.peer_id))
    del whole.peers[:]
    whole.peers.extend(peers)
    networks = _keyed(before.networks, report.networks, lambda item: item.network_id)
    del whole.networks[:]
    whole.networks.extend(networks)
    paths = _keyed(before.paths, report.paths, lambda item: (item.network_id, item.path_id))
    del whole.paths[:]
    whole.paths.extend(paths)
    outcomes = _keyed(
        before.outcomes, report.outcomes, lambda item: (item.subsystem, item.network_id)
    )
    del whole.outcomes[:]
    whole.outcomes.extend(outcomes)
    mappings = _keyed(before.port_mappings, report.port_mappings, lambda item: item.port_mapping_id)
    del whole.port_mappings[:]
    whole.port_mappings.extend(mappings)
    sessions = _keyed(
        before.bgp_sessions,
        report.bgp_sessions,
        lambda item: (item.network_id, item.neighbor_peer_id),
    )
    del whole.bgp_sessions[:]
    whole.bgp_sessions.extend(sessions)
    virtual_ips = _keyed(before.virtual_ips, report.virtual_ips, lambda item: item.virtual_ip_id)
    del whole.virtual_ips[:]
    whole.virtual_ips.extend(virtual_ips)
    firewalls = _keyed(before.firewalls, report.firewalls, lambda item: item.network_id)
    del whole.firewalls[:]
    whole.firewalls.extend(firewalls)
    if report.HasField("flannel"):
        whole.flannel.CopyFrom(report.flannel)
    # These come whole when they change: an entry that left could not be told from one unchanged.
    if report.endpoint_candidates:
        del whole.endpoint_candidates[:]
        whole.endpoint_candidates.extend(report.endpoint_candidates)
    if report.warnings:
        del whole.warnings[:]
        whole.warnings.extend(report.warnings)
    return whole


def _merge_scalars(whole: pb.StatusReport, report: pb.StatusReport) -> None:
    whole.sequence = report.sequence
    whole.reported_at_ms = report.reported_at_ms
    whole.full = False
    if report.HasField("agent"):
        whole.agent.CopyFrom(report.agent)
    # These stand in every report: absent, they mean "none", not "as before".
    whole.ClearField("applied_revision")
    if report.HasField("applied_revision"):
        whole.applied_revision = report.applied_revision
    whole.ClearField("accepted_revision")
    if report.HasField("accepted_revision"):
        whole.accepted_revision = report.accepted_revision
    whole.ClearField("rejected")
    if report.HasField("rejected"):
        whole.rejected.CopyFrom(report.rejected)


def _keyed(before: Iterable[T], changed: Iterable[T], key: Callable[[T], object]) -> list[T]:
    merged = {key(item): item for item in before}
    merged.update((key(item), item) for item in changed)
    return list(merged.values())

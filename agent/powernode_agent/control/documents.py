"""What the verbs answer, as JSON documents with a schema: pure functions from the model.

These documents are an interface: scripts read them. Keys are added, never renamed or removed, and
the golden files in tests/unit/cli/golden hold that. Unknown is null, never 0 and never absent. Times
are seconds since the epoch, ages are seconds before `now`, rates and sizes carry their unit in their
name. The daemon builds them; the command line renders them and never imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from powernode_agent.control.flannel_document import flannel_document
from powernode_agent.control.problems import (
    find_problems,
    network_state,
    overall_state,
    problem_document,
)
from powernode_agent.control.protocol import JSON, reasons_document
from powernode_agent.control.routing_documents import (
    session_counts,
    sessions_document,
    virtual_ip_counts,
    virtual_ips_document,
)
from powernode_agent.model.change import Change
from powernode_agent.model.status import (
    FirewallStatus,
    HealthWarning,
    NetworkStatus,
    NodeStatus,
    PathStatus,
    PeerState,
    PeerStatus,
    PortMappingStatus,
    RejectedRevision,
    SubsystemOutcome,
)
from powernode_agent.model.values import NetworkId, Revision

STATUS_SCHEMA: Final = "powernode.status/v1"
PLAN_SCHEMA: Final = "powernode.plan/v1"
VERSION_SCHEMA: Final = "powernode.version/v1"
PURGE_SCHEMA: Final = "powernode.purge/v1"
ENROL_SCHEMA: Final = "powernode.enrol/v1"

Document = dict[str, JSON]


def status_document(status: NodeStatus, now: float) -> Document:
    """The whole status, with every age as of `now` (seconds since the epoch)."""
    peers = sorted(
        status.peers.values(), key=lambda peer: (_name(status, peer.network_id), peer.name)
    )
    networks = sorted(status.networks.values(), key=lambda network: network.name)
    problems = find_problems(status, now)
    return {
        "schema": STATUS_SCHEMA,
        "daemon": "running",
        "state": overall_state(status, problems),
        "measured_at": status.at,
        "measured_age_s": _age(status.at, now),
        "node": {"id": status.node_id, "name": status.node_name},
        "agent": {
            "version": status.agent.version,
            "kernel_release": status.agent.kernel_release,
            "started_at": status.agent.started_at,
            "uptime_s": _age(status.agent.started_at, now),
            "drift_repaired": status.agent.drift_repaired,
        },
        "platform": status.platform,
        "revision": {
            "accepted": status.accepted_revision,
            "applied": status.applied_revision,
            "applied_at": status.applied_at,
            "applied_age_s": _age(status.applied_at, now),
            "applied_in_s": status.applied_in,
        },
        "rejected": _rejected(status.rejected, now),
        "networks": [_network(status, network) for network in networks],
        "peers": [_peer(status, peer, now) for peer in peers],
        "paths": [
            _path(status, path)
            for path in sorted(status.paths.values(), key=lambda path: str(path.path_id))
        ],
        "outcomes": [_outcome(outcome, now) for outcome in status.outcomes],
        "endpoint_candidates": [
            {"network_id": candidate.network_id, "endpoint": str(candidate.endpoint)}
            for candidate in status.endpoint_candidates
        ],
        "firewalls": [
            _firewall(status, firewall)
            for firewall in sorted(
                status.firewalls.values(), key=lambda each: _name(status, each.network_id)
            )
        ],
        "port_mappings": [
            _port_mapping(status, mapping)
            for mapping in sorted(
                status.port_mappings.values(),
                key=lambda each: (_name(status, each.network_id), each.id),
            )
        ],
        "bgp_sessions": sessions_document(status),
        "flannel": flannel_document(status, now),
        "virtual_ips": virtual_ips_document(status, now),
        "warnings": [_warning(warning, now) for warning in status.warnings],
        "problems": [problem_document(problem) for problem in problems],
    }


def plan_document(
    revision: Revision | None,
    changes: Sequence[Change],
    names: Mapping[NetworkId, str] | None = None,
) -> Document:
    """The changes that would bring the node to `revision`, in the order they would be applied.

    `names` gives the networks' names; one that is not in it is shown by its id.
    """
    names = names or {}
    return {
        "schema": PLAN_SCHEMA,
        "daemon": "running",
        "revision": revision,
        "pending": bool(changes),
        "changes": [
            {
                "subsystem": change.subsystem,
                "network_id": change.network,
                "network": None
                if change.network is None
                else names.get(change.network, change.network),
                "phase": change.phase.name.lower(),
                "verb": change.verb.value,
                "lines": list(change.lines),
            }
            for change in changes
        ],
    }


def version_document(version: str, kernel_release: str, backend: str | None) -> Document:
    """The daemon's own version; the command line adds its own."""
    return {
        "schema": VERSION_SCHEMA,
        "daemon": "running",
        "daemon_version": version,
        "kernel_release": kernel_release,
        "backend": backend,
    }


def purge_document(removed: Sequence[str]) -> Document:
    """What was torn down, one line each."""
    return {"schema": PURGE_SCHEMA, "daemon": "running", "removed": list(removed)}


def enrol_document(
    node_id: str, platform_address: str, certificate_expires_at: float | None
) -> Document:
    """The identity that the node has now."""
    return {
        "schema": ENROL_SCHEMA,
        "daemon": "running",
        "node_id": node_id,
        "platform_address": platform_address,
        "certificate_expires_at": certificate_expires_at,
    }


def _network(status: NodeStatus, network: NetworkStatus) -> Document:
    states = [peer.state for peer in status.peers.values() if peer.network_id == network.network_id]
    counts: Document = {state.value: states.count(state) for state in PeerState}
    counts["not_measured"] = states.count(None)
    counts["total"] = len(states)
    return {
        "id": network.network_id,
        "name": network.name,
        "handle": network.handle,
        "link": network.link,
        "role": network.role,
        "routing_mode": network.routing_mode,
        "state": network_state(status, network),
        "up": network.up,
        "mtu": network.mtu,
        "listen_port": network.listen_port,
        "backend": network.backend.value if network.backend else None,
        "public_key": network.public_key,
        "node_keys": [
            {"generation": generation, "public_key": key} for generation, key in network.node_keys
        ],
        "peers": counts,
        "bgp": session_counts(status, network),
        "virtual_ips": virtual_ip_counts(status, network),
    }


def _peer(status: NodeStatus, peer: PeerStatus, now: float) -> Document:
    reading = peer.liveness
    return {
        "id": peer.peer_id,
        "name": peer.name,
        "network_id": peer.network_id,
        "network": _name(status, peer.network_id),
        "state": peer.state.value if peer.state else None,
        "last_handshake_at": peer.last_handshake,
        "handshake_age_s": _age(peer.last_handshake, now),
        "endpoint": str(peer.endpoint) if peer.endpoint else None,
        "path": "direct" if peer.endpoint else None,
        "rx_bytes": peer.rx_bytes,
        "tx_bytes": peer.tx_bytes,
        "liveness": reading.state.value if reading else None,
        "liveness_age_s": _age(reading.since, now) if reading else None,
        "rtt_s": reading.rtt if reading else None,
        "probes_sent": reading.sent if reading else None,
        "probes_answered": reading.answered if reading else None,
        "public_key": peer.public_key,
        "next_key_ready": peer.next_key_ready,
    }


def _path(status: NodeStatus, path: PathStatus) -> Document:
    carrier = (
        status.peers.get((path.network_id, path.carried_by))
        if path.carried_by is not None
        else None
    )
    return {
        "id": path.path_id,
        "network_id": path.network_id,
        "network": _name(status, path.network_id),
        "prefix": str(path.prefix),
        "carried_by": path.carried_by,
        "carried_by_name": carrier.name if carrier else None,
        "reason": path.reason,
    }


def _outcome(outcome: SubsystemOutcome, now: float) -> Document:
    return {
        "subsystem": outcome.subsystem,
        "network_id": outcome.network_id,
        "result": outcome.result.value,
        "message": outcome.message,
        "since": outcome.since,
        "age_s": _age(outcome.since, now),
    }


def _firewall(status: NodeStatus, firewall: FirewallStatus) -> Document:
    return {
        "network_id": firewall.network_id,
        "network": _name(status, firewall.network_id),
        "rules": firewall.rules,
        "dropped_packets": firewall.dropped_packets,
    }


def _port_mapping(status: NodeStatus, mapping: PortMappingStatus) -> Document:
    return {
        "id": mapping.id,
        "network_id": mapping.network_id,
        "network": _name(status, mapping.network_id),
        "external": mapping.external,
        "internal": mapping.internal,
        "result": mapping.result.value,
        "message": mapping.message,
        "connections": mapping.connections,
    }


def _warning(warning: HealthWarning, now: float) -> Document:
    return {
        "code": warning.code,
        "severity": warning.severity.value,
        "subject_id": warning.subject_id,
        "network": warning.network_id,
        "evidence": warning.evidence,
        "cause": warning.cause,
        "fix": warning.fix,
        "since": warning.since,
        "age_s": _age(warning.since, now),
    }


def _rejected(rejected: RejectedRevision | None, now: float) -> Document | None:
    if rejected is None:
        return None
    return {
        "revision": rejected.revision,
        "rejected_at": rejected.rejected_at,
        "age_s": _age(rejected.rejected_at, now),
        "reasons": reasons_document(rejected.reasons),
    }


def _name(status: NodeStatus, network_id: NetworkId) -> str:
    network = status.networks.get(network_id)
    return network.name if network else network_id


def _age(then: float | None, now: float) -> float | None:
    """Seconds from `then` to `now`; a clock that was set back does not make an age negative."""
    return None if then is None else round(max(0.0, now - then), 3)

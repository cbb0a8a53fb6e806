"""What `powernode-agent doctor` answers, as a document: the table's rows, and what was found of them.
Pure; see `documents`. No key, private or public, ever stands in it.
"""

from __future__ import annotations

from typing import Final

from powernode_agent.control.problems import find_problems, overall_state
from powernode_agent.control.protocol import JSON
from powernode_agent.health.codes import Code
from powernode_agent.health.evaluate import Diagnosis, Finding
from powernode_agent.health.routing import name_of
from powernode_agent.model.status import BgpState, HolderState, NodeStatus, Result
from powernode_agent.model.values import NetworkId, PeerId

DOCTOR_SCHEMA: Final = "powernode.doctor/v1"

MAX_NOT_MEASURED: Final = 50
"""As many as anybody reads; `state` says it of all."""

Document = dict[str, JSON]


def doctor_document(status: NodeStatus, diagnosis: Diagnosis, now: float) -> Document:
    """The whole diagnosis, with every age as of `now` (seconds since the epoch).

    `findings` have lasted as long as their rows ask for; `pending` have not yet; `muted` are explained
    by the root cause that they name. `networks` are there so that names can be asked for.
    """
    return {
        "schema": DOCTOR_SCHEMA,
        "daemon": "running",
        "state": overall_state(status, find_problems(status, now)),
        "measured_at": status.at,
        "measured_age_s": _age(status.at, now),
        "node": {"id": status.node_id, "name": status.node_name},
        "networks": [
            {"id": each.network_id, "name": each.name, "handle": each.handle}
            for each in sorted(status.networks.values(), key=lambda each: each.name)
        ],
        "code": None,
        "findings": [finding_document(status, each, now) for each in diagnosis.told],
        "pending": [finding_document(status, each, now) for each in diagnosis.pending],
        "muted": [finding_document(status, each, now) for each in diagnosis.muted],
        "not_measured": not_measured(status),
        "checks": [],
    }


def finding_document(status: NodeStatus, finding: Finding, now: float) -> Document:
    """One finding."""
    found, code = finding.condition, finding.code
    network = None if found.network_id is None else status.networks.get(found.network_id)
    return {
        "code": code.id,
        "severity": code.severity.value,
        "cuts_traffic": code.cuts_traffic,
        "symptom": code.symptom,
        "network_id": found.network_id,
        "network": network.name if network else None,
        "subject_id": found.subject_id or found.network_id or None,
        "subject": found.subject,
        "since": finding.since,
        "age_s": _age(finding.since, now),
        "shows_in_s": round(max(0.0, finding.shows_at - now), 3),
        "evidence": found.evidence,
        "cause": finding.cause,
        "fix": finding.fix,
        "next": finding.command,
        "muted_by": finding.muted_by or None,
    }


def code_document(code: Code) -> Document:
    """One row of the table."""
    return {
        "id": code.id,
        "severity": code.severity.value,
        "cuts_traffic": code.cuts_traffic,
        "symptom": code.symptom,
        "cause": code.cause,
        "fix": code.fix,
        "next": code.command,
        "holds_for_s": code.holds_for,
        "depends_on": list(code.depends_on),
    }


def not_measured(status: NodeStatus) -> list[JSON]:
    """What nothing can be said of, in words; empty: all of it was looked at."""
    found = [f"{each.name}: its link" for each in status.networks.values() if each.up is None]
    found += [
        f"{name_of(status, each.network_id)}: peer {each.name}"
        for each in status.peers.values()
        if each.state is None
    ]
    found += [
        f"{name_of(status, each.network_id)}: BGP session with"
        f" {_peer_name(status, each.network_id, each.neighbor_peer_id)}"
        for each in status.bgp_sessions.values()
        if each.state is BgpState.NOT_MEASURED
    ]
    found += [
        f"{name_of(status, each.network_id)}: virtual IP {each.address or each.virtual_ip_id}"
        for each in status.virtual_ips.values()
        if each.state is HolderState.NOT_MEASURED
    ]
    found += [
        f"{each.subsystem}{f': {each.message}' if each.message else ''}"
        for each in status.outcomes
        if each.result is Result.NOT_MEASURED
    ]
    return [*sorted(found)[:MAX_NOT_MEASURED]]


def _peer_name(status: NodeStatus, network_id: NetworkId, peer_id: PeerId) -> str:
    peer = status.peers.get((network_id, peer_id))
    return peer.name if peer else peer_id


def _age(then: float, now: float) -> float:
    return round(max(0.0, now - then), 3)

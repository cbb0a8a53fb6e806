"""What the nodes of a network say of its firewall, its port mappings and its routing.

Only a node whose report stream stands has a say: what was in force an hour ago is not in force. What
nobody measured is null, never ok and never zero.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import select

from netns_lab.platform.context import Context
from netns_lab.platform.tables import Network, NodeInstance, Peer
from powernode.sdwan.v1 import status_pb2 as pb

SHADOWED: Final = "FW-001"
"""Code of the warning that a rule is never reached, because others decide before it."""

_FIREWALL_SUBSYSTEMS: Final = ("firewall", "nftables")
"""Who compiles the rules on a node, and who puts them into the kernel."""
_ROUTING_SUBSYSTEMS: Final = ("routing",)
"""Who brings FRR to what it should be, route policies included."""
_RESULTS: Final = {pb.RESULT_OK: "ok", pb.RESULT_ERROR: "error"}


@dataclass(frozen=True, slots=True)
class Speaker:
    """A node of the network. `report` None: it has no say. `desired` is the revision it should have."""

    peer_id: str
    node_id: str
    name: str
    report: pb.StatusReport | None
    reported_seconds_ago: float | None
    desired: int

    def describe(self) -> dict[str, object]:
        """Who says something, and how far it is. `up_to_date` null: it does not say."""
        report = self.report
        applied = report is not None and report.HasField("applied_revision")
        return {
            "peer_id": self.peer_id,
            "node_instance_id": self.node_id,
            "name": self.name,
            "reporting": report is not None,
            "reported_seconds_ago": self.reported_seconds_ago,
            "up_to_date": report.applied_revision == self.desired if report and applied else None,
            "refused": None if report is None else _refused(report, self.desired),
        }


def speakers(context: Context, network: Network) -> list[Speaker]:
    """The nodes of a network in their order."""
    found: list[Speaker] = []
    # Columns and not objects: there may be thousands.
    rows = context.session.execute(
        select(Peer.id, Peer.node_id, NodeInstance.name)
        .join(NodeInstance, NodeInstance.id == Peer.node_id)
        .where(Peer.network_id == network.id)
        .order_by(Peer.ordinal)
    )
    for peer_id, node_id, name in rows:
        seen = context.services.observation(node_id)
        age = None if seen.report is None else round(context.now - seen.received_at, 3)
        found.append(
            Speaker(
                peer_id=peer_id,
                node_id=node_id,
                name=name,
                report=seen.report if seen.online else None,
                reported_seconds_ago=age,
                desired=context.services.revision(node_id),
            )
        )
    return found


def firewall_on(speaker: Speaker, network_id: str) -> dict[str, object]:
    """A network's firewall as one node says it is."""
    result, message = _outcome(speaker.report, network_id, _FIREWALL_SUBSYSTEMS)
    status = None
    if speaker.report is not None:
        status = next((s for s in speaker.report.firewalls if s.network_id == network_id), None)
    rules = status is not None and status.HasField("rules")
    dropped = status is not None and status.HasField("dropped_packets")
    return {
        **speaker.describe(),
        "result": result,
        "message": message,
        "rules_in_force": status.rules if status and rules else None,
        "dropped_packets": status.dropped_packets if status and dropped else None,
    }


def routing_on(speaker: Speaker, network_id: str) -> dict[str, object]:
    """A network's routing as one node says it is: whether its FRR runs what it should."""
    result, message = _outcome(speaker.report, network_id, _ROUTING_SUBSYSTEMS)
    return {**speaker.describe(), "result": result, "message": message}


def mapping_on(speaker: Speaker, mapping_id: str) -> dict[str, object]:
    """A port mapping as the node that serves it says it is."""
    status = None
    if speaker.report is not None:
        status = next(
            (s for s in speaker.report.port_mappings if s.port_mapping_id == mapping_id), None
        )
    connections = status is not None and status.HasField("connections")
    return {
        **speaker.describe(),
        "result": None if status is None else _RESULTS.get(status.result),
        "message": None if status is None else status.message or None,
        "connections": status.connections if status and connections else None,
    }


def shadowed(speakers_: Iterable[Speaker]) -> dict[str, list[tuple[Speaker, pb.HealthWarning]]]:
    """The rules that nodes say are never reached, by id, each with who says so."""
    found: dict[str, list[tuple[Speaker, pb.HealthWarning]]] = {}
    for speaker in speakers_:
        for warning in () if speaker.report is None else speaker.report.warnings:
            if warning.code == SHADOWED:
                found.setdefault(warning.subject_id, []).append((speaker, warning))
    return found


def shadow_answer(speaker: Speaker, warning: pb.HealthWarning) -> Mapping[str, object]:
    """One node's word on a shadowed rule."""
    return {
        "peer_id": speaker.peer_id,
        "node_instance_id": speaker.node_id,
        "name": speaker.name,
        "evidence": warning.evidence,
        "cause": warning.cause,
        "fix": warning.fix,
        "since": iso(warning.since_ms) if warning.since_ms else None,
    }


def iso(at_ms: int) -> str:
    """A time of the contract, in milliseconds since the epoch, as answers show it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _outcome(
    report: pb.StatusReport | None, network_id: str, subsystems: Collection[str]
) -> tuple[str | None, str | None]:
    """Result and message. An error stands before an ok, and one of the whole node is everyone's."""
    outcomes = [
        each
        for each in (() if report is None else report.outcomes)
        if each.subsystem in subsystems and each.network_id in ("", network_id)
    ]
    errors = [each.message for each in outcomes if each.result == pb.RESULT_ERROR]
    if errors:
        return "error", "; ".join(errors)
    own = [each.result for each in outcomes if each.network_id == network_id]
    return ("ok" if own and all(each == pb.RESULT_OK for each in own) else None), None


def _refused(report: pb.StatusReport, desired: int) -> str | None:
    """Why the node refuses what it should be: then no rule of it is in force. None: it does not."""
    if not report.HasField("rejected") or report.rejected.revision not in (0, desired):
        return None
    return "; ".join(
        f"{each.resource}: {each.field} must be {each.expected}, got {each.value}"
        for each in report.rejected.reasons
    )

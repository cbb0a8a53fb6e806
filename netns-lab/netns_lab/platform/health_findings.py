"""What is wrong with a network: what its nodes report by their own codes, and what only the platform
can see, by its own. Nothing is looked for here that an answer does not say already: a peer's problem, a
virtual IP's and the approval queue are the same as in the actions that list them.

A node without a say is not silently well: it is the finding NODE-101, and `not_measured` names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select

from netns_lab.platform import peer_answers, virtual_ip_answers
from netns_lab.platform.context import Context
from netns_lab.platform.device_tables import AccessGrant
from netns_lab.platform.filter_reports import Speaker, iso, speakers
from netns_lab.platform.health_codes import OF_ERROR, TABLE, Code
from netns_lab.platform.tables import Network, VirtualIp
from netns_lab.platform.virtual_ip_tables import ApprovalRow
from powernode.sdwan.v1 import status_pb2 as pb

_SEVERITIES: Final = {
    pb.SEVERITY_INFO: "info",
    pb.SEVERITY_WARNING: "warning",
    pb.SEVERITY_CRITICAL: "critical",
}
_ORDER: Final = {"critical": 0, "warning": 1, "info": 2}
GRANT_SHOWN: Final = 3600.0
"""Seconds for which a grant that ended unused is worth a word."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the platform sees. `age` in seconds, None: not known, and then it shows at once.
    `peer_id`: the peer it is about, empty: none."""

    code: Code
    network_id: str | None
    subject_id: str
    subject: str
    evidence: str
    cause: str = ""
    fix: str = ""
    age: float | None = None
    peer_id: str = ""

    @property
    def shows(self) -> bool:
        """Whether it has lasted as long as its row asks for."""
        return self.age is None or self.age >= self.code.holds_for

    def describe(self, now: float) -> dict[str, object]:
        """As actions answer it; the keys are those of a node's warning."""
        return {
            "code": self.code.id,
            "severity": self.code.severity.value,
            "cuts_traffic": self.code.cuts_traffic,
            "symptom": self.code.symptom,
            "reported_by": "platform",
            "network_id": self.network_id,
            "subject_id": self.subject_id,
            "subject": self.subject,
            "since": None if self.age is None else iso(int((now - self.age) * 1000)),
            "evidence": self.evidence,
            "cause": self.cause or self.code.cause,
            "fix": self.fix or self.code.fix,
        }


def findings_on(context: Context, network: Network) -> list[dict[str, object]]:
    """Everything on one network, worst first."""
    saying = speakers(context, network)
    names = {each.peer_id: each.name for each in saying}
    own = [*_nodes(context, network, saying), *_peers(context, network)]
    own += [*_virtual_ips(context, network), *_grants(context, network)]
    found = [each.describe(context.now) for each in _unmuted(own) if each.shows]
    for speaker in saying:
        for warning in () if speaker.report is None else speaker.report.warnings:
            # Of the node as a whole, or of this network of its several.
            if warning.network_id in ("", network.id):
                found.append(_reported(network, speaker, warning, names))
    return sorted(found, key=lambda each: _ORDER.get(str(each["severity"]), 1))


def approvals_waiting(context: Context) -> list[dict[str, object]]:
    """What waits for an operator and is about no virtual IP: those are said with their network."""
    rows = context.session.scalars(
        select(ApprovalRow)
        .where(ApprovalRow.account_id == context.account_id, ApprovalRow.state == "pending")
        .order_by(ApprovalRow.requested_at)
    )
    return [
        Finding(
            TABLE["APR-101"],
            None,
            row.subject,
            row.skill,
            f"{row.skill} waits as {row.id}: {row.because}",
            fix=f"run system_sdwan_approve or system_sdwan_reject with approval_id {row.id}",
            age=max(context.now - row.requested_at, 0.0),
        ).describe(context.now)
        for row in rows
        if context.session.get(VirtualIp, row.subject) is None
    ]


def _nodes(context: Context, network: Network, saying: Sequence[Speaker]) -> Iterator[Finding]:
    for speaker in saying:
        if speaker.report is not None:
            continue
        ago = speaker.reported_seconds_ago
        since = "it never has" if ago is None else f"it last did {ago:.0f} s ago"
        yield Finding(
            TABLE["NODE-101"],
            network.id,
            speaker.node_id,
            speaker.name,
            f"{speaker.name} does not report: {since}",
            age=ago,
            peer_id=speaker.peer_id,
        )


def _peers(context: Context, network: Network) -> Iterator[Finding]:
    for answer in peer_answers.answer_all(context, network):
        id_, name = str(answer["id"]), str(answer["name"])
        problem = answer["problem"]
        if isinstance(problem, Mapping):
            yield Finding(
                TABLE[OF_ERROR[str(problem["error"])]],
                network.id,
                id_,
                name,
                f"{problem['cause']} ({problem['evidence']})",
                fix=str(problem["fix"]),
                peer_id=id_,
            )
        remembered = context.services.remembered(network.id, id_)
        status, evidence = answer["status"], str(answer["evidence"])
        if status == "handshake_pending":
            behind = remembered.out_of_step_since
            age = 0.0 if behind is None else context.now - behind
            yield Finding(TABLE["PEER-101"], network.id, id_, name, evidence, age=age, peer_id=id_)
        elif status == "silent":
            yield Finding(TABLE["PEER-102"], network.id, id_, name, evidence, peer_id=id_)


def _virtual_ips(context: Context, network: Network) -> Iterator[Finding]:
    if not network.virtual_ips:
        return
    sight = virtual_ip_answers.look(context, network)
    for row in network.virtual_ips:
        answer = virtual_ip_answers.answer(context, row, sight)
        problem = answer["problem"]
        if not isinstance(problem, Mapping):
            continue
        approval = answer["approval_id"]
        silent = problem["error"] == "VirtualIpHolderSilent"
        code = "VIP-102" if approval and silent else "VIP-101"
        if row.anycast and silent:
            code = "VIP-103"
        yield Finding(
            TABLE[code],
            network.id,
            row.id,
            row.name,
            f"{problem['cause']} ({problem['evidence']})",
            fix=str(problem["fix"]) if code == "VIP-101" else _approve(approval),
        )


def _approve(approval: object) -> str:
    return f"run system_sdwan_approve with approval_id {approval}" if approval else ""


def _grants(context: Context, network: Network) -> Iterator[Finding]:
    """Bootstrap URLs that ended unused: the user who held one cannot connect."""
    rows = context.session.scalars(
        select(AccessGrant).where(
            AccessGrant.network_id == network.id,
            AccessGrant.used_at.is_(None),
            AccessGrant.revoked_at.is_(None),
            AccessGrant.expires_at <= context.now,
            AccessGrant.expires_at > context.now - GRANT_SHOWN,
        )
    )
    for row in rows:
        age = context.now - row.expires_at
        yield Finding(
            TABLE["DEV-101"],
            network.id,
            row.id,
            row.device_name_hint,
            f"the bootstrap URL for {row.device_name_hint or row.id} expired unused"
            f" {age:.0f} s ago, {row.expires_at - row.created_at:.0f} s after it was made",
            age=age,
        )


def _unmuted(findings: Sequence[Finding]) -> Iterator[Finding]:
    present = {(each.code.id, each.peer_id) for each in findings}
    for each in findings:
        if not any((root, each.peer_id) in present for root in each.code.depends_on):
            yield each


def _reported(
    network: Network, speaker: Speaker, warning: pb.HealthWarning, names: Mapping[str, str]
) -> dict[str, object]:
    """A node's own finding, as it says it."""
    return {
        "code": warning.code,
        "severity": _SEVERITIES.get(warning.severity),
        "cuts_traffic": warning.severity == pb.SEVERITY_CRITICAL,
        "symptom": None,
        "reported_by": speaker.name,
        "network_id": warning.network_id or None,
        "subject_id": warning.subject_id or None,
        "subject": names.get(warning.subject_id),
        "since": iso(warning.since_ms) if warning.since_ms else None,
        "evidence": warning.evidence,
        "cause": warning.cause,
        "fix": warning.fix,
    }

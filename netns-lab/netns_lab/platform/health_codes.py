"""The platform's own health codes: rows of the same shape as a node's, for what no node can know.

A node's codes end in 001 to 099 and come with its reports; those of the platform begin at 101. The
runbook's rows are in both where both ends have a say: a node knows that nobody answers it, the platform
that it has no hub to call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Severity(Enum):
    """As in the contract: INFO worth knowing, WARNING traffic flows, CRITICAL traffic is cut."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True)
class Code:
    """One row. `holds_for`: seconds for which it must last before it shows. `depends_on`: codes of root
    causes that mute it when they are there of the same subject, be they the platform's or a node's."""

    id: str
    severity: Severity
    symptom: str
    cause: str
    fix: str
    holds_for: float = 0.0
    depends_on: tuple[str, ...] = ()

    @property
    def cuts_traffic(self) -> bool:
        """Whether packets are lost that should arrive."""
        return self.severity is Severity.CRITICAL


_ROWS: Final = (
    Code(
        "APR-101", Severity.WARNING, "An action waits for approval",
        "its policy is require_approval: nothing is done until an operator says so",
        "system_sdwan_list_approvals, then system_sdwan_approve or system_sdwan_reject",
    ),
    Code(
        "DEV-101", Severity.INFO, "User device can't connect after issue",
        "Bootstrap URL expired (>15 min)",
        "re-issue via system_sdwan_create_access_grant, then system_sdwan_issue_user_device",
    ),
    Code(
        "KEY-101", Severity.CRITICAL, "KeysOutOfSync",
        "agent applied stale config: it works with an older revision or another key than is desired",
        "run the skill sdwan_peer_remediate: it rotates keys and forces a new handshake", 15.0,
        ("NODE-101", "PEER-101"),
    ),
    Code(
        "NAT-101", Severity.CRITICAL, "EndpointUnreachableError",
        "NAT punching failed, or the hub cannot be reached",
        "set publicly_reachable: true on at least one hub peer; the rest connect outbound through it",
        15.0, ("KEY-101",),
    ),
    Code(
        "NODE-101", Severity.WARNING, "A node does not report",
        "its agent is not running, its certificate ended, or it cannot reach the platform",
        "on the node: powernode-agent doctor", depends_on=("NAT-101", "PEER-102"),
    ),
    Code(
        "PEER-101", Severity.CRITICAL, "Peer stuck handshake_pending",
        "Agent didn't pick up config (reconcile not yet fired)",
        "wait 30 s; or force: systemctl restart powernode-agent on the node", 30.0,
        ("NODE-101",),
    ),
    Code(
        "PEER-102", Severity.CRITICAL, "Peer goes silent after working",
        "Connection lost / node rebooted",
        "sdwan_reachability_sensor says sdwan.hub_unreachable of a hub; the skill sdwan_failover emits"
        " a hub-promotion plan",
    ),
    Code(
        "VIP-101", Severity.CRITICAL, "The holder of a virtual IP is not reached, or has it not",
        "the holder is gone, or its address is missing or held twice",
        "system_sdwan_failover_virtual_ip, with dry_run: true first",
    ),
    Code(
        "VIP-102", Severity.CRITICAL, "VIP failover doesn't promote",
        "sdwan_vip_failover blocked by require_approval policy",
        "check the approval queue (system_sdwan_list_approvals); an operator approves, then the"
        " executor runs",
    ),
    Code(
        "VIP-103", Severity.INFO, "VIP failover marks anycast: true",
        "Anycast VIP: failover is informational only",
        "this is expected; routing handles failover for anycast",
    ),
)  # fmt: skip

TABLE: Final[Mapping[str, Code]] = {row.id: row for row in _ROWS}
"""All rows by id."""
OF_ERROR: Final = {"KeysOutOfSync": "KEY-101", "EndpointUnreachableError": "NAT-101"}
"""The runbook's two named errors of a peer (`problems`)."""

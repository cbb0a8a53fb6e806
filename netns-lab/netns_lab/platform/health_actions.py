"""Runbook, troubleshooting: `system_sdwan_list_health`, all that is known to be wrong, and the fix."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select

from netns_lab.platform.context import Answer, Context
from netns_lab.platform.filter_reports import speakers
from netns_lab.platform.health_codes import TABLE, Code
from netns_lab.platform.health_findings import approvals_waiting, findings_on
from netns_lab.platform.registry import Action, Arguments, Effect, action
from netns_lab.platform.tables import Network


class ListHealth(Arguments):
    """One network, or all of the account."""

    network_id: str | None = None


def list_health(context: Context, arguments: ListHealth) -> Answer:
    """Lists what is wrong: what nodes report by health code, and what the platform sees by its own."""
    if arguments.network_id is not None:
        networks = [context.network(arguments.network_id)]
    else:
        query = select(Network).where(Network.account_id == context.account_id)
        networks = list(context.session.scalars(query.order_by(Network.created_at, Network.id)))
    findings: list[dict[str, object]] = []
    said: set[tuple[object, ...]] = set()
    silent: set[str] = set()
    for network in networks:
        for each in findings_on(context, network):
            # A node of several networks says what is wrong with all of it once for each of them.
            key = (each["code"], each["reported_by"], each["network_id"], each["subject_id"])
            if key not in said:
                said.add(key)
                findings.append(each)
        silent |= {each.name for each in speakers(context, network) if each.report is None}
    if arguments.network_id is None:
        findings += approvals_waiting(context)
    worst = min((_RANK.get(str(each["severity"]), 1) for each in findings), default=3)
    return {
        "state": ("critical", "warning", "info", "ok")[worst],
        "findings": findings,
        "not_measured": sorted(silent),
        "platform_codes": [_describe(code) for code in TABLE.values()],
    }


_RANK: Final = {"critical": 0, "warning": 1, "info": 2}


def _describe(code: Code) -> dict[str, object]:
    return {
        "id": code.id,
        "severity": code.severity.value,
        "cuts_traffic": code.cuts_traffic,
        "symptom": code.symptom,
        "cause": code.cause,
        "fix": code.fix,
        "holds_for_seconds": code.holds_for,
        "depends_on": list(code.depends_on),
    }


ACTIONS: Final[tuple[Action, ...]] = (
    action(
        "system_sdwan_list_health", ListHealth, list_health, effect=Effect.READ, idempotent=True
    ),
)

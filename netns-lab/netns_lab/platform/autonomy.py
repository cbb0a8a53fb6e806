"""What the platform runs by itself: skills with the policy auto_approve, which is the policy audit.

    sdwan.policy_finding          a firewall rule or a route policy statement does nothing, or not what
                                  it says; once for each
    sdwan.policy_finding_cleared  it does again, or is gone

The audit only reads, and so leaves no line in the audit log; its events are what it has to say. It
looks at a network every `AUDIT_SECONDS`, less often where that takes long, and at nothing where there
is neither a rule nor a policy. The memory is the process's: a restarted platform says again what still
holds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import exists, or_, select

from netns_lab.platform.context import Answer
from netns_lab.platform.database import Sessions
from netns_lab.platform.route_policy_tables import RoutePolicyRow
from netns_lab.platform.tables import FirewallRuleRow, Network
from netns_lab.platform.trials import Recorder

AUDIT_SECONDS: Final = 15.0
ACTION: Final = "system_sdwan_route_policy_audit"
KINDS: Final = (
    "shadowed_rules",
    "shadowed_statements",
    "inconsistent_statements",
    "statements_matching_nothing",
    "statements_prepending_own_as",
)
SHARE: Final = 0.01
"""Of the platform's time, at most: nodes wait while it audits."""
Audit = Callable[[str, str], Answer]
"""The audit of a network of an account, both by id."""


@dataclass(slots=True, eq=False)
class Autonomy:
    """The platform's own hand. `clock` in seconds since the epoch."""

    sessions: Sessions
    clock: Callable[[], float]
    audit: Audit
    event: Recorder
    _next: float = float("-inf")
    _known: dict[str, dict[str, dict[str, object]]] = field(default_factory=dict)

    def consider(self) -> None:
        """Audits all networks when it is time to."""
        if self.clock() < self._next:
            return
        began = time.perf_counter()
        networks = self._networks()
        # What is gone has nothing to be found in it, and its events tell that it is gone.
        for network_id in self._known.keys() - networks.keys():
            self._compare(network_id, {})
        for network_id, account_id in networks.items():
            self._compare(network_id, findings(self.audit(account_id, network_id)))
        took = time.perf_counter() - began
        self._next = self.clock() + max(AUDIT_SECONDS, took / SHARE)

    def _networks(self) -> dict[str, str]:
        """Account ids of the networks that have something to audit, by network id."""
        rules = exists().where(FirewallRuleRow.network_id == Network.id)
        policies = exists().where(RoutePolicyRow.account_id == Network.account_id)
        with self.sessions() as session:
            rows = session.execute(
                select(Network.id, Network.account_id).where(or_(rules, policies))
            )
            return {network_id: account_id for network_id, account_id in rows}  # noqa: C416 - typed rows

    def _compare(self, network_id: str, found: dict[str, dict[str, object]]) -> None:
        known = self._known.pop(network_id, {})
        for key in [each for each in found if each not in known]:
            self.event("sdwan.policy_finding", network_id=network_id, **found[key])
        for key in [each for each in known if each not in found]:
            self.event("sdwan.policy_finding_cleared", network_id=network_id, **known[key])
        if found:
            self._known[network_id] = found


def findings(answer: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The findings of an audit, by what makes two of them the same: all but who reports it. Pure."""
    found: dict[str, dict[str, object]] = {}
    for kind in KINDS:
        listed = answer.get(kind)
        for each in listed if isinstance(listed, list) else ():
            rule = each.get("firewall_rule")
            about = {"firewall_rule_id": rule["id"]} if isinstance(rule, Mapping) else dict(each)
            found[json.dumps([kind, about], sort_keys=True, default=str)] = {
                "finding": kind.rstrip("s"),
                "about": about,
            }
    return found

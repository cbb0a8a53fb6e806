"""What the status says of the filter: rules in force, packets dropped, and rules never reached.

In force means that the fragment compiled from the rules stands in the table. While another one does
(a refused change, a table that somebody disturbed), how many rules hold is not known, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from powernode_agent.firewall.compile import Filter
from powernode_agent.firewall.shadow import Shadow
from powernode_agent.health.condition import Condition
from powernode_agent.model.status import FirewallStatus
from powernode_agent.model.values import NetworkId
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.nftables.script import Key
from powernode_agent.reconcile.ledger import FIREWALL

SHADOWED: Final = "FW-001"
"""Health code of a rule that is never reached."""


def measure(
    filters: Mapping[NetworkId, Filter], ruleset: Ruleset
) -> dict[NetworkId, FirewallStatus]:
    """The firewall of each network as it stands."""
    found: dict[NetworkId, FirewallStatus] = {}
    for network_id, filter_ in filters.items():
        fragment = filter_.fragment
        nothing = not fragment.objects and not fragment.hooks
        standing = ruleset.standing(Key(FIREWALL, network_id))
        in_force = ruleset.known and (standing is fragment or (nothing and standing is None))
        found[network_id] = FirewallStatus(
            network_id,
            rules=filter_.rule_count if in_force else None,
            dropped_packets=ruleset.packets(filter_.counter),
        )
    return found


def shadows(filters: Mapping[NetworkId, Filter]) -> Iterator[Condition]:
    """The rules that are never reached, one condition for each."""
    for network_id, filter_ in filters.items():
        told: dict[str, list[Shadow]] = {}
        for shadow in filter_.shadows:
            told.setdefault(shadow.rule, []).append(shadow)
        for rule, found in told.items():
            by = found[0].by
            yield Condition(
                SHADOWED,
                network_id,
                rule,
                f"firewall rule {rule}",
                "; ".join(
                    f"firewall rule {rule} is never reached ({each.direction.value}): firewall rule"
                    f" {each.by} comes first and matches all that it matches"
                    for each in found
                ),
                cause="rules go peer > tag > cidr > all, then by priority, then by age",
                fix=f"delete {rule}, or give it a lower priority number than {by}",
            )

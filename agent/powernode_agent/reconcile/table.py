"""The rooms that share the nftables table, as the engine sees them: one plan, and what follows a pass.

What one of them needs of the other goes through here: the table is planned from the fragments of all,
port mappings are told what stands in it, and connections are ended only once it is known what stands.
"""

from __future__ import annotations

from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Phase
from powernode_agent.model.ruleset import Fragment
from powernode_agent.model.values import NetworkId
from powernode_agent.nftables.errors import NftablesError
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.nftables.script import Key
from powernode_agent.portmap.subsystem import PortMaps
from powernode_agent.reconcile.ledger import FIREWALL, PORTMAP, Failures, Ledger
from powernode_agent.reconcile.targets import Targets

PHASES: Final = {FIREWALL: Phase.FILTER, PORTMAP: Phase.NAT}
"""When each room's part of the table is applied."""


class Table:
    """What the engine does about the table."""

    def __init__(self, ruleset: Ruleset, portmaps: PortMaps) -> None:
        self._ruleset = ruleset
        self._portmaps = portmaps

    def plan(self, targets: Targets, *, remember: bool) -> list[Change]:
        """Changes of the table, then of what port mappings need beside it."""
        filters = {Key(FIREWALL, id_): each.fragment for id_, each in targets.filters.items()}
        mapped = {Key(PORTMAP, id_): each.fragment for id_, each in targets.mapped.items()}
        return [
            *self._ruleset.plan({**filters, **mapped}, PHASES, remember=remember),
            *self._portmaps.plan(targets.mapped, remember=remember),
        ]

    def mapping_stands(self, network_id: NetworkId) -> Fragment | None:
        """The port mappings of a network that stand."""
        return self._ruleset.standing(Key(PORTMAP, network_id))

    async def end_stale_connections(self, targets: Targets) -> Failures:
        """Those that a change of port mappings left behind, once it is known what stands."""
        if self._ruleset.known:
            try:
                await self._portmaps.after_applied(targets.mapped, self.mapping_stands)
            except AgentError as error:
                return {(PORTMAP, id_): error for id_ in targets.mapped}
        return {}

    def seal_due(self) -> float | None:
        """When the table wants to be sealed, by the monotonic clock; None: not at all."""
        return self._ruleset.seal_due()

    async def rest(self, now: float, ledger: Ledger) -> None:
        """After a pass: tell whether others are watched, and note what the table looks like once it
        rests; a failure of that costs the next start a write."""
        if self._ruleset.unheard is None:
            ledger.clear("nftables")
        else:
            ledger.record("nftables", None, self._ruleset.unheard)
        due = self._ruleset.seal_due()
        if due is None or now < due:
            return
        try:
            await self._ruleset.seal()
        except NftablesError as error:
            ledger.record("store", None, error)
        else:
            ledger.clear("store")

"""The status of this node, put together from what the rooms last saw.

It measures nothing itself: everything in it was observed by a pass or a probe, and carries the time.
Whoever asks gets the same tree: the command line, the platform, the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from powernode_agent.daemon.firewalls import shadows
from powernode_agent.daemon.intake import Intake
from powernode_agent.daemon.mappings import MappingConditions
from powernode_agent.health.conditions import conditions_of
from powernode_agent.health.evaluate import Diagnosis, evaluate
from powernode_agent.health.keys import KnownKeys, follow_keys
from powernode_agent.model.status import AgentStatus, NodeStatus, Result, SubsystemOutcome
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.paths.prober import Prober
from powernode_agent.platform.source import Away, LinkState, describe
from powernode_agent.reconcile.engine import Engine
from powernode_agent.reconcile.rooms import Times
from powernode_agent.report.build import Observations, Revisions, build_status
from powernode_agent.report.endpoints import InterfaceAddress, endpoint_candidates
from powernode_agent.report.warnings import with_warnings

IFA_F_TEMPORARY: Final = 0x01
IFA_F_DADFAILED: Final = 0x08
IFA_F_DEPRECATED: Final = 0x20
IFA_F_TENTATIVE: Final = 0x40
"""linux/if_addr.h."""


@dataclass(frozen=True, slots=True)
class Self:
    """What this daemon is called. `started_at` in seconds since the epoch."""

    version: str
    kernel_release: str
    started_at: float
    node_id: Callable[[], str]
    node_name: str


class Board:
    """Builds the status; `link_state` is told by the source. `patience` multiplies how long a finding
    has to last before it is told."""

    def __init__(
        self,
        itself: Self,
        engine: Engine,
        intake: Intake,
        netlink: Netlink,
        prober: Prober,
        links: Callable[[], Observations],
        times: Times,
        patience: float = 1.0,
    ) -> None:
        self._itself = itself
        self._engine = engine
        self._intake = intake
        self._netlink = netlink
        self._prober = prober
        self._observations = links
        self._times = times
        self._mappings = MappingConditions()
        self._patience = patience
        self._keys: KnownKeys = {}
        self.diagnosis = Diagnosis()
        """Of the last status."""
        self.link_state: LinkState | None = None
        self.purged_at: float | None = None
        """Seconds since the epoch; None: not purged."""

    def status(self) -> NodeStatus:
        """The status now."""
        engine, itself = self._engine, self._itself
        wall, monotonic = self._times.wall(), self._times.monotonic()
        done = engine.ledger.applications
        status = build_status(
            at=wall,
            agent=AgentStatus(
                itself.version,
                itself.kernel_release,
                itself.started_at,
                engine.ledger.drift_repaired,
            ),
            node_id=itself.node_id(),
            node_name=itself.node_name,
            platform="not connected yet"
            if self.link_state is None
            else describe(self.link_state, monotonic),
            state=engine.state,
            revisions=Revisions(
                done.applied, done.applied_at, done.applied_in, self._intake.rejected
            ),
            seen=self._observations(),
            outcomes=(*self._own_outcomes(wall), *engine.ledger.listed()),
            endpoint_candidates=endpoint_candidates(engine.state, self._addresses()),
            platform_away_since=self.link_state.since.unix
            if isinstance(self.link_state, Away)
            else None,
        )
        status, self._keys = follow_keys(status, self._keys)
        conditions = (
            *conditions_of(status, wall),
            *shadows(engine.filters),
            *self._mappings.conditions(engine.state, engine.clashes),
        )
        self.diagnosis = evaluate(conditions, self.diagnosis.memory, wall, self._patience)
        return with_warnings(status, self.diagnosis.warnings())

    def _own_outcomes(self, wall: float) -> Iterable[SubsystemOutcome]:
        """The store and the prober belong to the node, not to a network."""
        error = self._intake.store_error
        if error is not None:
            yield SubsystemOutcome(
                "store", None, Result.ERROR, str(error), self._intake.store_error_since
            )
        if self.purged_at is not None:
            yield SubsystemOutcome(
                "purge",
                None,
                Result.ERROR,
                "this node was purged and leaves the kernel alone until it is started again; "
                "systemctl restart powernode-agent",
                self.purged_at,
            )
        if not self._prober.measuring:
            yield SubsystemOutcome(
                "paths", None, Result.NOT_MEASURED, "peers are not probed", self._itself.started_at
            )

    def _addresses(self) -> Iterable[InterfaceAddress]:
        for index, link in self._netlink.links().items():
            for found in self._netlink.addresses(index):
                # Scope is not kept apart: report.endpoints knows link-local and loopback by value.
                yield InterfaceAddress(
                    interface=link.name,
                    address=found.address,
                    deprecated=bool(found.flags & IFA_F_DEPRECATED),
                    # Bit 0 means "secondary" for IPv4, and a secondary address is as good as any.
                    temporary=isinstance(found.address, IPv6Address)
                    and bool(found.flags & IFA_F_TEMPORARY),
                    tentative=bool(found.flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED)),
                )

"""What came of the work: outcomes by room and network, the revision that stands, repaired drift.

Outcomes are sticky: an error stays until the same room succeeds for the same network, and what was not
tried says nothing. Drift is what was repaired while the targets were those that had once been reached:
the agent's own retries are not drift, and neither is anything a new revision asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.change import Change
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.status import SubsystemOutcome
from powernode_agent.model.values import NetworkId, Revision
from powernode_agent.reconcile.targets import Targets
from powernode_agent.report.outcomes import Outcomes

log = structlog.get_logger()

Failures = dict[tuple[str, NetworkId | None], AgentError]
"""By room and network; None: no network of the state, or the whole node."""

FIREWALL = "firewall"
PORTMAP = "portmap"
ROUTING = "routing"
VIRTUAL_IP = "virtual_ip"
FLANNEL = "flannel"
ROOMS = ("wireguard", "links", "keys", FIREWALL, PORTMAP, ROUTING, VIRTUAL_IP, FLANNEL)


@dataclass(frozen=True, slots=True)
class Applications:
    """Which revision stands. Times: wall clock, and seconds from arrival to the last write."""

    accepted: Revision | None = None
    applied: Revision | None = None
    applied_at: float | None = None
    applied_in: float | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A state to work towards, and when it came (monotonic, in seconds)."""

    state: DesiredState
    arrived_at: float


class Ledger:
    """Kept by the engine, read by the board. `wall` gives seconds since the epoch."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._reached: dict[NetworkId, tuple[object, ...]] = {}
        self._applied: DesiredState | None = None
        self._outcomes = Outcomes()
        self._failures: Failures = {}
        self.applications = Applications()
        self.drift_repaired = 0

    def listed(self) -> tuple[SubsystemOutcome, ...]:
        """All outcomes, in a stable order."""
        return self._outcomes.listed()

    def failing(self, room: str) -> Mapping[NetworkId, AgentError]:
        """What a room's work on each network failed with in the last pass."""
        return {id_: error for (of, id_), error in self._failures.items() if of == room and id_}

    def accepted(self, revision: Revision) -> None:
        """A state of this revision is in force."""
        before = self.applications
        self.applications = Applications(
            revision, before.applied, before.applied_at, before.applied_in
        )

    def count_drift(self, done: Iterable[Change], targets: Targets) -> Mapping[str, int]:
        """How many of the things that were done put right what others had changed, by room."""
        drift: dict[str, int] = {}
        for change in done:
            if change.network is None:
                continue
            if self._reached.get(change.network) == targets.of(change.network):
                drift[change.subsystem] = drift.get(change.subsystem, 0) + len(change.lines)
        self.drift_repaired += sum(drift.values())
        return drift

    def count_repaired(self, drift: Mapping[str, int], room: str, lines: int) -> Mapping[str, int]:
        """`drift`, and what a room put right by a task of its own."""
        self.drift_repaired += lines
        return {**drift, room: lines} if lines else drift

    def conclude(
        self,
        task: Task,
        failures: Failures,
        untried: frozenset[tuple[str, NetworkId | None]],
        targets: Targets,
        carrying: Mapping[NetworkId, Carrying],
        now: float,
    ) -> bool:
        """The end of a pass. `untried`: rooms and networks with steps that were left for later.

        True when the whole state stands for the first time.
        """
        state = task.state
        self._failures = failures
        everything = True
        for network_id, entry in state.networks.items():
            whole = True
            for room in ROOMS:
                if not _asked_for(room, entry):
                    continue  # what nobody asked for is neither well nor ill
                error = failures.get((room, network_id))
                if error is not None or (room, network_id) not in untried:
                    self.record(room, network_id, error)
                whole = whole and error is None and (room, network_id) not in untried
            self.record("paths", network_id, _refusals(carrying.get(network_id), network_id))
            everything = everything and whole
            if whole:
                self._reached[network_id] = targets.of(network_id)
        for gone in self._reached.keys() - state.networks.keys():
            del self._reached[gone]
        self._outcomes = self._outcomes.keep_networks(state.networks)
        self._conclude_leftovers(state, failures, untried)
        return everything and self._conclude_revision(task, now)

    def record(self, room: str, network: NetworkId | None, error: AgentError | None) -> None:
        """A room's work on a network failed with `error`, or succeeded."""
        before = self._outcomes
        self._outcomes = before.record(room, network, error, self._wall())
        if self._outcomes is before or error is None:
            return
        # One failure of what all networks have in common is one line of the log.
        if not any(o.subsystem == room and o.message == str(error) for o in before.errors):
            log.warning("reconcile.failed", subsystem=room, network=network, error=str(error))

    def clear(self, room: str) -> None:
        """The whole node's step of that name succeeded; nothing is said of one that never failed."""
        if (room, None) in self._outcomes.by_key:
            self.record(room, None, None)

    def _conclude_leftovers(
        self,
        state: DesiredState,
        failures: Failures,
        untried: frozenset[tuple[str, NetworkId | None]],
    ) -> None:
        # What port mappings need of the host is of no network either, and has its own name.
        error = failures.get((PORTMAP, None))
        if error is not None:
            self.record(PORTMAP, None, error)
        elif (PORTMAP, None) not in untried:
            self.clear(PORTMAP)
        strays = [
            error
            for (room, of), error in failures.items()
            if of not in state.networks and room != PORTMAP
        ]
        if strays:
            self.record("leftovers", None, strays[0])
        elif all(of in state.networks or room == PORTMAP for room, of in untried):
            self.clear("leftovers")

    def _conclude_revision(self, task: Task, now: float) -> bool:
        """A path that nobody may carry is refused for good: the revision stands as permitted."""
        broken = [outcome for outcome in self._outcomes.errors if outcome.subsystem != "paths"]
        if broken or self._applied is task.state:
            return False
        self._applied = task.state
        revision, seconds = task.state.revision, now - task.arrived_at
        self.applications = Applications(
            self.applications.accepted, revision, self._wall(), seconds
        )
        log.info("reconcile.applied", revision=revision, milliseconds=round(seconds * 1000, 1))
        return True


def _asked_for(room: str, entry: NetworkState) -> bool:
    return {
        PORTMAP: bool(entry.port_mappings),
        ROUTING: entry.bgp is not None,
        VIRTUAL_IP: bool(entry.virtual_ips),
        FLANNEL: entry.flannel is not None,
    }.get(room, True)


def _refusals(carrying: Carrying | None, network_id: NetworkId) -> AgentError | None:
    if carrying is None or not carrying.refused:
        return None
    # Each sentence says what is to be done: it is something else for each kind of refusal.
    return AgentError("; ".join(carrying.refused), which=f"network {network_id}")

"""The room of iBGP: what FRR should run follows desired state, by a task of its own.

Entering a large configuration takes seconds, and a daemon that hangs takes ten to be given up; neither
may keep prefixes on a dead hub, so passes never wait for FRR. They say what is wanted (`want`), and
read how far it has come (`failures`, `pending`). This task is the only one that writes to FRR: it
gathers what comes in a burst, tries again after a failure, and looks now and then whether FRR still
runs what it should: somebody may have entered something by hand, or restarted it. A daemon that hangs
is told nothing, and when that has lasted, it is started anew. Sessions are read beside all that, by
whether bgpd answers and not by whether it took what it was told: one line that is refused does not
make anybody blind.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.frr.difference import commands_of, difference, same
from powernode_agent.frr.errors import FrrHangsError
from powernode_agent.frr.presence import HANGS_AFTER, Presence
from powernode_agent.frr.service import FrrService
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.frr_config import FrrConfig
from powernode_agent.model.status import BgpSession, BgpState
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.routing.blame import naming_policies
from powernode_agent.routing.compile import compile_frr
from powernode_agent.routing.measuring import Measuring
from powernode_agent.routing.sessions import Evidence, sessions_of

log = structlog.get_logger()

GATHER: Final = 0.005
"""Seconds to wait for more of the same burst of changes."""
MEASURE_EVERY: Final = 1.0
LOOK_EVERY: Final = 5.0
"""Seconds between looks at what FRR runs; one costs milliseconds."""
CALM: Final = 1.0
"""Seconds between deaths of daemons after which the next one is answered at once; else at the next look
at the clock, which is within a second."""
SILENT: Final = 2
"""Waits for a daemon's answer in vain after which it is told nothing more until it gives one: that
would only be waited for in vain too, and longer."""
HUNG_ONCE: Final = 600.0
"""Seconds after which it no longer counts that a daemon was started anew for hanging. Until then it is
given twice the time, and twice again: one that works that long must not be killed for ever."""
FIRST_RETRY: Final = 1.0
LAST_RETRY: Final = 30.0

Held = Callable[[], Collection[IPv6Address]]


class Routing:
    """`service` is FRR of this node, `run` the directory of its sockets; `held` gives the virtual IPs
    that are held now; `on_change` is told when something came of the work."""

    name: Final = "routing"

    def __init__(
        self,
        service: FrrService,
        run: Path,
        held: Held,
        monotonic: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self._service = service
        self._held = held
        self._monotonic = monotonic
        self._on_change = on_change
        self._presence = Presence(run, self._gone, self._silent)
        self._measuring = Measuring(run)
        self._wake = asyncio.Event()
        self._measure_now = asyncio.Event()
        self._state: DesiredState | None = None
        self._compiled: tuple[DesiredState, FrrConfig] | None = None
        self._standing: DesiredState | None = None
        """The state whose configuration FRR runs."""
        self._stood: DesiredState | None = None
        """The state whose configuration it ran last, whatever happened since."""
        self._hanging: dict[str, int] = {}
        """Daemons to be started anew, and how long they were waited for."""
        self._revived: dict[str, tuple[float, int]] = {}
        """When daemons were last started anew for hanging, and how often."""
        self._repaired = 0
        self._error: AgentError | None = None
        self._retry = FIRST_RETRY
        self._looked_at = self._gone_at = -math.inf

    # What is wanted, and how far it has come.

    def want(self, state: DesiredState | None, *, look: bool = False) -> None:
        """FRR should follow this state; None: leave it alone. `look`: see at once whether it does."""
        if state is not self._state or look:
            self._state = state
            self._wake.set()

    def failures(self, state: DesiredState) -> Mapping[NetworkId, AgentError]:
        """Why the iBGP of these networks is not as wanted."""
        error = self._error
        return {} if error is None else dict.fromkeys(_of_ibgp(state), error)

    def pending(self, state: DesiredState) -> frozenset[NetworkId]:
        """Networks whose iBGP is still being brought about."""
        return frozenset() if self._standing is state else _of_ibgp(state)

    def sessions(
        self, state: DesiredState, evidence: Mapping[tuple[NetworkId, PeerId], Evidence]
    ) -> Mapping[tuple[NetworkId, PeerId], BgpSession]:
        """The session with each neighbour, as last read."""
        return sessions_of(state.networks, self._measuring.readings, evidence)

    def is_down(self, neighbor: IPv6Address) -> bool:
        """Whether the session with a neighbour was read and is not established."""
        reading = self._measuring.readings.get(neighbor)
        return reading is not None and reading.state is not BgpState.ESTABLISHED

    def take_repaired(self) -> int:
        """How many lines of FRR's configuration were put right since this was last asked, although
        nothing else was wanted."""
        repaired, self._repaired = self._repaired, 0
        return repaired

    def connecting(self, neighbor: IPv6Address) -> Evidence:
        """What trying the port of a neighbour gave."""
        return Evidence(connecting=self._measuring.connecting.get(neighbor))

    def announced(self, address: IPv6Address) -> bool | None:
        """Whether a virtual IP held here is announced; None: not measured."""
        return self._measuring.announced.get(address)

    async def foresee(self, state: DesiredState) -> list[Change]:
        """What FRR would be told; for `plan`. Raises `AgentError`."""
        wanted = await asyncio.to_thread(compile_frr, state)
        if not wanted.contexts:
            return []
        try:
            running = await self._service.running()
        except AgentError:
            running = FrrConfig()  # it would be started first
        if same(running, wanted):
            return []

        async def nothing() -> None:
            """Carried out by the task alone."""

        lines = tuple(commands_of(difference(running, wanted)))
        return [Change(self.name, None, Phase.ROUTING, Verb.CHANGE, lines, nothing)]

    # The work.

    async def run(self) -> None:
        """Until cancelled. What FRR runs stays."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow(), name="routing: follow")
                group.create_task(self._read_sessions(), name="routing: sessions")
        finally:
            await self._presence.close()
            await self._measuring.forget()

    async def _follow(self) -> None:
        due = False
        while True:
            # What is due while a daemon is silent waits for its answer.
            retrying = self._error is not None and not due
            if await _set_within(self._wake, self._retry if retrying else MEASURE_EVERY):
                await asyncio.sleep(GATHER)
            now = self._monotonic()
            due = due or self._wake.is_set() or self._error is not None
            due = due or now - self._looked_at >= LOOK_EVERY
            self._wake.clear()
            if due and (self._hanging or not self._presence.silent(SILENT)):
                due = False
                self._looked_at = now
                await self._bring()

    async def _bring(self) -> None:
        state = self._state
        if state is None:
            return
        before = (self._standing, self._error)
        try:
            if self._compiled is None or self._compiled[0] is not state:
                self._compiled = (state, await asyncio.to_thread(compile_frr, state))
            wanted = self._compiled[1]
            if wanted.contexts:
                await self._presence.watch(starting=True)
                await self._revive()
            written = await self._service.bring(wanted)
            if wanted.contexts:
                await self._presence.watch()
            else:
                await self._presence.close()
        except AgentError as error:
            self._retry = min(2 * self._retry, LAST_RETRY) if self._error else FIRST_RETRY
            self._error, self._standing = naming_policies(error, state), None
        else:
            if written.steps:
                repaired = self._stood is state
                self._repaired += len(written.steps) if repaired else 0
                log.info("frr.written", lines=len(written.steps), repaired=repaired)
                self._measure_now.set()
            self._error, self._standing, self._retry = None, state, FIRST_RETRY
            self._stood = state
        if before != (self._standing, self._error):
            self._measure_now.set()
            self._on_change()

    async def _revive(self) -> None:
        """Start the daemons anew that hang. Raises `AgentError`."""
        silent = self._presence.silent(SILENT)
        hanging = {daemon: waits for daemon, waits in self._hanging.items() if daemon in silent}
        self._hanging = {}
        if not hanging:
            return
        names = " and ".join(hanging)
        self._error, self._standing = _hangs(names, max(hanging.values())), None
        self._on_change()
        now = self._monotonic()
        for daemon, waits in hanging.items():
            log.info("frr.daemon_hangs", daemon=daemon, silent_s=waits)
            self._revived[daemon] = (now, self._revivals(daemon) + 1)
        started = await self._service.revive(hanging)
        log.info("frr.started_anew", daemons=" ".join(started))

    async def _read_sessions(self) -> None:
        while True:
            await _set_within(self._measure_now, MEASURE_EVERY)
            self._measure_now.clear()
            await self._measure(self._monotonic())

    async def _measure(self, now: float) -> None:
        state = self._state
        known = bool(self._measuring.readings)
        if state is None or not _of_ibgp(state):
            await self._measuring.forget()
            return
        try:
            changed = await self._measuring.look(state, self._held(), now)
        except AgentError:
            # Of a daemon that went away or hangs; that is noticed elsewhere, and told there.
            changed = known
        if changed:
            self._on_change()

    def _silent(self, daemon: str, waits: int) -> None:
        patience = HANGS_AFTER * 2 ** self._revivals(daemon)
        if waits >= patience and self._state is not None and _of_ibgp(self._state):
            self._hanging[daemon] = waits
            self._wake.set()

    def _revivals(self, daemon: str) -> int:
        """How often it was lately started anew for hanging."""
        at, count = self._revived.get(daemon, (-math.inf, 0))
        return count if self._monotonic() - at < HUNG_ONCE else 0

    def _gone(self, daemon: str) -> None:
        if self._state is not None and _of_ibgp(self._state):
            log.info("frr.daemon_gone", daemon=daemon)
            self._looked_at = -math.inf
            # One that ends as often as it is started is not started as often as it ends.
            now = self._monotonic()
            if now - self._gone_at >= CALM:
                self._wake.set()
            self._gone_at = now


def _of_ibgp(state: DesiredState) -> frozenset[NetworkId]:
    return frozenset(id_ for id_, entry in state.networks.items() if entry.bgp is not None)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def _hangs(names: str, waits: int) -> FrrHangsError:
    return FrrHangsError(
        "an FRR daemon hangs",
        which=names,
        value=f"no answer in {waits} s",
        expected="one at once",
        action="the agent starts it anew; why it hung may stand in its log: journalctl -t "
        + names.replace(" and ", " -t "),
    )

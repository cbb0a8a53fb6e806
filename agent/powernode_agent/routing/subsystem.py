"""The room of iBGP: what FRR should run follows desired state, by a task of its own.

Entering a large configuration takes seconds, and a daemon that hangs takes ten to be given up; neither
may keep prefixes on a dead hub, so passes never wait for FRR. They say what is wanted (`want`), and
read how far it has come (`failures`, `pending`). This task is the only one that writes to FRR: it
gathers what comes in a burst, tries again after a failure, and looks now and then whether FRR still
runs what it should: somebody may have entered something by hand, or restarted it.
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
from powernode_agent.frr.presence import Presence
from powernode_agent.frr.service import FrrService
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.frr_config import FrrConfig
from powernode_agent.model.status import BgpSession
from powernode_agent.model.values import NetworkId, PeerId
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
        self._presence = Presence(run, self._gone)
        self._measuring = Measuring(run)
        self._wake = asyncio.Event()
        self._state: DesiredState | None = None
        self._compiled: tuple[DesiredState, FrrConfig] | None = None
        self._standing: DesiredState | None = None
        """The state whose configuration FRR runs."""
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
        measured_at = self._monotonic()
        try:
            while True:
                timeout = self._retry if self._error is not None else MEASURE_EVERY
                try:
                    async with asyncio.timeout(timeout):
                        await self._wake.wait()
                    await asyncio.sleep(GATHER)
                except TimeoutError:
                    pass
                now = self._monotonic()
                asked = self._wake.is_set()
                self._wake.clear()
                if asked or self._error is not None or now - self._looked_at >= LOOK_EVERY:
                    self._looked_at = now
                    await self._bring()
                if now - measured_at >= MEASURE_EVERY or asked:
                    measured_at = now
                    await self._measure(now)
        finally:
            await self._presence.close()
            await self._measuring.forget()

    async def _bring(self) -> None:
        state = self._state
        if state is None:
            return
        before = (self._standing, self._error)
        try:
            if self._compiled is None or self._compiled[0] is not state:
                self._compiled = (state, await asyncio.to_thread(compile_frr, state))
            wanted = self._compiled[1]
            written = await self._service.bring(wanted)
            if wanted.contexts:
                await self._presence.watch()
        except AgentError as error:
            self._retry = min(2 * self._retry, LAST_RETRY) if self._error else FIRST_RETRY
            self._error, self._standing = error, None
        else:
            if written.steps:
                repaired = self._standing is state
                log.info("frr.written", lines=len(written.steps), repaired=repaired)
            self._error, self._standing, self._retry = None, state, FIRST_RETRY
        if before != (self._standing, self._error):
            self._on_change()

    async def _measure(self, now: float) -> None:
        state = self._standing
        if state is None or not _of_ibgp(state):
            await self._measuring.forget()
            return
        try:
            changed = await self._measuring.look(state, self._held(), now)
        except AgentError:
            # A daemon that went away; `_gone` has it brought back.
            changed = True
        if changed:
            self._on_change()

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

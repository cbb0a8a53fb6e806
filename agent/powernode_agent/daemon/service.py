"""`powernode-agent run`: the daemon from its first line to its last.

Order of start: the control socket first (its lock makes sure that there is one daemon), then what the
kernel says, then the last-known-good state, then the platform. Order of stop: whatever was under way is
left as it is. SIGTERM changes no packet; the data plane stands until the next start.

systemd hears READY=1 once every desired address can be bound and k3s's file stands, because what is
ordered after us binds them (field notes) and k3s reads it, and a sign of life after good passes only.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Final

import structlog

from powernode_agent import __version__
from powernode_agent.config import LogFormat, Settings
from powernode_agent.control.protocol import JSON
from powernode_agent.control.server import ControlServer, Handler
from powernode_agent.daemon.assembly import Parts, assemble
from powernode_agent.daemon.board import Board, Self
from powernode_agent.daemon.control_traffic import ControlTraffic
from powernode_agent.daemon.enrolling import enrol_identity, enrolled
from powernode_agent.daemon.firewalls import measure
from powernode_agent.daemon.flannels import k3s_misses, measure_flannel
from powernode_agent.daemon.handlers import handlers
from powernode_agent.daemon.identities import NotedIdentities
from powernode_agent.daemon.intake import Intake
from powernode_agent.daemon.link import PlatformLink, source_of
from powernode_agent.daemon.routes import Underneath, evidence, held, routes_of, with_announcements
from powernode_agent.daemon.teardown import tear_down
from powernode_agent.errors import AgentError
from powernode_agent.health.evaluate import Diagnosis
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import NodeStatus
from powernode_agent.model.values import LINK_PREFIX, NetworkId, PeerId
from powernode_agent.netlink.records import (
    AddressChanged,
    Event,
    LinkChanged,
    Resynced,
    RouteChanged,
    UnderlayChanged,
)
from powernode_agent.nftables.errors import NftablesError
from powernode_agent.notify import Notifier
from powernode_agent.observability.logs import configure_logs
from powernode_agent.observability.metrics import Metrics
from powernode_agent.observability.metrics_server import MetricsServer
from powernode_agent.paths.echo_socket import ProberError
from powernode_agent.paths.prober import Prober
from powernode_agent.platform.source import Connected, LinkState
from powernode_agent.reconcile.engine import Engine, Pass
from powernode_agent.reconcile.ledger import PORTMAP
from powernode_agent.reconcile.rooms import Rooms, Times
from powernode_agent.reconcile.triggers import Trigger, foremost
from powernode_agent.report.build import Observations
from powernode_agent.routing.subsystem import Routing
from powernode_agent.wire.file_format import parse_state
from powernode_agent.wire.replica import Replica

log = structlog.get_logger()

_TRIGGER_OF: Final[Mapping[type[Event], Trigger]] = {
    AddressChanged: Trigger.NETLINK,
    RouteChanged: Trigger.NETLINK,
    UnderlayChanged: Trigger.UNDERLAY,
    Resynced: Trigger.SAFETY,
}


def run(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0 then. Raises `AgentError` if it cannot start."""
    configure_logs(settings.log.level, console=settings.log.format is LogFormat.CONSOLE)
    try:
        asyncio.run(_run(settings))
    except BaseExceptionGroup as group:
        # What ends a task ends the daemon; said as what it is, where that is known.
        known, unknown = group.split(AgentError)
        if known is None or unknown is not None:
            raise
        raise _first(known) from group
    return 0


def _first(group: BaseExceptionGroup[AgentError]) -> AgentError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # Until there is something to reconcile; without a handler SIGHUP would end the process.
    loop.add_signal_handler(signal.SIGHUP, log.info, "daemon.still_starting")
    async with AsyncExitStack() as stack:
        verbs: dict[str, Handler] = {}
        control = ControlServer(settings.directories.control_socket, verbs)
        await control.start()
        stack.push_async_callback(control.close)
        parts = await assemble(settings, stack)
        identities = NotedIdentities(parts.identities)
        service = Service(settings, parts, identities, source_of(settings, identities))
        verbs.update(handlers(service))
        await service.start(stack)
        loop.add_signal_handler(signal.SIGHUP, service.engine.trigger, Trigger.OPERATOR)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in service.work().items()]
            await stop.wait()
            log.info("daemon.stopping")
            service.notifier.stopping()
            for task in tasks:
                task.cancel()
        await service.save()
    log.info("daemon.stopped")


class Service:
    """The running daemon; also what the command line's handlers see of it."""

    def __init__(
        self, settings: Settings, parts: Parts, identities: NotedIdentities, link: PlatformLink
    ) -> None:
        self._settings = settings
        self._parts = parts
        self._identities = identities
        self._link = link
        self._ready = False
        self._purged = False
        self._last_sign = 0.0
        self._said = ""
        self._prober = Prober(time.monotonic, self._liveness_changed)
        self.notifier = Notifier.from_environment(os.environ)
        self.metrics = Metrics(__version__)
        self.metrics.set_backend(parts.wireguard.backend_kind.value)
        times = Times(
            time.monotonic,
            time.time,
            settings.reconcile.poll_interval_ms / 1000,
            settings.reconcile.safety_interval_s,
        )
        self._routing = Routing(
            parts.frr,
            settings.frr.run,
            lambda: held(parts.virtual_ips.readings),
            time.monotonic,
            lambda: self.engine.trigger(Trigger.ROUTING),
        )
        rooms = Rooms(
            parts.wireguard,
            parts.links,
            parts.ruleset,
            parts.portmaps,
            parts.virtual_ips,
            self._routing,
            parts.flannel,
            self._prober,
            parts.netlink,
            parts.keyring,
        )
        self._control = ControlTraffic(self._endpoints, self._control_moved)
        self.engine = Engine(rooms, times, self._after_pass, lambda: self._control.addresses)
        enrolled(identities)
        self._intake = Intake(
            Replica(lambda: identities.node_id),
            parts.last_known_good,
            wall=time.time,
            on_accept=self._accepted,
            on_reject=self._rejected,
            on_link=self._link_changed,
            on_saved=self.engine.saved,
        )
        itself = Self(
            __version__,
            os.uname().release,
            time.time(),
            lambda: identities.node_id or "",
            settings.node.name,
        )
        self._board = Board(
            itself,
            self.engine,
            self._intake,
            parts.netlink,
            self._prober,
            self._observations,
            times,
            settings.health.patience,
        )

    async def start(self, stack: AsyncExitStack) -> None:
        """Everything up to the point where work can begin; `stack` undoes it. Raises `AgentError`."""
        self._parts.netlink.on_event(self._kernel_event)
        self._parts.watch.on_disturbed(lambda: self.engine.trigger(Trigger.RULESET))
        stack.callback(self._prober.close)
        try:
            self._prober.start()
        except ProberError as error:
            # Without probes the node still works, and the status says that nothing was measured.
            log.warning("prober.unavailable", error=str(error))
        listen = self._settings.metrics.listen
        if listen is not None:
            server = MetricsServer(listen.host, listen.port, self.metrics.render)
            await server.start()
            stack.push_async_callback(server.close)
        if self._link.reporter is not None:
            await self._control.look()
        self._intake.restore()
        log.info(
            "daemon.started",
            version=__version__,
            backend=self._parts.wireguard.backend_kind.value,
            source=self._link.words,
        )

    def work(self) -> dict[str, Coroutine[None, None, None]]:
        """What runs until the daemon stops, by name."""
        work = {
            "engine": self.engine.run(),
            "last-known-good": self._intake.keep_saved(),
            "source": self._link.source.run(self._intake),
            "routing": self._routing.run(),
        }
        if self._link.reporter is not None:
            work["reporter"] = self._link.reporter.run()
            work["control traffic"] = self._control.run()
        return work

    async def save(self) -> None:
        """Before the end: what was accepted and is not on the disk yet, and the table's seal."""
        await self._intake.save_now()
        if self._parts.ruleset.seal_due() is not None:
            try:
                await self._parts.ruleset.seal()
            except NftablesError as error:
                # The next start then writes the table once more, which costs no packet.
                log.info("nftables.not_sealed", error=str(error))

    # What the handlers ask for.

    def status(self) -> NodeStatus:
        return self._board.status()

    def diagnosis(self) -> tuple[NodeStatus, Diagnosis]:
        status = self._board.status()
        return status, self._board.diagnosis

    def now(self) -> float:
        return time.time()

    def read_state(self, text: str) -> DesiredState:
        return self._intake.preview(parse_state(text))

    @property
    def versions(self) -> tuple[str, str, str]:
        return __version__, os.uname().release, self._parts.wireguard.backend_kind.value

    async def enrol(self, token: str) -> Mapping[str, JSON]:
        return await enrol_identity(self._settings, self._identities, token)

    async def purge(self) -> list[str]:
        """Tear down; the daemon then leaves the kernel alone until it is started again."""
        self._purged = True
        self._board.purged_at = time.time()
        await self._intake.stop_saving()
        async with self.engine.halted():
            parts = self._parts
            return await tear_down(
                self._settings,
                parts.netlink,
                parts.ruleset,
                parts.portmaps,
                parts.frr,
                parts.flannel,
            )

    # What the rooms tell.

    def _accepted(self, state: DesiredState) -> None:
        if self._purged:
            log.info("revision.ignored_after_purge", revision=state.revision)
            return
        self.engine.accept(state)

    def _rejected(self) -> None:
        self.metrics.revision_rejected()
        self._publish()

    def _kernel_event(self, event: Event) -> None:
        if isinstance(event, LinkChanged):
            # A container that comes or goes is no reason to read every WireGuard device.
            ours = event.link.startswith(LINK_PREFIX)
            self.engine.trigger(Trigger.LINK if ours else Trigger.UNDERLAY)
        else:
            self.engine.trigger(_TRIGGER_OF[type(event)])

    def _control_moved(self) -> None:
        self.engine.trigger(Trigger.LIVENESS)

    def _endpoints(self) -> Iterator[str]:
        """All that the agent connects to, as "host:port"."""
        platform = self._settings.platform
        yield from (str(each) for each in (platform.address, platform.enrolment_address) if each)
        if self._identities.platform_address:
            yield self._identities.platform_address

    def _liveness_changed(self, peers: frozenset[tuple[NetworkId, PeerId]]) -> None:
        self.engine.trigger(Trigger.LIVENESS)

    def _link_changed(self, state: LinkState) -> None:
        self._board.link_state = state
        connected = isinstance(state, Connected)
        from_platform = self._link.reporter is not None
        if connected and self._link.reporter is not None:
            self._link.reporter.heard()
        self.metrics.set_platform_connected(connected if from_platform else None)
        self.engine.platform_speaks(connected and from_platform)
        self._control.look_again()
        self._publish()

    def _after_pass(self, done: Pass) -> None:
        writes: dict[str, int] = {}
        for change in done.applied.done:
            writes[change.subsystem] = writes.get(change.subsystem, 0) + len(change.lines)
        self.metrics.observe_pass(
            foremost(done.triggers).value,
            done.seconds,
            writes=writes,
            drift=done.drift,
            failed=bool(done.applied.failures) or not done.healthy,
        )
        if done.triggers == {Trigger.ROTATION} and not done.applied.done:
            return  # every few milliseconds, and nothing to tell
        status = self._publish()
        if done.healthy:
            self._sign_of_life()
        if not self._ready:
            self._say_whether_ready(status)

    def _say_whether_ready(self, status: NodeStatus) -> None:
        missing = self._missing()
        if missing:
            if missing != self._said:
                self._said = missing
                self.notifier.status(missing)
            return
        self._ready = True
        self.notifier.ready()
        self.notifier.status(f"revision {status.accepted_revision}")
        log.info("daemon.ready", revision=status.accepted_revision)

    def _publish(self) -> NodeStatus:
        status = self._board.status()
        self.metrics.set_status(status)
        self.metrics.set_certificate_expiry(self._identities.expires_at)
        if self._link.reporter is not None:
            self._link.reporter.publish(status)
        return status

    def _sign_of_life(self) -> None:
        interval = self.notifier.watchdog_interval
        now = time.monotonic()
        if interval is not None and now - self._last_sign >= interval / 4:
            self._last_sign = now
            self.notifier.watchdog()

    def _missing(self) -> str:
        """Which desired address cannot be bound yet, or what k3s would miss, as a sentence; empty:
        nothing is missing."""
        state = self.engine.state
        if state is None:
            return "no desired state yet"
        for network_id, entry in state.networks.items():
            found = self._parts.links.link(network_id)
            own = entry.network.interface
            standing = {address.ip for address in found.addresses} if found else set()
            for address in (own.address, own.overlay_ipv4):
                if address is not None and address not in standing:
                    return f"{address} of {entry.network} cannot be bound yet"
            if found is None or not found.up:
                return f"link {entry.network.link} of {entry.network} is not up yet"
        return k3s_misses(state, self._parts.flannel)

    def _observations(self) -> Observations:
        state = self.engine.state
        networks = () if state is None else tuple(state.networks)
        links = self._parts.links
        return Observations(
            devices=self.engine.devices(),
            missing_devices=frozenset(filter(self._parts.wireguard.absent, networks)),
            links={network: links.link(network) for network in networks},
            liveness=self._prober.readings(),
            carrying=self.engine.carrying,
            node_keys=self.engine.keys.made_here,
            liveness_epoch=time.time() - time.monotonic(),
            firewalls=measure(self.engine.filters, self._parts.ruleset),
            port_mappings={}
            if state is None
            else self._parts.portmaps.statuses(
                state,
                self.engine.mapped,
                self.engine.mapping_stands,
                self.engine.ledger.failing(PORTMAP),
            ),
            virtual_ips=with_announcements(self._parts.virtual_ips.readings, self._routing),
            bgp_sessions={}
            if state is None
            else self._routing.sessions(
                state,
                evidence(
                    state,
                    Underneath(
                        self._prober.readings(),
                        self.engine.devices(),
                        routes_of(self._parts.netlink),
                        time.time(),
                    ),
                    self._routing,
                ),
            ),
            flannel=measure_flannel(state, self._parts.flannel, self.engine.ledger),
        )

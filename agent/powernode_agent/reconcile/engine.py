"""The loop that makes the kernel agree with the desired state, and knows how well it does.

What it guarantees: no kernel write before a desired state was accepted; one pass at a time; a pass
works from the whole state and the last observations, so any number of lost or merged triggers ends in
the same place; an unchanged state writes nothing. The rooms do the work; what one needs of another goes
through here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from powernode_agent.errors import AgentError
from powernode_agent.firewall.compile import Filter
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.change import Change, Phase, in_order, step_of
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.network import NodeKey
from powernode_agent.model.ruleset import Fragment
from powernode_agent.model.status import WireguardDevice
from powernode_agent.model.values import Address, NetworkId, PublicKey
from powernode_agent.paths.probing import probe_targets
from powernode_agent.portmap.clashes import Clashes
from powernode_agent.portmap.compile import MappedNetwork
from powernode_agent.reconcile.aim import Aim
from powernode_agent.reconcile.apply import Applied, carry_out
from powernode_agent.reconcile.keys import Keys
from powernode_agent.reconcile.ledger import ROUTING, Failures, Ledger, Task
from powernode_agent.reconcile.observer import EVERYTHING, Observer, saw_enough
from powernode_agent.reconcile.retry import FIRST, Retries
from powernode_agent.reconcile.rooms import Rooms, Times
from powernode_agent.reconcile.schedule import Schedule
from powernode_agent.reconcile.table import Table
from powernode_agent.reconcile.targets import Targets
from powernode_agent.reconcile.triggers import Inbox, Trigger


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass did, for metrics and tests."""

    triggers: frozenset[Trigger]
    seconds: float
    applied: Applied
    drift: Mapping[str, int]
    """What was repaired, by room."""
    healthy: bool
    """Everything that should have been observed was."""


class Engine:
    """Owns the desired state in force and the passes that apply it."""

    def __init__(
        self,
        rooms: Rooms,
        times: Times,
        after_pass: Callable[[Pass], None],
        control: Callable[[], frozenset[Address]] = frozenset,
    ) -> None:
        """`control` gives the addresses of the platform, which no tunnel may ever swallow."""
        self._rooms = rooms
        self._times = times
        self._after_pass = after_pass
        self._inbox = Inbox(times.monotonic)
        self._lock = asyncio.Lock()
        self._retries = Retries()
        self._schedule = Schedule(times.poll_interval, times.safety_interval, times.monotonic())
        self._aim = Aim(rooms, self._schedule, control, times.monotonic)
        self._observer = Observer(
            rooms.wireguard,
            rooms.links,
            rooms.ruleset,
            rooms.portmaps,
            rooms.flannel,
            self._schedule,
            times.monotonic,
        )
        self._table = Table(rooms.ruleset, rooms.portmaps)
        self._task: Task | None = None
        self._probed: DesiredState | None = None
        """The state whose peers the prober was given."""
        self._platform_speaks = False
        self._paused_until = 0.0
        self._stands: DesiredState | None = None
        self._saved: DesiredState | None = None
        """The states that stood last and that the disk has: a key superseded in both may go."""
        self._thinned: DesiredState | None = None
        self.ledger = Ledger(times.wall)

    # What the daemon tells it, and asks.

    @property
    def state(self) -> DesiredState | None:
        """The state in force; None before the first, and after a purge."""
        return None if self._task is None else self._task.state

    def accept(self, state: DesiredState) -> None:
        """Work towards `state` from now on; its keys and targets are made in the next pass."""
        self._task = Task(state, self._times.monotonic())
        self.ledger.accepted(state.revision)
        self._retries.clear()
        self._inbox.put(Trigger.REVISION)

    def saved(self, state: DesiredState) -> None:
        """`state` is on the disk: a restart would come up with it."""
        self._saved = state

    def trigger(self, trigger: Trigger) -> None:
        """Ask for a pass."""
        if trigger is Trigger.UNDERLAY:
            # Looked at when it is due, not at each of a thousand foreign routes.
            self._schedule.underlay_changed()
        self._inbox.put(trigger)

    def platform_speaks(self, speaks: bool) -> None:
        """Whether the platform can be heard: it then decides about hubs before this node does."""
        if speaks != self._platform_speaks:
            self._platform_speaks = speaks
            self._inbox.put(Trigger.LIVENESS)

    @property
    def keys(self) -> Keys:
        """The keys of the state in force, as far as a pass has made them."""
        return self._aim.keys

    @property
    def filters(self) -> Mapping[NetworkId, Filter]:
        """The filters in force, or on their way."""
        return self._aim.targets.filters

    @property
    def mapped(self) -> Mapping[NetworkId, MappedNetwork]:
        """The port mappings in force, or on their way."""
        return self._aim.targets.mapped

    @property
    def clashes(self) -> Clashes:
        """What port mappings and services of this host have against each other."""
        return self._rooms.portmaps.clashes

    def mapping_stands(self, network_id: NetworkId) -> Fragment | None:
        """The port mappings of a network that stand in the table."""
        return self._table.mapping_stands(network_id)

    @property
    def carrying(self) -> Mapping[NetworkId, Carrying]:
        """The decisions of `paths` in force."""
        return self._aim.carrying

    def devices(self) -> dict[NetworkId, WireguardDevice | None]:
        """The last observation of every network's WireGuard device; None: not there or not read."""
        networks = {} if self.state is None else self.state.networks
        return {network: self._rooms.wireguard.device(network) for network in networks}

    async def run(self) -> None:
        """Pass after pass, until cancelled."""
        while True:
            triggers = await self._inbox.take(self._next_look())
            # An underlay that changed is looked at in its own time; the rest of a pass is cheap.
            triggers -= {Trigger.UNDERLAY}
            triggers |= self._schedule.due(self._times.monotonic(), *self._wishes())
            if triggers:
                await self.reconcile(triggers)

    async def reconcile(self, triggers: frozenset[Trigger]) -> None:
        """One pass now; one that does nothing before a state was accepted."""
        async with self._lock:
            started = self._times.monotonic()
            done = Pass(triggers, 0.0, Applied((), {}, ()), {}, True)
            if self._task is not None:
                try:
                    done = await self._pass(self._task, triggers)
                except AgentError as error:
                    # Of no network, as when the kernel's tables cannot be read: the next pass tries
                    # again. Ending here would end the daemon, and restart it into the same error.
                    done = replace(done, healthy=False)
                    self.ledger.record("reconcile", None, error)
                    # What was due still is: without a pause it would be tried as fast as it fails.
                    self._paused_until = self._times.monotonic() + FIRST
                else:
                    self.ledger.clear("reconcile")
            ended = self._times.monotonic()
            if Trigger.ROTATION in triggers:
                self._schedule.rotation_was_read(started, ended)
        self._after_pass(replace(done, seconds=ended - started))

    @asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """No pass from here on, also after the block, until another state is accepted."""
        async with self._lock:
            self._task = None
            self._aim.forget()
            self._probed = None
            self._stands = self._saved = self._thinned = None
            self._rooms.prober.set_targets({})
            self._rooms.virtual_ips.look(None, ())
            self._rooms.routing.want(None)
            self.ledger = Ledger(self._times.wall)
            yield

    async def foresee(self, state: DesiredState) -> list[Change]:
        """The changes that `state` would make now, in order; applies none. For `plan`."""
        async with self._lock:
            try:
                return await self._foresee(state)
            finally:
                await self._look_back(state)

    async def _foresee(self, state: DesiredState) -> list[Change]:
        for error in (await self._observer.everything(state)).values():
            raise error
        targets = await self._aim.foresee(state)
        changes = self._plan(state, targets, remember=False)
        return in_order([*changes, *await self._rooms.routing.foresee(state)])

    async def _look_back(self, other: DesiredState) -> None:
        """After looking for the links of another state: see those of our own again, where a network
        has another link there, or the next pass would take its own for missing; forget the rest."""
        networks = {} if self.state is None else self.state.networks
        moved = [
            entry.network
            for network_id, entry in networks.items()
            if network_id in other.networks
            and other.networks[network_id].network.link != entry.network.link
        ]
        if self.state is not None:
            await self._observer.again(self.state, moved)
        self._rooms.wireguard.keep(networks.keys())
        self._rooms.links.keep(networks.keys())

    # One pass.

    async def _pass(self, task: Task, triggers: frozenset[Trigger]) -> Pass:
        state, now = task.state, self._times.monotonic()
        if triggers & EVERYTHING:
            self._schedule.looked_at_everything(now)
            self._retries.clear()
        failures = await self._observer.observe(state, triggers)
        healthy = saw_enough(state, failures)
        unseen_links = {id_ for room, id_ in failures if room == "links" and id_ is not None}
        await self._aim.take(
            state, triggers, now, unseen=unseen_links, platform_speaks=self._platform_speaks
        )
        targets = self._aim.targets
        failures |= {("keys", network): error for network, error in self.keys.failures.items()}
        failures |= self._forget_old_keys(state)
        blind = frozenset(failures)

        keys_before = self._public_keys()
        planned = self._plan(state, targets)
        steps = [step_of(change) for change in planned]
        # What could not be seen is not touched, and holds back what a failure of it would; what waits
        # for its retry waits.
        unseen_steps = [step for step in steps if (step.subsystem, step.network) in failures]
        changes = [
            change
            for change, step in zip(planned, steps, strict=True)
            if not any(each.hinders(step) for each in unseen_steps)
            and not self._retries.holds(step, now)
        ]
        applied = await carry_out(changes)
        for step, error in applied.failures.items():
            self._retries.failed(step, self._times.monotonic())
            # The first is the cause; what followed may only say that something came before.
            failures.setdefault((step.subsystem, step.network), error)
        # Of what was looked at, and not of what failed: a step that failed holds no other one back.
        unseen = blind | self._unknown_devices(state)
        done_steps = {step_of(change) for change in applied.done} - applied.failures.keys()
        self._retries.conclude(steps, done_steps, unseen, now)
        failures |= await self._table.end_stale_connections(targets)
        if applied.done:
            await self._rooms.netlink.settle()
            if any(change.phase in (Phase.DEVICE, Phase.PEER) for change in applied.done):
                self._schedule.awaits_handshakes(now)

        self._rooms.virtual_ips.look(state, unseen_links)

        # Now that links and peers stand. FRR follows in its own time, and the pass does not wait.
        self._rooms.routing.want(state, look=bool(triggers & EVERYTHING))
        routing = self._rooms.routing
        failures |= {(ROUTING, id_): error for id_, error in routing.failures(state).items()}
        unseen |= {(ROUTING, id_) for id_ in routing.pending(state)}

        drift = self.ledger.count_drift(applied.done, targets)
        drift = self.ledger.count_repaired(drift, ROUTING, routing.take_repaired())
        done = {id(change) for change in applied.done}
        untried = unseen | {(c.subsystem, c.network) for c in planned if id(c) not in done}
        stands = self.ledger.conclude(
            task, failures, untried, targets, self.carrying, self._times.monotonic()
        )
        if stands:
            self._stands = state
        # Last, so that it delays no write, and a new peer is in the device before it is probed.
        if self._probed is not state:
            self._probed = state
            self._rooms.prober.set_targets(probe_targets(state))
        self._force_handshakes(keys_before)
        await self._table.rest(now, self.ledger)
        return Pass(triggers, 0.0, applied, drift, healthy)

    def _plan(
        self, state: DesiredState, targets: Targets, *, remember: bool = True
    ) -> list[Change]:
        return [
            *self._rooms.wireguard.plan(targets.devices, remember=remember),
            *self._rooms.links.plan(targets.links),
            *self._table.plan(targets, remember=remember),
            *self._rooms.virtual_ips.plan(targets.virtual_ips),
            *self._rooms.flannel.plan(targets.drop_in),
            *self._removals(state),
        ]

    def _removals(self, state: DesiredState) -> list[Change]:
        """Links of ours that are too many. One that stands in the way of a network of this state (its
        own former link, which holds its port, or one that bears its name) goes before all else, and
        whatever is wrong with that network."""
        leftovers = self._rooms.links.leftovers(state)
        names = {entry.network.link for entry in state.networks.values()}
        changes: list[Change] = []
        for link, network_id in leftovers.items():
            removal = self._rooms.wireguard.plan_removal({link: network_id})
            if network_id in state.networks or link in names:
                removal = [replace(each, phase=Phase.CLEAR, network=None) for each in removal]
            changes += removal
        return changes

    def _forget_old_keys(self, state: DesiredState) -> Failures:
        """Delete keys of the node that were rotated away. Not before the state that has no use for them
        stands and is on the disk: a restart from an older one would need them."""
        failures: Failures = {}
        if self._stands is not state or self._saved is not state or self._thinned is state:
            return failures
        for network_id, entry in state.networks.items():
            key = entry.network.interface.key
            if isinstance(key, NodeKey) and key.next_generation is None:
                try:
                    self._rooms.keys.forget_before(network_id, key.generation)
                except AgentError as error:
                    failures["keys", network_id] = error
        if not failures:
            self._thinned = state
        return failures

    # Devices.

    def _unknown_devices(self, state: DesiredState) -> frozenset[tuple[str, NetworkId | None]]:
        """Networks of which it is not known what WireGuard has: nothing planned for them does not mean
        that nothing is to be done."""
        return frozenset(
            ("wireguard", network_id)
            for network_id, entry in state.networks.items()
            if not self._rooms.wireguard.knows(entry.network)
        )

    def _public_keys(self) -> dict[NetworkId, PublicKey | None]:
        networks = {} if self.state is None else self.state.networks
        return {network: self._rooms.wireguard.public_key(network) for network in networks}

    def _force_handshakes(self, before: Mapping[NetworkId, PublicKey | None]) -> None:
        """A device with another key has no sessions; traffic to each peer makes new ones at once."""
        for network_id, key in self._public_keys().items():
            if key is not None and before.get(network_id) != key:
                self._rooms.prober.kick(network_id)

    # When to look.

    def _next_look(self) -> float:
        now = self._times.monotonic()
        if self._task is None:
            # There is nothing to look at, and yet a sign of life is due: systemd would restart a
            # purged daemon, which would then build again what an operator tore down.
            return now + self._times.poll_interval
        return max(self._paused_until, self._schedule.next_look(now, *self._wishes()))

    def _wishes(self) -> tuple[float | None, ...]:
        return (
            *self._aim.next_due(),
            self._retries.next_due(),
            self._table.seal_due(),
        )

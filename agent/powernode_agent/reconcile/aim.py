"""What a pass aims at: the targets of a state, out of everything that they depend on.

Keys, who carries which prefix, routes that others put on our links, rotations, the underlay's MTU:
whatever of it changed, the targets are compiled anew, and they stay the same objects while nothing did.
To foresee is the same without a trace: nothing is remembered, and no key is made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping

from powernode_agent.errors import AgentError
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import WireguardDevice
from powernode_agent.model.values import Address, NetworkId, PeerId
from powernode_agent.reconcile.carriers import Carriers
from powernode_agent.reconcile.keys import DryKeys, Keys, resolve_keys
from powernode_agent.reconcile.learning import Learning
from powernode_agent.reconcile.observer import EVERYTHING
from powernode_agent.reconcile.rooms import Rooms
from powernode_agent.reconcile.schedule import Schedule
from powernode_agent.reconcile.targets import Inputs, Targets, compile_targets, takes_long
from powernode_agent.reconcile.triggers import Trigger
from powernode_agent.wireguard.rotation import switched_peers


class Aim:
    """`control` gives the addresses of the platform, which no tunnel may ever swallow; `schedule` is
    told of what has to be looked at again."""

    def __init__(
        self,
        rooms: Rooms,
        schedule: Schedule,
        control: Callable[[], frozenset[Address]],
        monotonic: Callable[[], float],
    ) -> None:
        self._rooms = rooms
        self._schedule = schedule
        self._monotonic = monotonic
        self._carriers = Carriers(control)
        self._learning = Learning(rooms.netlink)
        self._inputs: Inputs | None = None
        self._mtus: Mapping[NetworkId, int] = {}
        self.targets = Targets({}, {}, {}, {})
        self.keys = Keys({}, {}, {})

    @property
    def carrying(self) -> Mapping[NetworkId, Carrying]:
        """The decisions of `paths` in force."""
        return self._carriers.carrying

    def next_due(self) -> tuple[float | None, float | None]:
        """When time alone may change the targets, by the monotonic clock."""
        return self._carriers.next_due(), self._learning.next_due()

    def forget(self) -> None:
        """What the targets were made of; they are made anew for the next state."""
        self._inputs = None

    def present(self, state: DesiredState) -> dict[NetworkId, WireguardDevice]:
        """The WireGuard devices of a state that are there and were read."""
        found = {network: self._rooms.wireguard.device(network) for network in state.networks}
        return {network: device for network, device in found.items() if device is not None}

    async def foresee(self, state: DesiredState) -> Targets:
        """The targets that `state` would have now. Raises `AgentError`, also for keys that it would
        not get."""
        keys = resolve_keys(state, DryKeys(self._rooms.keys))
        for error in keys.failures.values():
            raise error
        devices = self.present(state)
        carrying = self._carriers.foresee(
            state,
            self._rooms.prober.readings(),
            devices,
            self._monotonic(),
            self._learning.peek(state),
        )
        switched = switched_peers(state, devices)
        mtus = await self._rooms.links.underlay_mtus(state)
        refused = self._rooms.portmaps.refused
        return await self._compile(Inputs(state, carrying, keys, switched, mtus, refused))

    async def take(
        self,
        state: DesiredState,
        triggers: frozenset[Trigger],
        now: float,
        *,
        unseen: Collection[NetworkId],
        platform_speaks: bool,
    ) -> None:
        """Bring the targets up to date; they stay the same objects while nothing they need changed.
        `unseen`: networks whose link could not be observed. Raises `AgentError`."""
        previous = self._inputs
        state_is_new = previous is None or previous.state is not state
        if state_is_new or (self.keys.failures and triggers & {Trigger.POLL, *EVERYTHING}):
            self.keys = resolve_keys(state, self._rooms.keys)
        present = self.present(state)
        self._carriers.update(
            state,
            self._rooms.prober.readings(),
            present,
            now,
            learned=self._learning.look(state, self._monotonic(), unseen),
            platform_speaks=platform_speaks,
            liveness_changed=Trigger.LIVENESS in triggers,
        )
        if state_is_new or triggers & {Trigger.UNDERLAY, *EVERYTHING}:
            self._schedule.reads_underlay(now)
            try:
                self._mtus = await self._rooms.links.underlay_mtus(state)
            except AgentError:
                self._schedule.underlay_changed()
                raise
        before = previous.switched if previous is not None else frozenset[PeerId]()
        switched = switched_peers(state, present, before)
        self._schedule.note_rotations(state, switched, now)
        inputs = Inputs(
            state,
            self._carriers.carrying,
            self.keys,
            switched,
            self._mtus,
            self._rooms.portmaps.refused,
        )
        if not inputs.same(previous):
            self.targets = await self._compile(inputs)
            self._inputs = inputs

    async def _compile(self, inputs: Inputs) -> Targets:
        """Targets of `inputs`, those in force at hand; in a thread where it takes long."""
        if takes_long(inputs, self._inputs):
            return await asyncio.to_thread(compile_targets, inputs, self.targets)
        return compile_targets(inputs, self.targets)

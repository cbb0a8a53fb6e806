"""The driver of `paths`: remembers each network's last decision and asks again only when it may differ.

`paths.decide` is pure; somebody has to hold its memory between calls and know when it wants to be asked
again. For a hub with 5,000 peers a decision walks all of them, so an idle pass must not take one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.status import LivenessReading, WireguardDevice
from powernode_agent.model.values import Address, NetworkId, PeerId
from powernode_agent.paths.decide import Decision, PathMemory, decide
from powernode_agent.paths.learned import NOTHING_LEARNED, Learned
from powernode_agent.paths.recall import recall

Readings = Mapping[tuple[NetworkId, PeerId], LivenessReading]


@dataclass(frozen=True, slots=True)
class _Held:
    network: NetworkState
    elsewhere: frozenset[Address]
    learned: Learned
    decision: Decision


class Carriers:
    """Decisions by network; `carrying` keeps its identity while nothing changed."""

    def __init__(self, control: Callable[[], frozenset[Address]]) -> None:
        """`control` gives the platform's addresses: control traffic never depends on the tunnels."""
        self._held: dict[NetworkId, _Held] = {}
        self._control = control
        self._underlay: tuple[DesiredState, frozenset[Address]] | None = None
        self.carrying: Mapping[NetworkId, Carrying] = {}

    def update(
        self,
        state: DesiredState,
        readings: Readings,
        devices: Mapping[NetworkId, WireguardDevice],
        now: float,
        *,
        learned: Mapping[NetworkId, Learned],
        platform_speaks: bool,
        liveness_changed: bool,
    ) -> None:
        """Decide anew for networks that changed, whose liveness or learned routes changed, or whose
        time has come.

        `devices` as last observed, for networks that are decided for the first time. `learned` keeps
        its identity, by network, while nothing changed.
        """
        liveness = _by_network(readings) if readings else {}
        held: dict[NetworkId, _Held] = {}
        elsewhere = self._elsewhere(state)
        for network_id, network in state.networks.items():
            before = self._held.get(network_id)
            routes = learned.get(network_id, NOTHING_LEARNED)
            if (
                before is not None
                and before.network is network
                and before.learned is routes
                and before.elsewhere == elsewhere
                and not liveness_changed
            ):
                wake_at = before.decision.wake_at
                if wake_at is None or now < wake_at:
                    held[network_id] = before
                    continue
            memory = self._memory(state, network_id, devices, now, routes)
            decision = decide(
                network,
                liveness.get(network_id, {}),
                memory,
                now,
                platform_speaks,
                elsewhere,
                routes,
            )
            if before is not None and before.decision.carrying == decision.carrying:
                decision = Decision(before.decision.carrying, decision.memory, decision.wake_at)
            held[network_id] = _Held(network, elsewhere, routes, decision)
        self._held = held
        carrying = {network_id: entry.decision.carrying for network_id, entry in held.items()}
        if not _same(carrying, self.carrying):
            self.carrying = carrying

    def foresee(
        self,
        state: DesiredState,
        readings: Readings,
        devices: Mapping[NetworkId, WireguardDevice],
        now: float,
        learned: Mapping[NetworkId, Learned],
    ) -> Mapping[NetworkId, Carrying]:
        """What would be decided for another state, for `plan`; remembers nothing."""
        liveness = _by_network(readings)
        result: dict[NetworkId, Carrying] = {}
        for network_id, network in state.networks.items():
            routes = learned.get(network_id, NOTHING_LEARNED)
            decision = decide(
                network,
                liveness.get(network_id, {}),
                self._memory(state, network_id, devices, now, routes),
                now,
                True,
                self._elsewhere(state),
                routes,
            )
            result[network_id] = decision.carrying
        return result

    def _elsewhere(self, state: DesiredState) -> frozenset[Address]:
        """What must not be reached through any tunnel: endpoints of all networks, and the platform."""
        control = self._control()
        if self._underlay is None or self._underlay[0] is not state:
            endpoints = {
                peer.endpoint.address
                for network in (state.networks.values() if len(state.networks) > 1 else ())
                for peer in network.peers.values()
                if peer.endpoint is not None
            }
            self._underlay = (state, frozenset(endpoints))
        return self._underlay[1] | control

    def _memory(
        self,
        state: DesiredState,
        network_id: NetworkId,
        devices: Mapping[NetworkId, WireguardDevice],
        now: float,
        learned: Learned,
    ) -> PathMemory:
        """Of the last decision; for the first one, what a device that was there before us still does:
        a restart must not change a packet's way."""
        before = self._held.get(network_id)
        if before is not None:
            return before.decision.memory
        device = devices.get(network_id)
        if device is None:
            return PathMemory()
        elsewhere = self._elsewhere(state)
        return recall(state.networks[network_id], device, now, elsewhere, learned)

    def next_due(self) -> float | None:
        """When some network wants to be decided again, by the clock given to `update`."""
        times = [entry.decision.wake_at for entry in self._held.values()]
        return min((at for at in times if at is not None), default=None)


def _by_network(readings: Readings) -> dict[NetworkId, dict[PeerId, LivenessReading]]:
    grouped: dict[NetworkId, dict[PeerId, LivenessReading]] = {}
    for (network_id, peer_id), reading in readings.items():
        grouped.setdefault(network_id, {})[peer_id] = reading
    return grouped


def _same(one: Mapping[NetworkId, Carrying], two: Mapping[NetworkId, Carrying]) -> bool:
    return one.keys() == two.keys() and all(one[key] is two[key] for key in one)

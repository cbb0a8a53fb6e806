"""When to look next without being asked: reads of WireGuard, the safety net, the underlay, retries,
decisions that are due."""

from __future__ import annotations

from typing import Final

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.values import PeerId, PublicKey
from powernode_agent.reconcile.polling import ROTATION_LASTS, Pace, next_read, next_rotation_read
from powernode_agent.reconcile.triggers import Trigger

UNDERLAY_INTERVAL: Final = 1.0
"""Seconds between looks at the underlay: a routing daemon or a host full of containers changes it all
the time, and each look asks the kernel for the way to every endpoint."""


class Schedule:
    """Remembers when things were last done; `now` is always the monotonic clock, in seconds."""

    def __init__(self, poll_interval: float, safety_interval: float, now: float) -> None:
        self._poll_interval = poll_interval
        self._safety_interval = safety_interval
        self._last_read = now - safety_interval
        self._last_safety = now
        self._last_underlay = now - UNDERLAY_INTERVAL
        self._underlay_changed = False
        self._cost = 0.0
        self._rotations: dict[tuple[PeerId, PublicKey], float] = {}
        self._rotation_read = 0.0
        self._rotation_cost = 0.0
        self._awaiting_since: float | None = None

    def was_read(self, started: float, ended: float) -> None:
        """All of WireGuard was read in that time; what it cost sets the next interval."""
        self._last_read = ended
        self._cost = ended - started

    def rotation_was_read(self, started: float, ended: float) -> None:
        """A pass that asked for the handshakes of peers in rotation took that time, all in all."""
        self._rotation_read = ended
        self._rotation_cost = ended - started

    def looked_at_everything(self, now: float) -> None:
        """The safety net was cast."""
        self._last_safety = now

    def underlay_changed(self) -> None:
        """The ways to the endpoints may be others now."""
        self._underlay_changed = True

    def reads_underlay(self, now: float) -> None:
        """The ways to the endpoints are about to be looked up; what changes meanwhile counts anew."""
        self._underlay_changed = False
        self._last_underlay = now

    def awaits_handshakes(self, now: float) -> None:
        """Something was written that makes peers shake hands."""
        self._awaiting_since = now

    def note_rotations(self, state: DesiredState, switched: frozenset[PeerId], now: float) -> None:
        """Read fast while a peer has a next key that it has not switched to, each for its own time: one
        that never switches must not slow the next one down."""
        under_way = {
            (peer.id, peer.next_public_key)
            for network in state.networks.values()
            for peer in network.peers.values()
            if peer.next_public_key is not None and peer.id not in switched
        }
        self._rotations = {each: self._rotations.get(each, now) for each in under_way}

    def next_look(self, now: float, *others: float | None) -> float:
        """When something is due; `others` are times that other parts of the engine ask for."""
        times = [self._last_read + self._interval(now), self._last_safety + self._safety_interval]
        if self._rotating(now):
            times.append(self._rotation_read + next_rotation_read(self._rotation_cost))
        if self._underlay_changed:
            times.append(self._last_underlay + UNDERLAY_INTERVAL)
        return min([*times, *(at for at in others if at is not None)])

    def due(self, now: float, *others: float | None) -> frozenset[Trigger]:
        """What is due now."""
        due: set[Trigger] = set()
        if now >= self._last_safety + self._safety_interval:
            due.add(Trigger.SAFETY)
        if now >= self._last_read + self._interval(now):
            due.add(Trigger.POLL)
        ask_again_at = self._rotation_read + next_rotation_read(self._rotation_cost)
        if self._rotating(now) and now >= ask_again_at:
            due.add(Trigger.ROTATION)
        if self._underlay_changed and now >= self._last_underlay + UNDERLAY_INTERVAL:
            due.add(Trigger.UNDERLAY)
        if any(at is not None and now >= at for at in others):
            due.add(Trigger.DUE)
        return frozenset(due)

    def _rotating(self, now: float) -> bool:
        return any(now - since < ROTATION_LASTS for since in self._rotations.values())

    def _interval(self, now: float) -> float:
        return next_read(Pace(self._cost, self._poll_interval, self._awaiting_since), now)

"""Probes peers through the overlay with ICMPv6 echo, and says who answers. The shell of `liveness`.

One raw socket and one timer for all peers of all networks: a task for each of 5,000 peers would cost
more than the probes. A probe leaves by its network's own link and from our own overlay address, and an
answer from anywhere else counts for nothing.

A host on which raw sockets are not permitted measures nothing, and says so; it never calls a peer
dead for that. Readings and `on_change` follow the clock that was passed in, which must not jump.
"""

from __future__ import annotations

import asyncio
import heapq
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from powernode_agent.model.status import LivenessReading
from powernode_agent.model.values import NetworkId
from powernode_agent.paths import liveness
from powernode_agent.paths.echo import TOKEN_LENGTH, Probe, decode, encode
from powernode_agent.paths.echo_socket import EchoSocket, Received
from powernode_agent.paths.liveness import Pace, Probed
from powernode_agent.paths.probing import ProbeTarget, TargetKey

log = structlog.get_logger()

RELAXED_GAP: Final = 0.05
"""Seconds between any two relaxed probes: 20 packets a second, however many peers there are. With
5,000 of them each is asked every 250 s, which is what a status needs."""

KICK_GAP: Final = 0.005
"""Seconds between the probes of a kick. Each may start a handshake, which costs the other end a
Curve25519 operation or two; 200 a second is no flood."""


@dataclass(slots=True)
class _Entry:
    """One target and what is known of it. `number` names it in probes on the wire."""

    number: int
    key: TargetKey
    target: ProbeTarget
    probed: Probed
    ifindex: int = 0
    """Of the link that the last probe left by; answers have to come in there."""
    due_at: float = 0.0
    """Time of the one entry of the heap that counts; earlier ones are stale."""
    kicked: bool = False
    has_slot: bool = False
    """A relaxed probe that waits for its turn among all relaxed probes."""


class Prober:
    """Probes a set of targets until closed. Everything happens in the event loop that started it."""

    def __init__(
        self,
        clock: Callable[[], float],
        on_change: Callable[[frozenset[TargetKey]], None],
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._identifier = secrets.randbits(16)
        self._token = secrets.token_bytes(TOKEN_LENGTH)
        self._socket: EchoSocket | None = None
        self._entries: dict[TargetKey, _Entry] = {}
        self._numbers: dict[int, _Entry] = {}
        self._next_number = 1
        self._due: list[tuple[float, int]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._relaxed_slot = 0.0

    @property
    def measuring(self) -> bool:
        """Whether probes are sent at all."""
        return self._socket is not None

    def start(self) -> None:
        """Opens the raw socket; may be called again after a failure.

        Raises `ProberError` if it cannot. The prober then keeps its targets and measures nothing.
        """
        if self._socket is None:
            self._socket = EchoSocket()
            asyncio.get_running_loop().add_reader(self._socket, self._readable)
            now = self._clock()
            for entry in self._entries.values():
                self._schedule(entry, now)
            self._rearm()

    def close(self) -> None:
        """Stops probing and forgets all readings."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._entries.clear()
        self._numbers.clear()
        self._due.clear()

    def set_targets(self, targets: Mapping[TargetKey, ProbeTarget]) -> None:
        """Replaces the set of targets. A target that only changes its pace keeps its readings; one
        that is somewhere else now starts anew, as "not measured"."""
        now = self._clock()
        for key in [key for key in self._entries if key not in targets]:
            self._forget(key)
        for key, target in targets.items():
            entry = self._entries.get(key)
            if entry is not None and entry.target == target:
                continue
            if entry is not None and _same_place(entry.target, target):
                entry.target = target
                entry.probed = liveness.with_tempo(entry.probed, target.pace.value, now)
            else:
                self._forget(key)
                entry = _Entry(
                    self._next_number, key, target, liveness.begin(target.pace.value, now, now)
                )
                self._next_number += 1
                self._entries[key] = entry
                self._numbers[entry.number] = entry
            self._schedule(entry, entry.probed.due_at)
        self._rearm()

    def readings(self) -> dict[TargetKey, LivenessReading]:
        """What is measured now; a target without an entry is not measured."""
        if self._socket is None:
            return {}
        return {
            key: reading
            for key, entry in self._entries.items()
            if (reading := entry.probed.reading) is not None
        }

    def kick(self, network_id: NetworkId) -> None:
        """Probes all targets of a network soon, KICK_GAP apart: traffic is what makes WireGuard shake
        hands, after a key change for instance."""
        at = self._clock()
        for entry in self._entries.values():
            if entry.key[0] == network_id:
                entry.kicked = True
                self._schedule(entry, at)
                at += KICK_GAP
        self._rearm()

    def _forget(self, key: TargetKey) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            del self._numbers[entry.number]

    def _schedule(self, entry: _Entry, at: float) -> None:
        # Stale entries stay in the heap until their time; `due_at` tells them from the one that counts.
        entry.due_at = at
        heapq.heappush(self._due, (at, entry.number))

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None and self._due:
            wait = max(0.0, self._due[0][0] - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._tick)

    def _tick(self) -> None:
        self._timer = None
        # A process that was stopped finds both answers and deadlines waiting. Answers first, or it
        # takes its own absence for the peers' silence.
        changed = self._receive()
        now = self._clock()
        while self._due and self._due[0][0] <= now:
            at, number = heapq.heappop(self._due)
            entry = self._numbers.get(number)
            if entry is None or entry.due_at != at:
                continue
            before = entry.probed.state
            again_at = self._visit(entry, now)
            if entry.probed.state is not before:
                changed.add(entry.key)
            self._schedule(entry, again_at)
        self._rearm()
        self._tell(changed)

    def _visit(self, entry: _Entry, now: float) -> float:
        """Does what is due for one target; gives the time of its next visit."""
        entry.probed = liveness.after_waiting(entry.probed, now)
        if not entry.kicked and entry.probed.next_probe_at > now:
            entry.has_slot = False
            return entry.probed.due_at
        if entry.target.pace is Pace.RELAXED and not entry.kicked and not entry.has_slot:
            slot = max(now, self._relaxed_slot)
            self._relaxed_slot = slot + RELAXED_GAP
            if slot > now:
                entry.has_slot = True
                return slot
        entry.kicked = entry.has_slot = False
        if self._send(entry, now):
            entry.probed = liveness.after_sending(entry.probed, now)
        else:
            entry.probed = liveness.after_send_failure(entry.probed, now)
        return entry.probed.due_at

    def _send(self, entry: _Entry, now: float) -> bool:
        """Sends one probe. False: this host could not, which says nothing about the peer: the link is
        not there (ENODEV), its address is not (EADDRNOTAVAIL), it is down (ENETUNREACH), or kernel
        WireGuard knows no endpoint (EDESTADDRREQ) or no peer (ENOKEY) for the address."""
        if self._socket is None:
            return False
        target = entry.target
        probe = Probe(entry.number, entry.probed.sent + 1, now)
        try:
            entry.ifindex = self._socket.send(
                encode(probe, self._identifier, self._token),
                target.link,
                target.source,
                target.destination,
            )
        except OSError as error:
            if entry.probed.unsendable_since is None:
                # At debug: the status says "not measured", and 5,000 lines would help nobody.
                log.debug(
                    "probe.unsendable",
                    network_id=entry.key[0],
                    peer_id=entry.key[1],
                    link=target.link,
                    error=str(error),
                )
            return False
        return True

    def _readable(self) -> None:
        changed = self._receive()
        self._rearm()
        self._tell(changed)

    def _receive(self) -> set[TargetKey]:
        """Takes all answers that have arrived; gives the targets whose state they changed."""
        changed: set[TargetKey] = set()
        if self._socket is None:
            return changed
        now = self._clock()
        for received in self._socket.received():
            probe = decode(received.message, self._identifier, self._token)
            entry = self._numbers.get(probe.target) if probe is not None else None
            if probe is None or entry is None or not _from_its_place(entry, received):
                continue
            before = entry.probed.state
            was_due = entry.probed.due_at
            entry.probed = liveness.after_answer(entry.probed, probe.sequence, probe.sent_at, now)
            if entry.probed.due_at < was_due:
                self._schedule(entry, entry.probed.due_at)
            if entry.probed.state is not before:
                changed.add(entry.key)
        return changed

    def _tell(self, changed: set[TargetKey]) -> None:
        if changed:
            self._on_change(frozenset(changed))


def _same_place(one: ProbeTarget, two: ProbeTarget) -> bool:
    return (one.link, one.source, one.destination) == (two.link, two.source, two.destination)


def _from_its_place(entry: _Entry, received: Received) -> bool:
    """Whether an answer came from the target's address, in by its link."""
    return received.sender == entry.target.destination and received.ifindex == entry.ifindex

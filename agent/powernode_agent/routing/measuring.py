"""What bgpd says, read about once a second over one connection that stays open. Shell.

Reading costs a fraction of a millisecond a session. What could not be read is not known: readings of
a daemon that stopped answering are dropped, not repeated, and that soon: two seconds after the last
answer nobody knows whether a session still stands.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Collection, Mapping
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.frr.vty import Vty
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import BgpState
from powernode_agent.routing.connecting import try_to_connect
from powernode_agent.routing.sessions import (
    NEIGHBORS_COMMAND,
    SUMMARY_COMMAND,
    Connecting,
    SessionReading,
    parse_readings,
)

DETAILS_EVERY: Final = 10.0
"""Seconds between readings of what only the long answer has, unless a state changed: it takes ten times
as long, 70 ms for 1,000 neighbours."""
PATIENCE: Final = 2.0
"""Seconds in which bgpd has to answer, or nothing is known; one that only enters what it was told
answers in between."""
MOST_AT_ONCE: Final = 32
"""Connections tried at once: a hub may miss a thousand spokes, and a process has 1,024 files."""
CONNECT_AGAIN: Final = 10.0
"""Seconds between attempts to find out why one session is down."""


class Measuring:
    """`run` is the directory of FRR's sockets."""

    def __init__(self, run: Path) -> None:
        self._socket = run / "bgpd.vty"
        self._vty: Vty | None = None
        self._details: tuple[str, float] = ("{}", -math.inf)
        """What bgpd said of its neighbours in detail, and when."""
        self.readings: Mapping[IPv6Address, SessionReading] = {}
        """By the neighbour's address; empty: not measured."""
        self.announced: Mapping[IPv6Address, bool] = {}
        """Virtual IPs held here, and whether a neighbour was told of them."""
        self.connecting: dict[IPv6Address, Connecting] = {}
        self._asked_at: dict[IPv6Address, float] = {}

    async def look(self, state: DesiredState, held: Collection[IPv6Address], now: float) -> bool:
        """Read once; whether a session changed its state. Raises `AgentError`: nothing is known any
        more."""
        before = {address: reading.state for address, reading in self.readings.items()}
        try:
            vty = self._vty = self._vty or await Vty.open(self._socket, patience=PATIENCE)
            summary = await vty.ask(SUMMARY_COMMAND)
            readings = parse_readings(summary, self._details[0])
            states = {address: reading.state for address, reading in readings.items()}
            if states != before or now - self._details[1] >= DETAILS_EVERY:
                self._details = (await vty.ask(NEIGHBORS_COMMAND), now)
                readings = parse_readings(summary, self._details[0])
            announced = {address: await _is_announced(vty, address) for address in held}
        except AgentError:
            await self.forget()
            raise
        self.readings, self.announced = readings, announced
        await self._find_out(state, now)
        return before != states

    async def forget(self) -> None:
        """Nothing is known, and nobody is connected."""
        if self._vty is not None:
            await self._vty.close()
        self._vty = None
        self.readings, self.announced = {}, {}
        self._details = ("{}", -math.inf)
        self.connecting.clear()
        self._asked_at.clear()

    async def _find_out(self, state: DesiredState, now: float) -> None:
        """Try the port of each neighbour whose session is down."""
        down: dict[IPv6Address, IPv6Address] = {}
        for entry in state.networks.values():
            for neighbor in () if entry.bgp is None else entry.bgp.neighbors:
                address = entry.peers[neighbor.peer_id].host_address
                reading = self.readings.get(address)
                if reading is not None and reading.state is not BgpState.ESTABLISHED:
                    down[address] = entry.network.interface.address
        for known in self._asked_at.keys() - down.keys():
            del self._asked_at[known]
            self.connecting.pop(known, None)
        # A session that is about to come up gets its time before anybody is asked.
        due = [a for a in down if now - self._asked_at.setdefault(a, now) >= CONNECT_AGAIN]
        # Each is a socket: those that waited longest, and the others at the next look.
        due = sorted(due, key=self._asked_at.__getitem__)[:MOST_AT_ONCE]
        found = await asyncio.gather(*(try_to_connect(down[address], address) for address in due))
        for address, connecting in zip(due, found, strict=True):
            self._asked_at[address] = now
            if connecting is None:
                self.connecting.pop(address, None)
            else:
                self.connecting[address] = connecting


async def _is_announced(vty: Vty, address: IPv6Address) -> bool:
    """Whether a path of our own to this host is told to any neighbour."""
    said = await vty.ask(f"show bgp ipv6 unicast {address}/128 json")
    try:
        found = json.loads(said or "{}")
        own = any(path.get("sourced") or path.get("local") for path in found.get("paths", ()))
        return own and bool(found.get("advertisedTo"))
    except (ValueError, AttributeError):
        return False

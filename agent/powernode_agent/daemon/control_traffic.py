"""Where the platform is, as addresses: no path may ever lead them into a tunnel.

A prefix that covers the platform's address would put the control channel into the tunnel that it
configures, and the next mistake could not be taken back (design, section 5). What counts is where the
agent really connects to: the configured addresses, and the one the platform gave at enrolment. Names
are looked up again whenever the link to the platform changes, and now and then: a node often starts
before its resolver does.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

import structlog

from powernode_agent.config import parse_host_port
from powernode_agent.model.values import Address

log = structlog.get_logger()

LOOKUP_SECONDS: Final = 2.0
"""A node must start without a resolver; its last-known-good state waits for this."""
AGAIN_SECONDS: Final = 300.0


class ControlTraffic:
    """Keeps `addresses` true. `endpoints` gives "host:port" of all that the agent connects to."""

    def __init__(self, endpoints: Callable[[], Iterable[str]], changed: Callable[[], None]) -> None:
        self._endpoints = endpoints
        self._changed = changed
        self._wanted = asyncio.Event()
        self.addresses: frozenset[Address] = frozenset()

    def look_again(self) -> None:
        """Something may have moved."""
        self._wanted.set()

    async def look(self) -> None:
        """Look everything up now. What cannot be found now keeps what was found before."""
        found: set[Address] = set()
        missing = False
        for endpoint in set(self._endpoints()):
            try:
                host = parse_host_port(endpoint).host
            except ValueError:
                continue  # the link cannot use it either, and says so
            answers = await _addresses_of(host)
            found |= answers
            missing = missing or not answers
        addresses = frozenset(found | self.addresses if missing else found)
        if addresses != self.addresses:
            self.addresses = addresses
            log.info("control_traffic.addresses", addresses=sorted(map(str, addresses)))
            self._changed()

    async def run(self) -> None:
        """Look again when asked, and now and then; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(AGAIN_SECONDS):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            await self.look()


async def _addresses_of(host: str) -> set[Address]:
    try:
        return {ip_address(host)}
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            answers = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (TimeoutError, OSError) as error:
        log.info("control_traffic.unknown", host=host, error=str(error) or type(error).__name__)
        return set()
    return {ip_address(str(answer[4][0]).partition("%")[0]) for answer in answers}

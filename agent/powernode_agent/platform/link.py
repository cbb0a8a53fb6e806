"""Which identity is in force, and the one connection made with it that all calls share.

A renewed certificate needs a new connection, and the watch and the reports must move to it without a
gap. So a connection is held by those who use it: when it is superseded, its users see the event, open
their calls on the new one, and let go; the last to let go closes it. Nobody closes under another's
feet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio

from powernode_agent.platform.channel import OpenChannel
from powernode_agent.platform.credentials import validity
from powernode_agent.platform.identity import Identity


class Connection:
    """A channel and the identity it was made with. Use it only while you hold it."""

    def __init__(self, identity: Identity, channel: grpc.aio.Channel) -> None:
        self.identity = identity
        self.channel = channel
        self.validity = validity(identity.certificate_pem)
        self.superseded = asyncio.Event()
        self._holders = 0
        self.adopted = False
        """Whether it is, or was, the one in use."""

    @property
    def in_use(self) -> bool:
        """Whether somebody holds it."""
        return self._holders > 0

    def hold(self) -> None:
        """Keeps the channel open until `release`."""
        self._holders += 1

    async def release(self) -> None:
        """Lets go; the last to let go of a superseded connection closes it."""
        self._holders -= 1
        if self.superseded.is_set() and self._holders == 0:
            await self.channel.close()

    @asynccontextmanager
    async def held(self) -> AsyncIterator[Connection]:
        """Holds the connection for the length of a block."""
        self.hold()
        try:
            yield self
        finally:
            await self.release()

    async def retire(self) -> None:
        """Tells the users to move away; closes at once if there are none."""
        self.superseded.set()
        if self._holders == 0:
            await self.channel.close()


class Link:
    """The identity in force, one that waits to take its place, and the connection in use."""

    def __init__(self, open_channel: OpenChannel) -> None:
        self._open_channel = open_channel
        self._current: Connection | None = None
        self._arrived = asyncio.Event()
        self._waiting: Identity | None = None
        self.renewed = asyncio.Event()
        """Set while an identity waits to take its place."""

    async def connection(self) -> Connection:
        """The connection in use; waits until the node has an identity."""
        while self._current is None:
            await self._arrived.wait()
        return self._current

    async def present(self, identity: Identity) -> None:
        """A new identity: in force at once if it is the first, else waiting for the watch to move."""
        if self._current is None:
            await self.adopt(self.candidate(identity))
        else:
            self._waiting = identity
            self.renewed.set()

    def waiting(self) -> Identity | None:
        """The identity that waits to take its place."""
        return self._waiting

    def candidate(self, identity: Identity) -> Connection:
        """A connection made with `identity`, not in use yet. Raises `CredentialsError`."""
        return Connection(identity, self._open_channel(identity))

    async def adopt(self, connection: Connection) -> None:
        """`connection` is the one in use from now on; users of the one before move over."""
        before = self._current
        connection.adopted = True
        self._current = connection
        if self._waiting is connection.identity:
            self._waiting = None
            self.renewed.clear()
        self._arrived.set()
        if before is not None:
            await before.retire()

    async def close(self) -> None:
        """Closes the connection in use, and with it all calls on it; whoever wants one waits."""
        connection, self._current = self._current, None
        self._arrived.clear()
        if connection is not None:
            await connection.channel.close()

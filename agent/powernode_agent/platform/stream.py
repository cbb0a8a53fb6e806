"""One WatchDesiredState call, read one message at a time without ever cancelling a read.

gRPC cancels the whole call when a pending read is cancelled, so a read that has begun stays pending
while its owner looks at something else: `incoming()` gives the same task until `take()` took its
message.
"""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode_agent.platform import calls
from powernode_agent.platform.errors import PlatformUnavailableError, explain
from powernode_agent.platform.link import Connection

Message = pb.WatchDesiredStateResponse


class WatchStream:
    """A watch on one connection, from `request`'s position."""

    def __init__(self, connection: Connection, request: pb.WatchDesiredStateRequest) -> None:
        self.connection = connection
        self._call = calls.watch(connection.channel, request)
        self._incoming: asyncio.Task[Message] | None = None

    def incoming(self) -> asyncio.Task[Message]:
        """The read in progress. Wait for it, do not await it; then `take()`."""
        if self._incoming is None:
            self._incoming = asyncio.create_task(self._read(), name="platform watch read")
        return self._incoming

    def take(self) -> Message:
        """The message of a finished read. Raises `PlatformError` if the stream has ended."""
        reading = self.incoming()
        self._incoming = None
        return reading.result()

    async def first(self, timeout: float) -> None:
        """Waits until the platform has answered; the message is left for `take()`.

        The contract has it answer at once, so silence means that it hangs. Raises
        `PlatformUnavailableError` after `timeout` seconds of it; a stream that ended counts as an
        answer here, and `take()` says why.
        """
        done, _ = await asyncio.wait({self.incoming()}, timeout=timeout)
        if not done:
            raise PlatformUnavailableError(
                "the platform took the call and says nothing",
                which=f"platform {self.connection.identity.platform_address}",
                value=f"no answer for {timeout:g} s",
                expected="an answer at once",
                action="look at the platform's log; the agent keeps trying",
            )

    async def close(self) -> None:
        """Ends the call; what was read and not taken is dropped."""
        self._call.cancel()
        if self._incoming is not None:
            await asyncio.wait({self._incoming})
            # Retrieve the outcome, or asyncio complains about it when the task is collected.
            if not self._incoming.cancelled():
                self._incoming.exception()
            self._incoming = None

    async def _read(self) -> Message:
        address = self.connection.identity.platform_address
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise explain(error.code(), error.details(), address) from None
        if isinstance(message, Message):
            return message
        raise PlatformUnavailableError(
            "the platform ended the watch", which=f"platform {address}", action="reconnecting"
        )

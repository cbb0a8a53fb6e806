"""The daemon's half of the control socket.

Who may ask what: the socket's mode (0660, the agent's group) lets members of the group connect, and
to look is all they get. A verb that changes anything is carried out for root and for the daemon's own
user only, by the credentials that the kernel attests (SO_PEERCRED, unix(7)); a verb that this module
does not know to be harmless counts as changing. Each changing request is logged with who made it.

Exactly one daemon listens: a lock beside the socket is held for as long as it lives, and goes with
the process, however it ends. So whoever holds it may replace a socket that a crash left behind, and
a second daemon is told plainly, instead of both writing the same kernel.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from powernode_agent.control.place import listen, make_directory, take_lock
from powernode_agent.control.protocol import (
    JSON,
    MAX_REQUEST_BYTES,
    Failure,
    FailureKind,
    ProtocolError,
    Request,
    decode_request,
    encode_answer,
)
from powernode_agent.errors import AgentError

log = structlog.get_logger()

LOOKING_VERBS: Final = frozenset({"status", "doctor", "plan", "version"})
GROUP: Final = "powernode-agent"
REQUEST_TIMEOUT: Final = 10.0
"""Seconds a client has to send its request, and to take its answer."""
MAX_CONNECTIONS: Final = 16
"""At once. Each may hold MAX_REQUEST_BYTES, and everyone in the group may connect."""

Handler = Callable[[Mapping[str, JSON]], Awaitable[Mapping[str, JSON]]]


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int
    gid: int


def peer_credentials(sock: socket.socket) -> Credentials:
    """SO_PEERCRED of a connected unix socket: struct ucred of linux/socket.h."""
    size = struct.calcsize("3i")
    return Credentials(
        *struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    )


class ControlServer:
    """Answers requests with `handlers`, by verb, until closed.

    A handler gets the request's arguments and returns the body; an `AgentError` it raises becomes the
    answer. `handlers` may be filled after the start: while it is empty, the daemon "is starting".
    `group` may connect besides the owner, if such a group exists.
    """

    def __init__(
        self,
        path: Path,
        handlers: Mapping[str, Handler],
        *,
        group: str = GROUP,
        looking: frozenset[str] = LOOKING_VERBS,
        credentials: Callable[[socket.socket], Credentials] = peer_credentials,
        request_timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        self._path = path
        self._handlers = handlers
        self._group = group
        self._looking = looking
        self._credentials = credentials
        self._timeout = request_timeout
        self._lock: int | None = None
        self._inode: int | None = None
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises `ControlError`, also when another daemon has the socket."""
        make_directory(self._path.parent, self._group)
        self._lock = take_lock(self._path.with_name(self._path.name + ".lock"))
        try:
            sock = listen(self._path, self._group, MAX_CONNECTIONS)
            self._inode = self._path.stat().st_ino
            self._server = await asyncio.start_unix_server(
                self._connected, sock=sock, limit=MAX_REQUEST_BYTES
            )
        except BaseException:
            self._release()
            raise

    async def close(self, grace: float = 2.0) -> None:
        """Stop listening; requests in progress have `grace` seconds to get their answer."""
        if self._server is not None:
            self._server.close()
            self._server = None
        current = asyncio.current_task()
        running = {task for task in self._open if task is not current}
        if running:
            _, late = await asyncio.wait(running, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        self._release()

    def _release(self) -> None:
        if self._inode is not None:
            # Only our own: a stranger's file of that name is not ours to remove.
            if self._path.exists() and self._path.stat().st_ino == self._inode:
                self._path.unlink()
            self._inode = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        try:
            if len(self._open) > MAX_CONNECTIONS:
                answer: Mapping[str, JSON] | Failure = Failure(
                    FailureKind.FAILED,
                    "too many questions at once",
                    value=f"{len(self._open)} connections",
                    expected=f"at most {MAX_CONNECTIONS}",
                    action="try again",
                )
            else:
                answer = await self._exchange(reader, writer)
            async with asyncio.timeout(self._timeout):
                writer.write(encode_answer(answer))
                await writer.drain()
        except (TimeoutError, ConnectionError) as error:
            log.info("control.client_gone", reason=str(error) or type(error).__name__)
        except asyncio.CancelledError:
            # `close` ends what is under way. Nobody awaits this task, and asyncio would print a
            # traceback of a cancelled one (StreamReaderProtocol.connection_made, Python 3.11).
            log.info("control.question_dropped")
        finally:
            writer.close()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> Mapping[str, JSON] | Failure:
        sock = writer.get_extra_info("socket")
        try:
            credentials = self._credentials(sock)
            request = decode_request(await self._read_line(reader))
        except ProtocolError as error:
            return Failure.of(error, FailureKind.USAGE)
        if not self._handlers:
            return Failure(
                FailureKind.STARTING, "the daemon is starting", action="try again in a second"
            )
        handler = self._handlers.get(request.verb)
        if handler is None:
            return Failure(
                FailureKind.USAGE,
                "the daemon does not know this verb",
                value=repr(request.verb[:40]),
                expected="one of " + ", ".join(sorted(self._handlers)),
                action="powernode-agent version",
            )
        if request.verb not in self._looking:
            if credentials.uid not in (0, os.geteuid()):
                log.info("control.denied", verb=request.verb, uid=credentials.uid)
                return Failure(
                    FailureKind.DENIED,
                    "this verb changes the node",
                    which=request.verb,
                    value=f"uid {credentials.uid}",
                    expected="root or the daemon's own user",
                    action=f"sudo powernode-agent {request.verb}",
                )
            log.info("control.change", verb=request.verb, uid=credentials.uid, pid=credentials.pid)
        return await _handle(handler, request)

    async def _read_line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            async with asyncio.timeout(self._timeout):
                return await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError:
            raise ProtocolError(
                "the request is too large",
                value=f"more than {MAX_REQUEST_BYTES} bytes",
                expected="one line of JSON",
            ) from None
        except asyncio.IncompleteReadError:
            raise ProtocolError("the request ends early", expected="one line of JSON") from None
        except TimeoutError:
            raise ProtocolError(
                "the request does not arrive", expected=f"a line within {self._timeout:g} s"
            ) from None


async def _handle(handler: Handler, request: Request) -> Mapping[str, JSON] | Failure:
    try:
        return await handler(request.arguments)
    except AgentError as error:
        return Failure.of(error)
    except Exception:
        # A defect of ours. It must not take the daemon with it, and must not look like bad input:
        # the caller is told where to look, the log has all of it.
        log.exception("control.handler_defect", verb=request.verb)
        return Failure(
            FailureKind.FAILED,
            "the daemon has a defect in this verb",
            which=request.verb,
            action="journalctl -u powernode-agent -n 50",
        )

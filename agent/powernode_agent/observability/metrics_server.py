"""GET /metrics, and nothing else, on the daemon's own loop.

prometheus-client would bring a thread and a WSGI server for this. A scraper needs one request, one
answer: HTTP/1.1 (RFC 9112) with `Connection: close`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.observability.metrics import CONTENT_TYPE

log = structlog.get_logger()

MAX_HEAD_BYTES: Final = 16 * 1024
TIMEOUT: Final = 5.0
"""Seconds for the request to arrive, and for the answer to leave."""


class MetricsError(AgentError):
    """Metrics cannot be served."""


class MetricsServer:
    """Serves what `render` gives at each request."""

    def __init__(self, host: str, port: int, render: Callable[[], bytes]) -> None:
        self._host = host
        self._port = port
        self._render = render
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises `MetricsError`, for instance when the port is taken."""
        try:
            self._server = await asyncio.start_server(
                self._connected, self._host, self._port, limit=MAX_HEAD_BYTES
            )
        except OSError as error:
            raise MetricsError(
                "cannot serve metrics",
                which=f"{self._host} port {self._port}",
                value=error.strerror or str(error),
                expected="a free TCP port on an address of this host",
                action='set [metrics] listen in agent.toml ("" switches metrics off)',
            ) from error

    @property
    def port(self) -> int:
        """The port in use, also when it was asked for as 0."""
        if self._server is None or not self._server.sockets:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                writer.write(self._answer(await reader.readuntil(b"\r\n\r\n")))
                await writer.drain()
        except (
            TimeoutError,
            ConnectionError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
        ) as error:
            log.debug("metrics.client_gone", reason=type(error).__name__)
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", b"not a request\n")
        if words[1].split(b"?", 1)[0] != b"/metrics":
            return _response("404 Not Found", b"only /metrics is served here\n")
        if words[0] == b"HEAD":
            return _response("200 OK", self._render(), CONTENT_TYPE, body_wanted=False)
        if words[0] != b"GET":
            return _response("405 Method Not Allowed", b"GET only\n", extra="Allow: GET, HEAD\r\n")
        return _response("200 OK", self._render(), CONTENT_TYPE)


def _response(
    status: str,
    body: bytes,
    content_type: str = "text/plain; charset=utf-8",
    *,
    extra: str = "",
    body_wanted: bool = True,
) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{extra}Connection: close\r\n\r\n"
    )
    return head.encode() + (body if body_wanted else b"")

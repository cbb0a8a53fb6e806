"""The platform's HTTPS listener: uvicorn on the platform's own event loop.

Its certificate is the platform's own, of the authority that nodes trust. There is no access log: the
requests' queries are secrets. Signals are the process's business (`__main__`), not this server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from netns_lab.platform.authority import KeyPair
from netns_lab.platform.errors import PlatformError

KEY_FILE: Final = "http-key.pem"
CERTIFICATE_FILE: Final = "http-certificate.pem"
_GRACE_SECONDS: Final = 1


class _Server(uvicorn.Server):
    """uvicorn's only way of leaving signals alone, and of telling that it serves, is to override."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve_http(
    app: ASGIApp, listen: Sequence[tuple[str, int]], pair: KeyPair, directory: Path
) -> AsyncIterator[tuple[str, ...]]:
    """Serves `app` while the context is open; gives "host:port" of each listener with the port that was
    taken. The key is written into `directory`, which is its owner's alone. Raises `PlatformError`."""
    sockets = [_bind(host, port) for host, port in listen]
    places = tuple(_place(host, bound) for (host, _), bound in zip(listen, sockets, strict=True))
    key_file, certificate_file = directory / KEY_FILE, directory / CERTIFICATE_FILE
    _write(key_file, pair.key_pem)
    _write(certificate_file, pair.certificate_pem)
    server = _Server(
        uvicorn.Config(
            app,
            ssl_keyfile=key_file,
            ssl_certfile=certificate_file,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="on",
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=sockets))
    try:
        listening = asyncio.create_task(server.listening.wait())
        await asyncio.wait({serving, listening}, return_when=asyncio.FIRST_COMPLETED)
        listening.cancel()
        if not server.started:
            raise PlatformError(
                "cannot serve HTTP", which=", ".join(places), action="see the log above"
            )
        yield places
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise PlatformError(
            f"cannot listen: {error}", which=f"{host}:{port}", action="stop what has the port"
        ) from error


def _place(host: str, bound: socket.socket) -> str:
    port = bound.getsockname()[1]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _write(path: Path, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)

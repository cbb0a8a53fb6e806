"""Tells at once when an FRR daemon goes away. Shell.

One idle connection to each daemon's vty socket: the kernel closes it with the process, however that
ended. Nothing is asked over it, so it holds no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from powernode_agent.frr.supervised import DAEMONS


class Presence:
    """`run` is the directory of the sockets; `on_gone` is called with a daemon's name, from the event
    loop, once for each time it goes."""

    def __init__(self, run: Path, on_gone: Callable[[str], None]) -> None:
        self._run = run
        self._on_gone = on_gone
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def watch(self) -> None:
        """Have a connection to each daemon that is there."""
        for name in DAEMONS:
            task = self._tasks.get(name)
            if task is not None and not task.done():
                continue
            try:
                reader, writer = await asyncio.open_unix_connection(self._run / f"{name}.vty")
            except OSError:
                self._on_gone(name)
                continue
            self._tasks[name] = asyncio.create_task(self._wait(name, reader, writer))

    async def close(self) -> None:
        """Hang up, without telling of it."""
        for task in self._tasks.values():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def _wait(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(ConnectionError):
                await reader.read()
        finally:
            writer.close()
        self._on_gone(name)

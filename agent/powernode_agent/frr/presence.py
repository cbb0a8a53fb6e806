"""Tells at once when an FRR daemon goes away, and after a while when it hangs. Shell.

One connection to each daemon's vty socket: the kernel closes it with the process, however that ended.
Once a second the daemon is asked over it for something that takes no lock. One that gives no answer is
busy, or it hangs, and only time tells; that is counted here, for all daemons alike, since but for bgpd
nobody would miss their answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from powernode_agent.frr.answering import ANSWER, QUESTION, connect
from powernode_agent.frr.supervised import DAEMONS

ASK_EVERY: Final = 1.0
"""Seconds between questions, and how long an answer is waited for at a time."""
HANGS_AFTER: Final = 10
"""Waits in vain; a daemon that applies a large change answers late, one that hangs does not at all.
Waits are counted, and not the time they took: whoever was stopped himself heard nothing either."""

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Presence:
    """`run` is the directory of the sockets. `on_gone` is called with a daemon's name, from the event
    loop, once for each time it goes; `on_silent` with the number of waits in vain too, for each time
    that they are HANGS_AFTER more."""

    def __init__(
        self, run: Path, on_gone: Callable[[str], None], on_silent: Callable[[str, int], None]
    ) -> None:
        self._run = run
        self._on_gone = on_gone
        self._on_silent = on_silent
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._in_vain: dict[str, int] = {}
        """How often each daemon's answer was waited for in vain; nothing: it gave one."""

    async def watch(self, *, starting: bool = False) -> None:
        """Have a connection to each daemon that is there. `starting`: it is no news if one is not."""
        for name in DAEMONS:
            task = self._tasks.get(name)
            if task is not None and not task.done():
                continue
            streams: _Streams | None
            try:
                streams = await connect(self._run / f"{name}.vty")
            except BlockingIOError:
                streams = None
            except OSError:
                if not starting:
                    self._on_gone(name)
                continue
            self._tasks[name] = asyncio.create_task(self._stay(name, streams))

    def silent(self, waits: int) -> frozenset[str]:
        """Daemons whose answer was waited for in vain this often."""
        return frozenset(name for name, count in self._in_vain.items() if count >= waits)

    async def close(self) -> None:
        """Hang up, without telling of it."""
        for task in self._tasks.values():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._tasks.clear()

    async def _stay(self, name: str, streams: _Streams | None) -> None:
        """With a daemon until it goes. `streams` None: it takes no connections at this time."""
        try:
            reader, writer = streams or await self._knock(name)
            try:
                await self._ask(name, reader, writer)
            finally:
                writer.close()
        except (OSError, EOFError):
            pass
        finally:
            self._in_vain.pop(name, None)
        self._on_gone(name)

    async def _knock(self, name: str) -> _Streams:
        """Until it takes a connection. Raises `OSError`: it is gone."""
        while True:
            try:
                return await connect(self._run / f"{name}.vty")
            except BlockingIOError:
                await asyncio.sleep(ASK_EVERY)
                self._waited(name)

    async def _ask(
        self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Again and again. Raises `OSError` or `EOFError`: it is gone."""
        while True:
            writer.write(QUESTION)
            while True:
                try:
                    async with asyncio.timeout(ASK_EVERY):
                        await reader.readexactly(len(ANSWER))
                    break
                except TimeoutError:
                    self._waited(name)
            self._in_vain.pop(name, None)
            with suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY):
                    # Nothing comes unasked, but its end.
                    await reader.readexactly(1)

    def _waited(self, name: str) -> None:
        count = self._in_vain[name] = self._in_vain.get(name, 0) + 1
        if count % HANGS_AFTER == 0:
            self._on_silent(name, count)

"""One thread that owns the one context of libnftables, and the transactions made through it.

libnftables blocks for as long as a transaction takes; the thread keeps the event loop free (the
library is called without the interpreter's lock), and one thread keeps the context from being used
twice at once, which crashes (field notes).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from powernode_agent.nftables import socket
from powernode_agent.nftables.codec import Elements
from powernode_agent.nftables.library import Library
from powernode_agent.nftables.script import TABLE

T = TypeVar("T")


class Worker:
    """The kernel's side of the table. `library` makes the context, in the thread."""

    def __init__(self, library: Callable[[], Library] = Library) -> None:
        self._make = library
        self._library: Library | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nftables")

    def close(self) -> None:
        """Wait for what is under way, and free the context."""
        if self._library is not None:
            self._thread.submit(self._library.close)
        self._thread.shutdown(wait=True)

    def writer(self) -> int:
        """The number by which the kernel tells that a transaction was ours. Raises `NftablesError`."""
        return self._thread.submit(socket.generation).result().writer

    async def run(self, script: str) -> int | None:
        """Run a script as one transaction; the generation it made, None if others wrote meanwhile and
        it cannot be told. Raises `NftablesError`, among them `RefusedError`."""
        return await self._do(lambda: self._counted(lambda: self._context().run(script)))

    async def change_elements(self, changes: Iterable[Elements]) -> int | None:
        """Addresses join and leave sets, in one transaction; as `run`."""
        listed = list(changes)
        return await self._do(lambda: self._counted(lambda: socket.change_elements(TABLE, listed)))

    async def stands(self) -> bool:
        """Whether there is a table of ours. Raises `NftablesError`."""
        return await self._do(lambda: socket.stands(TABLE))

    async def filters(self) -> bool:
        """Whether there is any rule in it. Raises `NftablesError`."""
        return await self._do(lambda: socket.filters(TABLE))

    async def inventory(self) -> str | None:
        """A digest of what stands in the table; None: there is none. Raises `NftablesError`."""
        return await self._do(lambda: socket.inventory(TABLE))

    async def counters(self) -> Mapping[str, int]:
        """Packets of each named counter. Raises `NftablesError`."""
        return await self._do(lambda: socket.counters(TABLE))

    def _context(self) -> Library:
        if self._library is None:
            self._library = self._make()
        return self._library

    def _counted(self, write: Callable[[], object]) -> int | None:
        before = socket.generation().number
        write()
        after = socket.generation().number
        return after if after == before + 1 else None

    async def _do(self, job: Callable[[], T]) -> T:
        # Shielded: a cancelled caller must not start another job beside the one that still runs.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, job))

"""One connection to an FRR daemon's vty socket, as vtysh has one.

A command is its text and a zero byte; the answer is text, three zero bytes and a status (FRR,
lib/vty.c, vtysh_read and vtysh_write). A query costs a fraction of a millisecond, where a fork of
vtysh costs 40. Whoever gets no answer in time closes the connection: what comes later would be taken
for the answer to something else, and an open one may hold the daemon's configuration lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from powernode_agent.frr.answering import connect
from powernode_agent.frr.errors import FrrError, FrrRefusedError

ANSWER_TIMEOUT: Final = 10.0
"""Seconds; a daemon that applies a large change answers late, one that hangs does not at all."""
_END: Final = b"\0\0\0"
_LIMIT: Final = 1 << 26
"""Bytes of one answer."""
_PIPELINE: Final = 64
"""Commands under way at once: fewer than fill the socket's buffer with answers."""

SUCCESS: Final = 0
WARNING: Final = 1
"""Statuses (lib/command.h): a warning is said, for instance, of what was not there to be removed."""


class Vty:
    """An open connection, in privileged mode. `patience`: seconds to wait for an answer. Not for two
    users at once."""

    def __init__(
        self,
        daemon: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        patience: float,
    ) -> None:
        self._daemon = daemon
        self._patience = patience
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: Path, *, patience: float = ANSWER_TIMEOUT) -> Self:
        """Connect to the daemon of this socket. Raises `FrrError`."""
        daemon = path.stem
        try:
            reader, writer = await connect(path, limit=_LIMIT)
        except BlockingIOError as error:
            raise FrrError(
                "an FRR daemon does not answer", which=f"{daemon} ({path})",
                value="a queue of connections that it does not take",
                action="see its log: journalctl -u frr",
            ) from error  # fmt: skip
        except OSError as error:
            raise FrrError(
                "cannot talk to an FRR daemon",
                which=f"{daemon} ({path})",
                value=error.strerror or str(error),
                action="see whether it runs: systemctl status frr; the agent's user has to be in the"
                " group frrvty",
            ) from error
        vty = cls(daemon, reader, writer, patience)
        await vty.ask("enable")
        return vty

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()

    async def ask(self, command: str) -> str:
        """The answer to one command. Raises `FrrError`, and `FrrRefusedError` if it is refused."""
        (status, said), *_ = await self.say([command])
        if status != SUCCESS:
            raise FrrRefusedError(
                "FRR refuses a command", which=f"{self._daemon}: {command}", value=_words(said)
            )
        return said

    async def say(self, commands: Sequence[str]) -> list[tuple[int, str]]:
        """Status and words for each of several commands, entered one after the other. Raises
        `FrrError` if the daemon goes away or falls silent."""
        found: list[tuple[int, str]] = []
        try:
            for start in range(0, len(commands), _PIPELINE):
                chunk = commands[start : start + _PIPELINE]
                self._writer.write(b"".join(command.encode() + b"\0" for command in chunk))
                for _ in chunk:
                    async with asyncio.timeout(self._patience):
                        said = await self._reader.readuntil(_END)
                        status = await self._reader.readexactly(1)
                    found.append((status[0], said[: -len(_END)].decode("utf-8", "replace")))
        except (OSError, EOFError, asyncio.LimitOverrunError, TimeoutError) as error:
            self._writer.close()
            late = isinstance(error, TimeoutError)
            raise FrrError(
                "an FRR daemon does not answer",
                which=f"{self._daemon}: {commands[min(len(found), len(commands) - 1)]}",
                value=f"nothing in {self._patience:g} s" if late else "it hung up",
                action="see its log: journalctl -u frr",
            ) from error
        return found


def _words(said: str) -> str:
    return " ".join(said.split())[:300] or "no reason given"

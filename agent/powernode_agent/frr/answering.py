"""Whether an FRR daemon is gone, hangs, or answers. Shell.

The three want different things: one that is gone is started, one that hangs has to be ended first, for
a second one beside it would only say that it cannot lock its process file. The kernel tells them apart:
without a listener it refuses; a listener that takes nothing any more has a queue (of six), and when
that is full, connecting says EAGAIN. asyncio takes that for a connection that is being made, and then
for one that is; so connections are made here: a socket of this kind connects at once or not at all.
"""

from __future__ import annotations

import asyncio
import socket
from enum import Enum
from pathlib import Path
from typing import Final

BUSY: Final = 2.0
"""Seconds after which a daemon that took a connection is one that has other things to do."""
QUESTION: Final = b"enable\0"
ANSWER: Final = b"\0\0\0\0"
"""What every daemon can be asked and always says; it takes no lock."""


class Answer(Enum):
    """What came of asking."""

    GONE = "gone"
    SILENT = "silent"
    GIVEN = "given"


async def connect(
    path: Path, *, limit: int = 1 << 16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to a daemon's socket. Raises `BlockingIOError` if the daemon takes no more of them,
    and another `OSError` if there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.connect(str(path))
        return await asyncio.open_unix_connection(sock=sock, limit=limit)
    except BaseException:
        sock.close()
        raise


async def ask(path: Path) -> Answer:
    """Ask the daemon of this socket whether it is there. One that was just killed still takes
    connections, and then hangs up; one that is busy takes its time, and is there all the same."""
    try:
        reader, writer = await connect(path)
    except BlockingIOError:
        return Answer.SILENT
    except OSError:
        return Answer.GONE
    try:
        writer.write(QUESTION)
        async with asyncio.timeout(BUSY):
            return Answer.GIVEN if await reader.read(1) else Answer.GONE
    except TimeoutError:
        return Answer.SILENT
    except OSError:
        return Answer.GONE
    finally:
        writer.close()

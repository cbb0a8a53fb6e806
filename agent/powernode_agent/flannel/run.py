"""Runs a program of the host's to its end, without a shell, and gives what it said."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import suppress
from typing import Final

from powernode_agent.flannel.errors import FlannelError

_TIMEOUT: Final = 60.0


async def run(command: list[str], timeout: float = _TIMEOUT) -> tuple[int, str]:
    """Exit status, and what it said: of its errors, if it failed. Raises `FlannelError`."""
    process: asyncio.subprocess.Process | None = None
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        async with asyncio.timeout(timeout):
            out, err = await process.communicate()
    except (OSError, TimeoutError) as error:
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        raise FlannelError(
            "cannot run a program",
            which=" ".join(command),
            value=getattr(error, "strerror", None) or f"no answer within {timeout:g} s",
        ) from error
    code = process.returncode or 0
    return code, (err or out if code else out).decode("utf-8", "replace")

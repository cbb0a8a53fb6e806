"""Which FRR this host has, and whether it will do. Shell."""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Final

from powernode_agent.frr.errors import FrrMissingError

OLDEST: Final = (8, 4)
"""Every line that we generate was held against 8.4; earlier ones print some in other words."""
_VERSION: Final = re.compile(r"version (\d+)\.(\d+)")
_TIMEOUT: Final = 10.0


async def check_installed(programs: Path) -> tuple[int, int]:
    """Version of the FRR in this directory. Raises `FrrMissingError`."""
    program = programs / "bgpd"
    try:
        process = await asyncio.create_subprocess_exec(
            program, "--version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL
        )
        async with asyncio.timeout(_TIMEOUT):
            said, _ = await process.communicate()
    except (OSError, TimeoutError) as error:
        raise FrrMissingError(
            "iBGP needs FRR, which this host lacks",
            which=str(program),
            value=str(error),
            action="install Debian's package frr; networks in static mode work without it",
        ) from error
    found = _VERSION.search(said.decode("utf-8", "replace"))
    version = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if version < OLDEST:
        raise FrrMissingError(
            "this FRR is too old for iBGP",
            which=str(program),
            value=".".join(map(str, version)) if found else "a version that cannot be read",
            expected=f"{'.'.join(map(str, OLDEST))} or later",
            action="upgrade the package frr; networks in static mode work without it",
        )
    return version

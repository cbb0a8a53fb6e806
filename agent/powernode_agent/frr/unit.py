"""FRR as a service of systemd: its daemons file, and its unit. Shell.

bgpd and bfdd are off in the package. They are turned on when an iBGP network first wants them, which
takes a restart of the unit; they are never turned off again, and the unit is never stopped: it may do
other work for an operator (field notes: an agent that stopped it every 30 s).
"""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from typing import Final

from powernode_agent.frr.errors import FrrError
from powernode_agent.frr.files import replace_file
from powernode_agent.frr.supervised import DAEMONS, Places, answers

_ENABLED: Final = ("bgpd", "bfdd")
_TIMEOUT: Final = 60.0
POLL_INTERVAL: Final = 0.05


class SystemdUnit:
    """The unit `frr`."""

    def __init__(self, places: Places, systemctl: str = "systemctl") -> None:
        self._places = places
        self._systemctl = systemctl

    async def ensure(self) -> tuple[str, ...]:
        """Have the daemons we need running; those that were started. Raises `FrrError`."""
        path = self._places.config / "daemons"
        try:
            text = path.read_text()
        except OSError as error:
            raise FrrError(
                "cannot read which FRR daemons are on",
                which=str(path),
                value=error.strerror or str(error),
                action="put the agent's user into the group frr",
            ) from error
        enabled = enable(text)
        missing = [n for n in DAEMONS if not await answers(self._places.run / f"{n}.vty")]
        if enabled != text:
            replace_file(path, enabled)
            await self._do("restart")
        elif missing:
            # watchfrr brings back a daemon that died by itself; a unit that was stopped it does not.
            await self._do("start")
        if enabled != text or missing:
            await self._until_answers()
        return tuple(missing)

    async def end(self) -> bool:
        """Nothing: the unit is not ours to stop."""
        return False

    async def _do(self, verb: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                self._systemctl, verb, "frr", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
            )
            async with asyncio.timeout(_TIMEOUT):
                _, said = await process.communicate()
        except (OSError, TimeoutError) as error:
            raise FrrError(f"cannot {verb} FRR", which="unit frr", value=str(error)) from error
        if process.returncode:
            raise FrrError(
                f"cannot {verb} FRR",
                which="unit frr",
                value=said.decode("utf-8", "replace").strip()[:300],
                action=f"try it: systemctl {verb} frr; the polkit rule of the agent allows it to",
            )

    async def _until_answers(self) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                for name in DAEMONS:
                    while not await answers(self._places.run / f"{name}.vty"):  # noqa: ASYNC110
                        await asyncio.sleep(POLL_INTERVAL)
        except TimeoutError as error:
            raise FrrError(
                "FRR's daemons do not come up",
                which="unit frr",
                expected=", ".join(DAEMONS),
                action="see why: journalctl -u frr -n 50",
            ) from error


def enable(text: str) -> str:
    """The daemons file with the daemons we need turned on, and everything else as it was. Pure."""
    for name in _ENABLED:
        line = re.compile(rf"^{name}=.*$", re.MULTILINE)
        on = f"{name}=yes"
        text = line.sub(on, text) if line.search(text) else f"{text.rstrip()}\n{on}\n"
    return text

"""FRR as a service of systemd: which daemons are on, its unit, and what it saves. Shell.

bgpd and bfdd are off in the package. The installer turns them on, as root: a script of root's runs what
stands in the file that says so, so that whoever may write it is root. Here it is only read. They start
with the unit's next start, which an iBGP network brings about when it first wants them; the unit is
never stopped: it may do other work for an operator (field notes: an agent that stopped it every 30 s).
FRR's own frr.conf is written by FRR: watchfrr, which is root, takes the word from the group frrvty.
"""

from __future__ import annotations

import asyncio
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Collection
from typing import Final

from powernode_agent.frr.elsewhere import clear_elsewhere
from powernode_agent.frr.errors import FrrDaemonsOffError, FrrError
from powernode_agent.frr.supervised import DAEMONS, Places, answers
from powernode_agent.frr.vty import Vty

_SWITCHED: Final = ("bgpd", "bfdd")
"""Those of our daemons that can be off."""
_SAVED: Final = "[OK]"
"""Last word of a saving that went well; its status says nothing."""
_TIMEOUT: Final = 60.0
_STOPPING: Final = 120.0
"""Seconds that the unit of Debian's package gives FRR to end."""
POLL_INTERVAL: Final = 0.05


class SystemdUnit:
    """The unit `frr`."""

    def __init__(self, places: Places, systemctl: str = "systemctl") -> None:
        self._places = places
        self._systemctl = systemctl

    async def ensure(self) -> tuple[str, ...]:
        """Have the daemons we need running; those that were started. Raises `FrrDaemonsOffError`,
        `FrrError`."""
        self._check_daemons_file()
        missing = await self._missing()
        if not missing:
            return ()
        # A unit that is just starting is waited for by this; one that was stopped starts. One that runs
        # is left alone: watchfrr brings back a daemon that died by itself.
        await self._do("start")
        if any(self._never_started(name) for name in await self._missing()):
            # The unit is older than the line that turned it on.
            await self._do("restart")
        await self._until_answers()
        return missing

    async def revive(self, daemons: Collection[str]) -> tuple[str, ...]:
        """Start the unit anew, as one of these hangs; all daemons of ours. FRR's script asks each to
        end, and waits for one that hangs until systemd kills it. Raises `FrrError`."""
        if not daemons:
            return ()
        await self._do("restart", timeout=_STOPPING + _TIMEOUT)
        await self._until_answers()
        return DAEMONS

    async def save(self) -> None:
        """Have FRR write what it runs into its frr.conf. Raises `FrrError`."""
        await clear_elsewhere(self._places.run)
        vty = await Vty.open(self._places.run / "watchfrr.vty")
        try:
            said = await vty.ask("write integrated")
        finally:
            await vty.close()
        if _SAVED not in said:
            raise FrrError(
                "FRR does not save its configuration",
                which=str(self._places.config / "frr.conf"),
                value=" ".join(said.split())[:300],
                action="try it as root: vtysh -c 'write integrated'",
            )

    def _check_daemons_file(self) -> None:
        path = self._places.config / "daemons"
        try:
            off = daemons_off(path.read_text())
        except (OSError, ValueError) as error:
            raise FrrError(
                "cannot read which FRR daemons are on",
                which=str(path),
                value=getattr(error, "strerror", None) or str(error),
                action="put the agent's user into the group frr",
            ) from error
        if off:
            name, line = next(iter(off.items()))
            also = f" (also {', '.join(list(off)[1:])})" if len(off) > 1 else ""
            raise FrrDaemonsOffError(
                "FRR daemons that iBGP needs are turned off",
                which=str(path),
                value=f"{line or f'no line {name}='}{also}",
                expected=f"{name}=yes",
                action="as root: "
                + " && ".join(
                    f"sed -i 's/^[[:space:]]*{each}=.*/{each}=yes/' {path}"
                    if stands
                    else f"printf '\\n{each}=yes\\n' >> {path}"
                    for each, stands in off.items()
                ),
            )

    async def _missing(self) -> tuple[str, ...]:
        return tuple([n for n in DAEMONS if not await answers(self._places.run / f"{n}.vty")])

    def _never_started(self, name: str) -> bool:
        # One that died leaves this behind; a unit that stops removes it.
        return not (self._places.run / f"{name}.pid").exists()

    async def end(self) -> bool:
        """Nothing: the unit is not ours to stop."""
        return False

    async def _do(self, verb: str, *, timeout: float = _TIMEOUT) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                self._systemctl, verb, "frr", stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
            )
            async with asyncio.timeout(timeout):
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


def daemons_off(text: str) -> dict[str, str]:
    """Daemons that a daemons file turns off, of those we need, each with the line that says so, or
    nothing if none speaks of it. Pure."""
    off: dict[str, str] = {}
    for name in _SWITCHED:
        lines = re.findall(rf"^[ \t]*({name}=.*)$", text, re.MULTILINE)
        # It is a shell script: the last assignment counts, and FRR's own test is for these three.
        value = lines[-1].partition("=")[2].partition("#")[0].strip(" \t\"'") if lines else ""
        if value in ("", "no", "0"):
            off[name] = lines[-1] if lines else ""
    return off

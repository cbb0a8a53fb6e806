"""FRR's daemons on a host without systemd: started once, left alone, and found again. Shell.

They put themselves into the background and are nobody's child, so that the data plane outlives the
agent. Whether one runs is asked of its vty socket: a file with a process id may be stale and name
somebody else. One that hangs runs: it is not started beside itself, but killed first, when whoever
counts its silence says so (`presence`). zebra is told to keep the routes of a predecessor that was
killed until bgpd has told it of them anew; by default it sweeps them while the sessions still say
Established (field notes). And bgpd is started anew with it: it comes back to a new zebra, but does not
tell it what it told the old one, and when the time is over, the routes would be gone under sessions
that still say Established.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from powernode_agent.frr.answering import Answer, ask
from powernode_agent.frr.errors import FrrError

log = structlog.get_logger()

DAEMONS: Final = ("zebra", "bgpd", "bfdd")
"""In the order of their start: the others tell zebra of themselves."""
START_TIMEOUT: Final = 15.0
END_TIMEOUT: Final = 5.0
POLL_INTERVAL: Final = 0.01
_KEEP_ROUTES: Final = 60
"""Seconds; a bgpd that is started anew has told it everything within two."""
_USER: Final = "frr"


@dataclass(frozen=True, slots=True)
class Places:
    """`programs`: where the daemons are; `run`: their sockets; `config`: frr.conf."""

    programs: Path = Path("/usr/lib/frr")
    run: Path = Path("/run/frr")
    config: Path = Path("/etc/frr")


class Supervised:
    """The daemons of this node."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def ensure(self) -> tuple[str, ...]:
        """Start those that do not run; their names. Raises `FrrError`."""
        self._prepare()
        started: list[str] = []
        for name in DAEMONS:
            if name == "bgpd" and "zebra" in started:
                await self._kill(name)
            if not await self._runs(name):
                await self._start(name)
                started.append(name)
        return tuple(started)

    async def revive(self, daemons: Collection[str]) -> tuple[str, ...]:
        """Kill these, which hang, and start what then does not run; the names of that. Raises
        `FrrError`."""
        for name in DAEMONS:
            if name in daemons:
                await self._kill(name)
        return await self.ensure()

    async def end(self) -> bool:
        """End those that run; whether any did. Raises `FrrError`."""
        pids: list[int] = []
        for number in (signal.SIGTERM, signal.SIGKILL):
            # Read anew: the number of one that has ended may be somebody else's by now.
            left = [pid for name in reversed(DAEMONS) if (pid := self._pid(name)) is not None]
            pids = pids or left
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = asyncio.get_running_loop().time() + END_TIMEOUT
            while asyncio.get_running_loop().time() < deadline:
                if not any(self._pid(name) for name in DAEMONS):
                    return bool(pids)
                await asyncio.sleep(POLL_INTERVAL)
        raise FrrError("FRR's daemons do not end", which=f"processes {pids}")

    async def _runs(self, name: str) -> bool:
        """Whether it does, hanging or not. One that is about to come or to go gets the time for it;
        one of ours that has lost its socket cannot be told anything any more, and is killed."""
        deadline = asyncio.get_running_loop().time() + END_TIMEOUT
        while not await answers(self._places.run / f"{name}.vty"):
            pid = self._pid(name)
            if pid is None:
                return False
            if asyncio.get_running_loop().time() >= deadline:
                log.info("frr.daemon_unreachable", daemon=name, pid=pid)
                await self._kill(name)
                return False
            await asyncio.sleep(POLL_INTERVAL)
        return True

    async def _kill(self, name: str) -> None:
        """At once: its neighbours keep its routes for a while (graceful restart), where a daemon that
        ends as told would have them dropped."""
        pid = self._pid(name)
        if pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        deadline = asyncio.get_running_loop().time() + END_TIMEOUT
        while self._pid(name) == pid:
            if asyncio.get_running_loop().time() >= deadline:
                raise FrrError(
                    "an FRR daemon does not end", which=f"{name}, process {pid}",
                    value=f"SIGKILL {END_TIMEOUT:.0f} s ago",
                    action=f"see what it waits for: cat /proc/{pid}/stack",
                )  # fmt: skip
            await asyncio.sleep(POLL_INTERVAL)

    def _prepare(self) -> None:
        try:
            self._places.run.mkdir(parents=True, exist_ok=True)
            self._places.config.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                for directory in (self._places.run, self._places.config):
                    shutil.chown(directory, _USER, _USER)
        except (OSError, LookupError) as error:
            raise FrrError(
                "cannot prepare the directories of FRR", which=str(self._places.run),
                value=str(error), action="install Debian's package frr, which makes the user frr",
            ) from error  # fmt: skip

    def _command(self, name: str) -> list[str]:
        run = self._places.run
        command = [
            str(self._places.programs / name),
            "--daemon",
            "--pid_file",
            str(run / f"{name}.pid"),
            "--vty_socket",
            str(run),
            "--socket",
            str(run / "zserv.api"),
            "--config_file",
            str(self._places.config / f"{name}.conf"),
            "--vty_port",
            "0",
            "--log",
            "syslog",
        ]
        if name == "zebra":
            command += ["--graceful_restart", str(_KEEP_ROUTES), "--nl-bufsize", "90000000"]
        if name == "bfdd":
            command += ["--bfdctl", str(run / "bfdd.sock")]
        return command

    async def _start(self, name: str) -> None:
        socket = self._places.run / f"{name}.vty"
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(name),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                cwd="/",
                env={"PATH": f"{os.defpath}:/usr/sbin:/sbin"},
                start_new_session=True,
            )
            async with asyncio.timeout(START_TIMEOUT):
                await process.wait()
                while not await answers(socket):
                    if process.returncode:
                        break
                    await asyncio.sleep(POLL_INTERVAL)
                else:
                    return
        except (OSError, TimeoutError) as error:
            raise self._failed(name, str(error) or f"no answer in {START_TIMEOUT:.0f} s") from error
        raise self._failed(name, f"exit status {process.returncode}")

    def _failed(self, name: str, value: str) -> FrrError:
        return FrrError(
            "an FRR daemon does not start",
            which=name,
            value=value,
            action=f"see why: {' '.join(self._command(name)).replace('--daemon ', '')}",
        )

    def _pid(self, name: str) -> int | None:
        """Process id of a daemon of ours; None: it does not run."""
        try:
            pid = int((self._places.run / f"{name}.pid").read_text())
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        ours = str(self._places.run / f"{name}.pid").encode() in words
        return pid if ours and state not in "ZX" else None


async def answers(socket: Path) -> bool:
    """Whether there is a daemon behind this socket, be it one that hangs."""
    return await ask(socket) is not Answer.GONE

"""Restarting k3s, behind one port: by systemd, by a program that the operator names, or by nobody.

k3s is restarted only while it runs: one that is stopped reads its configuration when it starts. A
restart takes k3s half a minute or more, and nothing here waits for it.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Final, Protocol

from powernode_agent.flannel.errors import FlannelError
from powernode_agent.flannel.run import run

_NOT_RUNNING: Final = 3
"""What a program answers for a service that does not run (LSB, and systemctl is-active)."""
_RUNNING: Final = frozenset({"active", "activating", "reloading"})


class Restarted(Enum):
    YES = "yes"
    NOT_RUNNING = "not running"
    NOBODY = "nobody"
    """Nobody here can restart it."""


class K3s(Protocol):
    """The port. Implementations raise `FlannelError` and nothing else."""

    async def restart(self, unit: str) -> Restarted:
        """Have `unit` restarted if it runs."""


class SystemdK3s:
    """The unit of k3s's installer."""

    def __init__(self, systemctl: str = "systemctl") -> None:
        self._systemctl = systemctl

    async def restart(self, unit: str) -> Restarted:
        _, state = await run([self._systemctl, "show", "--property=ActiveState", "--value", unit])
        if state.strip() not in _RUNNING:
            return Restarted.NOT_RUNNING
        # try-restart: it may have been stopped since. no-block: where k3s waits for this very agent to
        # be ready, waiting for k3s would never end.
        code, said = await run([self._systemctl, "try-restart", "--no-block", unit])
        if code:
            raise FlannelError(
                "cannot restart k3s",
                which=f"unit {unit}",
                value=said.strip()[:300],
                action=f"try it: systemctl try-restart {unit}; the agent's polkit rule allows it to",
            )
        return Restarted.YES


class ProgramK3s:
    """A program that is called with the name of the unit, and ends with 3 if that does not run."""

    def __init__(self, program: Path) -> None:
        self._program = program

    async def restart(self, unit: str) -> Restarted:
        code, said = await run([str(self._program), unit])
        if code == _NOT_RUNNING:
            return Restarted.NOT_RUNNING
        if code:
            raise FlannelError(
                "cannot restart k3s",
                which=f"{self._program} {unit}",
                value=said.strip()[:300] or f"exit status {code}",
                expected="exit status 0, or 3 when k3s does not run",
                action="try it, or leave [k3s] restart_program out of agent.toml",
            )
        return Restarted.YES


class NobodysK3s:
    """Without systemd, and without a program for it."""

    async def restart(self, unit: str) -> Restarted:
        return Restarted.NOBODY

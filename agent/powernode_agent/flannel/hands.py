"""Who puts the file among k3s's: we ourselves where we are root, and under systemd a unit of root's.

k3s runs as root and takes its data directory and any argument of its parts from these files: whoever
may write them is root. So the agent's own user may not. It leaves what it wants in its state directory
and starts a unit (`install`) that takes nothing but the four lines we can mean, and writes them itself.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final, Protocol

from powernode_agent.flannel.errors import FlannelError
from powernode_agent.flannel.files import DropInFile, replace_file
from powernode_agent.flannel.run import run

INSTALL_UNIT: Final = "powernode-agent-k3s.service"
STAGED_NAME: Final = "k3s-drop-in.yaml"


class Hands(Protocol):
    """The port. Implementations raise `FlannelError` and nothing else."""

    async def write(self, text: str) -> None:
        """Have the file say `text`."""

    async def remove(self) -> bool:
        """Have no file of ours; whether there was one."""


class OwnHands:
    """For root."""

    def __init__(self, file: DropInFile) -> None:
        self._file = file

    async def write(self, text: str) -> None:
        await asyncio.to_thread(self._file.write, text)

    async def remove(self) -> bool:
        return await asyncio.to_thread(self._file.remove)


class RootsHands:
    """For the agent's own user. `staged` is where the unit looks for what is wanted."""

    def __init__(self, file: DropInFile, staged: Path, systemctl: str = "systemctl") -> None:
        self._file = file
        self._staged = staged
        self._systemctl = systemctl

    async def write(self, text: str) -> None:
        await asyncio.to_thread(replace_file, self._staged, text, 0o600)
        await self._install()
        if await asyncio.to_thread(self._file.read) != text:
            raise self._failed("the file is not what it should be")

    async def remove(self) -> bool:
        if await asyncio.to_thread(self._file.read) is None:
            return False
        # An empty one says that there should be none.
        await asyncio.to_thread(replace_file, self._staged, "", 0o600)
        await self._install()
        return True

    async def _install(self) -> None:
        code, said = await run([self._systemctl, "start", INSTALL_UNIT])
        if code:
            raise self._failed(said.strip()[:300])

    def _failed(self, value: str) -> FlannelError:
        return FlannelError(
            "cannot hand k3s its configuration",
            which=f"unit {INSTALL_UNIT}, {self._file.path}",
            value=value,
            action=f"see why: journalctl -u {INSTALL_UNIT} -n 20",
        )

"""FRR of this node as one thing: there, ours, told what it should run, and given back.

Where no network wants iBGP, FRR is not touched at all: it may do other work for an operator. Where one
does, the order is: is there a FRR that will do, is its configuration ours, do the daemons run, do they
say what they should, and does the file say it for their next start.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from powernode_agent.frr.errors import FrrError
from powernode_agent.frr.files import ConfigFile, Note, Save
from powernode_agent.frr.installed import check_installed
from powernode_agent.frr.supervised import Places
from powernode_agent.frr.writer import Writer, Written
from powernode_agent.model.frr_config import FrrConfig


class Daemons(Protocol):
    """Who starts and ends the daemons: `Supervised` or `SystemdUnit`."""

    async def ensure(self) -> tuple[str, ...]: ...

    async def revive(self, daemons: Collection[str]) -> tuple[str, ...]: ...

    async def end(self) -> bool: ...


class FrrService:
    """Not for two callers at once. `save`: how FRR is had to write its frr.conf; None: we write it.
    `backups`: where a frr.conf that was there before is kept; None: beside ours."""

    def __init__(
        self,
        places: Places,
        daemons: Daemons,
        *,
        note: Note,
        adopt: bool = False,
        save: Save | None = None,
        backups: Path | None = None,
    ) -> None:
        self._places = places
        self._daemons = daemons
        self._file = ConfigFile(
            places.config, adopt=adopt, note=note, save=save, backups=backups or places.config
        )
        self._writer = Writer(places.run)
        self._installed = False
        """Whether a FRR that will do was found; asking takes a fork."""

    async def running(self) -> FrrConfig:
        """What runs now. Raises `FrrError`."""
        return await self._writer.running()

    async def bring(self, wanted: FrrConfig) -> Written:
        """Have FRR run `wanted`; nothing: give it back. Raises `FrrError`."""
        if not wanted.contexts:
            await self.give_back()
            return Written(())
        if not self._installed:
            await check_installed(self._places.programs)
            self._installed = True
        claimed = self._file.claimed
        if claimed:
            # What became of the file is no reason to leave dead what we had run.
            await self._ensure()
        await self._file.claim(wanted)
        if not claimed:
            await self._ensure()
        written = await self._writer.write(wanted)
        await self._file.write(wanted)
        return written

    async def _ensure(self) -> None:
        try:
            await self._daemons.ensure()
        except FrrError:
            # Perhaps it was taken away.
            self._installed = False
            raise

    async def revive(self, daemons: Collection[str]) -> tuple[str, ...]:
        """Have daemons that hang started anew; those that were. What they should run they are told by
        `bring`. Raises `FrrError`."""
        return await self._daemons.revive(daemons)

    async def give_back(self) -> bool:
        """Nothing of ours in FRR any more; whether there was. One that is not ours is left alone.
        Raises `FrrError`."""
        if not await self._file.is_ours():
            return False
        if not await self._daemons.end():
            # It goes on for others: then at least without our networks.
            await self._daemons.ensure()
            await self._writer.write(FrrConfig())
        return await self._file.give_back()

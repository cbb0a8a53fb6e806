"""FRR of this node as one thing: there, ours, told what it should run, and given back.

Where no network wants iBGP, FRR is not touched at all: it may do other work for an operator. Where one
does, the order is: is there a FRR that will do, is its configuration ours, do the daemons run, do they
say what they should, and does the file say it for their next start.
"""

from __future__ import annotations

from typing import Protocol

from powernode_agent.frr.errors import FrrError
from powernode_agent.frr.files import ConfigFile
from powernode_agent.frr.installed import check_installed
from powernode_agent.frr.supervised import Places
from powernode_agent.frr.writer import Writer, Written
from powernode_agent.model.frr_config import FrrConfig


class Daemons(Protocol):
    """Who starts and ends the daemons: `Supervised` or `SystemdUnit`."""

    async def ensure(self) -> tuple[str, ...]: ...

    async def end(self) -> bool: ...


class FrrService:
    """Not for two callers at once."""

    def __init__(self, places: Places, daemons: Daemons, *, adopt: bool = False) -> None:
        self._places = places
        self._daemons = daemons
        self._file = ConfigFile(places.config, adopt=adopt)
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
        self._file.claim()
        try:
            await self._daemons.ensure()
        except FrrError:
            # Perhaps it was taken away.
            self._installed = False
            raise
        written = await self._writer.write(wanted)
        self._file.write(wanted)
        return written

    async def give_back(self) -> bool:
        """Nothing of ours in FRR any more; whether there was. One that is not ours is left alone.
        Raises `FrrError`."""
        if not self._file.is_ours():
            return False
        if not await self._daemons.end():
            # It goes on for others: then at least without our networks.
            await self._daemons.ensure()
            await self._writer.write(FrrConfig())
        return self._file.give_back()

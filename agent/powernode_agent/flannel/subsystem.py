"""The room of k3s: its file stands as wanted, k3s runs with it, and what flannel says is read.

It promises that the file is there whenever a bootstrap is wanted, that one as it should be costs no
write, that k3s is restarted once for each change of what it is to run with and never for anything else,
and that a file of somebody else's is named and left alone.

A file that somebody changed by hand is put right without a restart: k3s still runs with what we wrote.
When no bootstrap is wanted any more the file goes and k3s is not restarted either: a restart would move
its pods to another backend (its default) with an outage that nobody asked for. It says so when it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.flannel.compile import DropIn
from powernode_agent.flannel.errors import ForeignDropInError
from powernode_agent.flannel.files import DropInFile, Note, NoteFile
from powernode_agent.flannel.hands import Hands
from powernode_agent.flannel.k3s import K3s, Restarted
from powernode_agent.flannel.subnet import NOT_MEASURED, Subnet, SubnetFile
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.desired_state import DesiredState

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Places:
    """`directory` of k3s's drop-ins; `subnet` is flannel's subnet.env; `note` is our own."""

    directory: Path
    subnet: Path
    note: Path


class Flannel:
    """What this node does about k3s. `wall` gives seconds since the epoch."""

    name = "flannel"

    def __init__(self, places: Places, hands: Hands, k3s: K3s, wall: Callable[[], float]) -> None:
        self._file = DropInFile(places.directory)
        self._hands = hands
        self._subnet_file = SubnetFile(places.subnet)
        self._note_file = NoteFile(places.note)
        self._k3s = k3s
        self._wall = wall
        self._note: Note | None = None
        self._text: str | None = None
        self._failure: AgentError | None = None
        self.subnet: Subnet = NOT_MEASURED
        """What flannel said at the last look."""

    @property
    def restarted_at_ms(self) -> int | None:
        """When k3s was last restarted for a change."""
        return self._noted().restarted_at_ms

    def stands(self, target: DropIn) -> bool:
        """Whether k3s would read `target` if it started now, as of the last look. A file of somebody
        else's counts as standing: who put it there has decided, and waiting would not change it."""
        return self._text == target.text or isinstance(self._failure, ForeignDropInError)

    def observe(self, state: DesiredState) -> AgentError | None:
        """Look at the file and at flannel; what was wrong with the file, if anything was."""
        flannel = next((e.flannel for e in state.networks.values() if e.flannel is not None), None)
        self.subnet = NOT_MEASURED
        if flannel is not None:
            self.subnet = self._subnet_file.read(flannel.cluster_cidr.version)
        self._text, self._failure = None, None
        try:
            self._text = self._file.read()
        except AgentError as error:
            self._failure = error
        return self._failure if flannel is not None else None

    def plan(self, target: DropIn | None) -> list[Change]:
        """What it takes until k3s runs with `target`. Nothing where the file could not be read."""
        if self._failure is not None:
            return []
        if target is None:
            return [] if self._text is None else [self._removal()]
        lines: list[str] = []
        if self._text != target.text:
            lines.append(f"write {self._file.path}: {target.settings}")
        if self._noted().text != target.text:
            lines.append(f"restart {target.unit}, if it runs: {target.settings}")
        if not lines:
            return []
        return [self._change(target, Verb.CHANGE, lines, lambda: self._bring(target))]

    async def purge(self) -> list[str]:
        """Remove what is ours; one line for each thing removed. Raises `AgentError`."""
        self._note_file.forget()
        self._note = None
        try:
            removed = await self._hands.remove()
        except ForeignDropInError:
            return []
        return [f"removed {self._file.path}"] if removed else []

    async def _bring(self, target: DropIn) -> None:
        if await asyncio.to_thread(self._file.read) != target.text:
            await self._hands.write(target.text)
        self._text = target.text
        noted = self._noted()
        if noted.text == target.text:
            return
        restarted = await self._k3s.restart(target.unit)
        at = noted.restarted_at_ms
        if restarted is Restarted.YES:
            at = round(1000 * self._wall())
            log.info(
                "flannel.k3s_restarted",
                unit=target.unit,
                network=target.network_id,
                settings=target.settings,
                note="pods of this node are cut off until k3s is back",
            )
        elif restarted is Restarted.NOBODY:
            log.warning(
                "flannel.k3s_not_restarted",
                unit=target.unit,
                settings=target.settings,
                action="if k3s runs here, restart it, or set [k3s] restart_program in agent.toml",
            )
        await self._write_note(Note(target.text, at))

    async def _take_away(self) -> None:
        await self._hands.remove()
        self._text = None
        await self._write_note(Note("", self._noted().restarted_at_ms))
        log.info(
            "flannel.drop_in_removed",
            file=str(self._file.path),
            note="k3s is not restarted; when it next starts, it uses its own flannel backend",
        )

    async def _write_note(self, note: Note) -> None:
        await asyncio.to_thread(self._note_file.write, note)
        self._note = note

    def _noted(self) -> Note:
        if self._note is None:
            self._note = self._note_file.read()
        return self._note

    def _removal(self) -> Change:
        line = f"remove {self._file.path}; k3s is not restarted for it"
        return self._change(None, Verb.REMOVE, [line], self._take_away)

    def _change(
        self,
        target: DropIn | None,
        verb: Verb,
        lines: list[str],
        apply: Callable[[], Awaitable[None]],
    ) -> Change:
        network_id = None if target is None else target.network_id
        return Change(self.name, network_id, Phase.BOOTSTRAP, verb, tuple(lines), apply)

"""The one writer of FRR's configuration: reads, enters the difference, reads back, and puts back what
stood before if FRR refuses a line or makes something else of it.

FRR has no transactions that could be trusted with this: `frr-reload` reports success over a line that
FRR did not understand and has already taken out the old one by then, and takes 35 s to remove 500
networks. What is the same is not sent, so a second writing of the same configuration sends nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from powernode_agent.frr.difference import Daemon, Step, commands_of, daemon_of, difference, same
from powernode_agent.frr.errors import FrrNotRestoredError, FrrRefusedError
from powernode_agent.frr.running import parse_running
from powernode_agent.frr.vty import SUCCESS, WARNING, Vty
from powernode_agent.model.frr_config import Context, FrrConfig

log = structlog.get_logger()

_ROUNDS: Final = 3
"""Of entering and reading back. One is enough for everything that we know of; a line that FRR does not
replace takes a second one, in which it is taken out first."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a writing took: `steps` sent; none: it was so already."""

    steps: tuple[str, ...]


class Writer:
    """`run` is the directory of the daemons' sockets. Not for two callers at once."""

    def __init__(self, run: Path) -> None:
        self._run = run

    async def running(self) -> FrrConfig:
        """What both daemons run. Raises `FrrError`."""
        contexts: dict[Context, tuple[str, ...]] = {}
        for daemon in Daemon:
            vty = await Vty.open(self._run / f"{daemon.value}.vty")
            try:
                found = parse_running(await vty.ask("show running-config"))
            finally:
                await vty.close()
            for context, lines in found.contexts.items():
                # Both print what the host has in common, such as prefix lists of their own.
                if daemon_of(context) is daemon and (context or daemon is Daemon.BGPD):
                    contexts[context] = lines
        return FrrConfig(contexts)

    async def write(self, wanted: FrrConfig) -> Written:
        """Bring FRR to run `wanted`, and nothing else. Raises `FrrError`; if that is a
        `FrrRefusedError`, what ran before runs again."""
        before = await self.running()
        if same(before, wanted):
            return Written(())
        sent: list[str] = []
        try:
            running = before
            for number in range(_ROUNDS):
                steps = difference(running, wanted, by_replacing=number > 0)
                sent += commands_of(steps)
                await self._enter(steps)
                running = await self.running()
                if same(running, wanted):
                    return Written(tuple(sent))
            raise _misread(running, wanted)
        except FrrRefusedError as error:
            left = await self._put_back(before)
            if left:
                raise FrrNotRestoredError(
                    "FRR refused a change, and what stood before could not be put back wholly",
                    which=f"{len(left)} lines, the first: {left[0]}",
                    value=str(error),
                    action="the agent tries again; `vtysh -c 'show running-config'` shows what runs",
                ) from error
            raise

    async def _put_back(self, before: FrrConfig) -> Sequence[str]:
        """What could not be put back; nothing: all of it was."""
        left: list[Step] = []
        for number in range(_ROUNDS + 1):
            running = await self.running()
            if same(running, before):
                return ()
            left = difference(running, before, by_replacing=number > 0)
            if number < _ROUNDS:
                await self._enter(left, whatever_is_said=True)
        return commands_of(left) or ("order",)

    async def _enter(self, steps: Sequence[Step], *, whatever_is_said: bool = False) -> None:
        async with AsyncExitStack() as stack:
            open_: dict[Daemon, Vty] = {}
            for daemon in {step.daemon for step in steps}:
                vty = await Vty.open(self._run / f"{daemon.value}.vty")
                stack.push_async_callback(vty.close)
                await vty.ask("configure terminal")
                open_[daemon] = vty
            start = 0
            while start < len(steps):
                # In order over both daemons, and in one go where several of a kind are in a row.
                # Nothing may be taken out behind a line that was refused: it would only have to be
                # put back, and a session would have been reset for that.
                end = start
                while end < len(steps) and _kind(steps[end]) == _kind(steps[start]):
                    end += 1
                chunk = steps[start:end]
                await _say(open_[chunk[0].daemon], chunk, whatever_is_said=whatever_is_said)
                start = end
            for vty in open_.values():
                await vty.say(["end"])


def _kind(step: Step) -> tuple[Daemon, bool]:
    return step.daemon, step.removes


async def _say(vty: Vty, steps: Sequence[Step], *, whatever_is_said: bool) -> None:
    """Enter steps of one daemon; each from the top, unless it is where the one before it was."""
    commands: list[str] = []
    origins: list[Step] = []
    here: Context | None = None
    for step in steps:
        if step.context != here:
            path = ["end", "configure terminal", *step.context]
            commands += path
            origins += [step] * len(path)
            here = step.context
        if step.command:
            commands.append(step.command)
            origins.append(step)
    for (status, said), step, command in zip(
        await vty.say(commands), origins, commands, strict=True
    ):
        # What was to go and is not there is gone; whether it is, the reading back tells.
        if status == SUCCESS or whatever_is_said or (step.removes and status == WARNING):
            continue
        if step.removes:
            log.info("frr.not_removed", line=str(step), said=" ".join(said.split())[:200])
            continue
        raise FrrRefusedError(
            "FRR refuses a line of its configuration, and what stood before was put back",
            which=f"{step.daemon.value}: {step}",
            value=" ".join(said.split())[:300] or f"status {status} at {command!r}",
            action="`vtysh -c 'show running-config'` shows what runs",
        )


def _misread(running: FrrConfig, wanted: FrrConfig) -> FrrRefusedError:
    left = commands_of(difference(running, wanted))
    return FrrRefusedError(
        "FRR made something else of its configuration, and what stood before was put back",
        which=f"{len(left)} lines, the first: {left[0] if left else 'order'}",
        expected="that it prints what it was told",
        action="compare `vtysh -c 'show running-config'` with `powernode-agent plan`",
    )

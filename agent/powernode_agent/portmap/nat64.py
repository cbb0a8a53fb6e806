"""The NAT64 beside nftables: one tayga, started once, left alone, and found again. Shell.

It runs in a session of its own and is nobody's child, so that the data plane outlives the agent. Its
link lives as long as it does: where `pn-nat64` is, it runs, and killed it takes link and routes along,
which the mirror of netlink tells at once. Nothing in it is secret.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.netlink.records import Link
from powernode_agent.portmap import processes
from powernode_agent.portmap.errors import PortMapError
from powernode_agent.portmap.forwarding import missing
from powernode_agent.portmap.port import Kernel, Sysctls
from powernode_agent.portmap.translator import (
    CONFIGURATION,
    FILE_NAME,
    FILE_PREFIX,
    LINK,
    ROUTES,
    SETTINGS,
)

START_TIMEOUT: Final = 10.0
END_TIMEOUT: Final = 5.0
POLL_INTERVAL: Final = 0.01
_KIND: Final = "tun"


class Nat64:
    """The one of this node. `directory` is where its configuration goes, `program` its path or name."""

    def __init__(
        self,
        kernel: Kernel,
        sysctls: Sysctls,
        directory: Path,
        room: str,
        program: str | Path = "tayga",
    ) -> None:
        self._kernel = kernel
        self._sysctls = sysctls
        self._directory = directory
        self._room = room
        self._program = str(program)
        self._known: tuple[int, bool] | None = None
        """Index of the link whose process was looked at, and whether it is told what we tell now."""
        self._lost: bool | None = None
        """Whether one runs without the link, which somebody deleted; None: not looked yet."""
        self._error: AgentError | None = None
        """Why the last change failed; until one succeeds, or nothing is left to be changed."""
        self._pids: tuple[int, ...] = ()
        self._stopped: AgentError | None = None

    @property
    def error(self) -> AgentError | None:
        """What keeps it from running; None: nothing that is known."""
        return self._stopped or self._error

    @property
    def ready(self) -> bool:
        """Whether it runs and packets find it, as of the last observation."""
        link = self._kernel.link_by_name(LINK)
        return link is not None and self._known is not None and not self._to_do(link)

    def observe(self) -> None:
        """Look whose the link is, where that is not known; the mirror tells everything else."""
        link = self._kernel.link_by_name(LINK)
        self._stopped = None
        if link is None:
            if self._lost is None or self._known is not None:
                self._lost = bool(self._running())
            self._known = None
            return
        if self._known is not None and self._known[0] == link.index:
            self._look_if_stopped()
            return
        running = self._running() if link.kind == _KIND else []
        if not running:
            self._known = None
            self._error = PortMapError(
                "a link with our name is not ours",
                which=f"link {LINK}",
                value=f"a link of kind {link.kind or '(unknown)'} without our tayga",
                expected="a tun of the tayga that this agent started",
                action=f"look with `ip -d link show {LINK}`; if unneeded, `ip link delete {LINK}`",
            )
            return
        self._known = (link.index, all(each.configuration.name == FILE_NAME for each in running))
        self._pids = tuple(each.pid for each in running)
        self._error = None
        self._look_if_stopped()

    def _look_if_stopped(self) -> None:
        """Nobody tells of that, and nothing else shows it. Who stopped it may have a reason, so it is
        not started again."""
        for pid in self._pids:
            if processes.is_stopped(pid):
                self._stopped = PortMapError(
                    "the NAT64 is stopped, and translates nothing",
                    which=f"{self._program}, process {pid}",
                    value="state T (stopped)",
                    expected="a running process",
                    action=f"let it go on: kill -CONT {pid}",
                )

    def plan(self, *, wanted: bool, remember: bool = True) -> list[Change]:
        """What leads to its running, or to its being away; nothing for a link that is not ours.
        `remember` False: only asked, leave no trace."""
        link = self._kernel.link_by_name(LINK)
        if link is not None and self._known is None:
            return []
        if not wanted:
            if remember:
                self._error = None
            if link is None and not self._lost:
                return []
            return [self._change(Verb.REMOVE, (f"stop NAT64: tayga on {LINK}",), self._stop)]
        if link is None:
            line = f"start NAT64: tayga on {LINK}"
            return [self._change(Verb.ADD, (line,), self._start)]
        if self._known is not None and not self._known[1]:
            line = f"restart NAT64: tayga on {LINK} has the configuration of another version"
            return [self._change(Verb.CHANGE, (line,), self._start)]
        to_do = self._to_do(link)
        if to_do:
            return [self._change(Verb.CHANGE, to_do, self._set_up)]
        if remember:
            self._error = None
        return []

    async def purge(self) -> bool:
        """End it; whether there was one. Raises `AgentError`."""
        there = bool(self._running())
        await self._stop()
        (self._directory / FILE_NAME).unlink(missing_ok=True)
        return there

    # What is.

    def _running(self) -> list[processes.Translator]:
        return processes.find(Path(self._program).name, self._directory, FILE_PREFIX)

    def _to_do(self, link: Link) -> tuple[str, ...]:
        """What the link lacks, in words."""
        routes = {route.prefix for route in self._kernel.routes(link.index)}
        lines = [] if link.up else [f"{LINK}: up"]
        lines += [f"{LINK}: route {prefix}" for prefix in sorted(ROUTES - routes, key=str)]
        lines += [f"{key}: 1" for key in missing(SETTINGS, self._sysctls)]
        return tuple(lines)

    # What is done.

    def _change(
        self, verb: Verb, lines: tuple[str, ...], apply: Callable[[], Awaitable[None]]
    ) -> Change:
        async def carry_out() -> None:
            try:
                await apply()
            except AgentError as error:
                self._error = error
                raise
            self._error = None

        return Change(self._room, None, Phase.NAT, verb, lines, carry_out)

    async def _start(self) -> None:
        await self._stop()  # one that lost its link spins, and holds nothing any more
        path = self._directory / FILE_NAME
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            path.write_text(CONFIGURATION)
        except OSError as error:
            raise _failed("cannot write its configuration", str(path), error) from error
        try:
            process = await asyncio.create_subprocess_exec(
                self._program,
                "--config",
                str(path),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                cwd="/",
                env={"PATH": f"{os.defpath}:/usr/sbin:/sbin"},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise PortMapError(
                "IPv4 outside to IPv6 inside needs the NAT64 tayga, which this host lacks",
                which=f"program {self._program}",
                action="install Debian's package tayga; other mappings work without it",
            ) from error
        except OSError as error:
            raise _failed("cannot start it", self._program, error) from error
        try:
            # It puts itself into the background, and says nothing either way.
            await asyncio.wait_for(process.wait(), START_TIMEOUT)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise PortMapError(
                "the NAT64 does not go into the background",
                which=f"{self._program} --config {path}",
                expected=f"that within {START_TIMEOUT:.0f} s",
                action="see why: journalctl -t tayga",
            ) from error
        await self._until(self._appeared, START_TIMEOUT)
        link = self._kernel.link_by_name(LINK)
        if link is None:
            raise PortMapError(
                "the NAT64 ended without making its link",
                which=f"{self._program} --config {path}",
                action="see why: journalctl -t tayga; it needs /dev/net/tun and CAP_NET_ADMIN",
            )
        self._known = (link.index, True)
        self._pids = tuple(each.pid for each in self._running())
        await self._set_up()

    async def _set_up(self) -> None:
        await self._kernel.settle()
        link = self._kernel.link_by_name(LINK)
        if link is None:
            raise PortMapError(
                "the NAT64 ended", which=f"link {LINK}", action="see why: journalctl -t tayga"
            )
        for key in missing(SETTINGS, self._sysctls):
            self._sysctls.set(key, "1")
        if not link.up:
            # Without an address of its own: nobody is to be spoken to by it.
            await self._kernel.set_link(link.index, no_link_local=True)
            await self._kernel.set_link(link.index, up=True)
        present = {route.prefix for route in self._kernel.routes(link.index)}
        lacking = sorted(ROUTES - present, key=str)
        if lacking:
            await self._kernel.add_routes(link.index, lacking)
        await self._kernel.settle()

    async def _stop(self) -> None:
        self._lost = False
        if not self._running():
            return
        for force, timeout in ((False, END_TIMEOUT), (True, END_TIMEOUT)):
            for translator in self._running():
                try:
                    processes.end(translator, force=force)
                except OSError as error:
                    raise _failed("cannot end it", f"process {translator.pid}", error) from error
            if await self._until(self._disappeared, timeout):
                self._known = None
                return
        raise PortMapError(
            "the NAT64 does not end",
            which=f"link {LINK}",
            expected=f"an end within {2 * END_TIMEOUT:.0f} s",
            action=f"look for it: pgrep -af '{self._program} --config {self._directory}'",
        )

    def _appeared(self) -> bool:
        return self._kernel.link_by_name(LINK) is not None or not self._running()

    def _disappeared(self) -> bool:
        return self._kernel.link_by_name(LINK) is None and not self._running()

    async def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Whether it came true in time; nobody would tell us."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while True:
            await self._kernel.settle()
            if condition():
                return True
            if loop.time() > end:
                return False
            await asyncio.sleep(POLL_INTERVAL)


def _failed(what: str, which: str, error: OSError) -> PortMapError:
    return PortMapError(f"NAT64: {what}", which=which, value=error.strerror or str(error))

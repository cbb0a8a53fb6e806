"""Daemons that hang: told from those that are gone, never started twice, and started anew."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from frr_own import Frr, frr

from powernode_agent.frr.answering import Answer, ask
from powernode_agent.frr.errors import FrrError
from powernode_agent.frr.presence import HANGS_AFTER, Presence
from powernode_agent.frr.vty import Vty

if TYPE_CHECKING:
    from tests.netns.conftest import PrivateNamespace

pytestmark = [
    pytest.mark.skipif(shutil.which("/usr/lib/frr/bgpd") is None, reason="FRR is not installed"),
]

DAEMONS = ("zebra", "bgpd", "bfdd")
QUEUE = 6
"""Connections that the kernel keeps for a daemon that takes none."""


@pytest_asyncio.fixture
async def world(private_namespace: PrivateNamespace) -> AsyncIterator[Frr]:
    private_namespace.ip("link", "set", "lo", "up")
    async with frr() as made:
        yield made


def pid_of(world: Frr, name: str) -> int:
    return int((world.places.run / f"{name}.pid").read_text())


def pids(world: Frr) -> dict[str, int]:
    return {name: pid_of(world, name) for name in DAEMONS}


def runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # Whoever it is left to may not have asked for its exit status yet.
    return stat.rpartition(")")[2].split()[0] != "Z"


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("name", DAEMONS)
async def test_one_that_hangs_is_not_started_beside_itself(world: Frr, name: str) -> None:
    before = pids(world)
    path = world.places.run / f"{name}.vty"
    assert await ask(path) is Answer.GIVEN
    with stopped(before[name]):
        # With room in the queue, and without.
        for _ in range(QUEUE + 1):
            found = await asyncio.gather(ask(path), ask(path))
            assert set(found) == {Answer.SILENT}
        assert await world.daemons.ensure() == ()
        with pytest.raises(FrrError, match=r"does not answer.*queue of connections"):
            await Vty.open(path)
    async with asyncio.timeout(60):
        while await ask(path) is not Answer.GIVEN:  # noqa: ASYNC110 - the queue is still full
            await asyncio.sleep(0.01)
    assert pids(world) == before


@pytest.mark.parametrize("name", DAEMONS)
async def test_one_that_hangs_is_killed_and_started_anew(world: Frr, name: str) -> None:
    before = pids(world)
    with stopped(before[name]):
        started = await world.daemons.revive([name])
    # A new zebra knows nothing, and bgpd tells it nothing that it told the old one.
    assert started == (("zebra", "bgpd") if name == "zebra" else (name,))
    assert {n for n, pid in pids(world).items() if pid != before[n]} == set(started)
    for daemon in DAEMONS:
        assert await ask(world.places.run / f"{daemon}.vty") is Answer.GIVEN


async def test_one_that_lost_its_socket_is_ended_before_another_is_started(world: Frr) -> None:
    before = pid_of(world, "bgpd")
    (world.places.run / "bgpd.vty").unlink()
    assert await ask(world.places.run / "bgpd.vty") is Answer.GONE
    assert await world.daemons.ensure() == ("bgpd",)
    assert pid_of(world, "bgpd") != before
    assert not runs(before)


async def test_one_that_is_gone_is_gone(world: Frr) -> None:
    os.kill(pid_of(world, "bfdd"), signal.SIGKILL)
    assert await world.daemons.ensure() == ("bfdd",)


@pytest.mark.parametrize("full", [False, True], ids=["seen before", "with a full queue"])
async def test_silence_is_counted_and_forgotten_with_the_first_answer(
    world: Frr, full: bool
) -> None:
    gone: list[str] = []
    told: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
    presence = Presence(world.places.run, gone.append, lambda *said: told.put_nowait(said))
    path = world.places.run / "zebra.vty"
    try:
        if not full:
            await presence.watch()
        with stopped(pid_of(world, "zebra")):
            if full:
                await asyncio.gather(*(ask(path) for _ in range(QUEUE + 1)))
                await presence.watch()
            async with asyncio.timeout(60):
                assert await told.get() == ("zebra", HANGS_AFTER)
            assert presence.silent(HANGS_AFTER) == {"zebra"}
        async with asyncio.timeout(60):
            while presence.silent(1):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert gone == []
    finally:
        await presence.close()

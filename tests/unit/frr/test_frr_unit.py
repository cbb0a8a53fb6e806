"""FRR under systemd: what is turned on, and what systemctl (a program of the tests) is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from powernode_agent.frr.errors import FrrError
from powernode_agent.frr.supervised import DAEMONS, Places
from powernode_agent.frr.unit import SystemdUnit, enable

PACKAGED = """# The watchfrr, zebra and staticd daemons are always started.
#
bgpd=no
ospfd=no
bfdd=no

vtysh_enable=yes
bgpd_options="   -A 127.0.0.1"
"""


def test_the_two_daemons_are_turned_on_and_nothing_else_changes() -> None:
    assert enable(PACKAGED) == PACKAGED.replace("bgpd=no", "bgpd=yes").replace(
        "bfdd=no", "bfdd=yes"
    )
    assert enable(enable(PACKAGED)) == enable(PACKAGED)
    assert enable("ospfd=yes\n") == "ospfd=yes\nbgpd=yes\nbfdd=yes\n"


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\0")
    writer.write(b"\0\0\0\0")
    writer.close()


@pytest.mark.parametrize("packaged", [True, False], ids=["as packaged", "turned on already"])
async def test_the_unit_is_restarted_for_new_daemons_and_started_if_it_is_down(
    tmp_path: Path, packaged: bool
) -> None:
    places = Places(run=tmp_path / "run", config=tmp_path / "etc")
    places.run.mkdir()
    places.config.mkdir()
    daemons = places.config / "daemons"
    daemons.write_text(PACKAGED if packaged else enable(PACKAGED))
    told = tmp_path / "told"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {told}\n')
    systemctl.chmod(0o755)
    unit = SystemdUnit(places, str(systemctl))

    async def come_up() -> list[asyncio.Server]:
        while not told.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return [
            await asyncio.start_unix_server(_answer, places.run / f"{name}.vty") for name in DAEMONS
        ]

    coming = asyncio.create_task(come_up())
    async with asyncio.timeout(20):
        assert await unit.ensure() == DAEMONS
        servers = await coming
        assert await unit.ensure() == (), "and then it is left alone"
    assert told.read_text() == ("restart frr\n" if packaged else "start frr\n")
    assert daemons.read_text() == enable(PACKAGED)
    assert await unit.end() is False
    for server in servers:
        server.close()


async def test_a_systemctl_that_refuses_is_told_with_what_it_said(tmp_path: Path) -> None:
    places = Places(run=tmp_path / "run", config=tmp_path / "etc")
    places.config.mkdir()
    (places.config / "daemons").write_text(enable(PACKAGED))
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\necho 'Access denied' >&2\nexit 4\n")
    systemctl.chmod(0o755)
    with pytest.raises(FrrError, match=r"Access denied.*polkit"):
        await SystemdUnit(places, str(systemctl)).ensure()

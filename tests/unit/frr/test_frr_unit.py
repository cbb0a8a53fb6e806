"""FRR under systemd: what has to be on, and what systemctl (a program of the tests) is asked.

What the agent's user may do there is tried on FRR's own scripts, in tests/netns/frr.
"""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from pathlib import Path

import pytest

from powernode_agent.frr.errors import FrrDaemonsOffError, FrrError
from powernode_agent.frr.supervised import DAEMONS, Places
from powernode_agent.frr.unit import SystemdUnit, daemons_off

PACKAGED = """# The watchfrr, zebra and staticd daemons are always started.
#
bgpd=no
ospfd=no
bfdd=no

vtysh_enable=yes
bgpd_options="   -A 127.0.0.1"
"""
TURNED_ON = PACKAGED.replace("bgpd=no", "bgpd=yes").replace("bfdd=no", "bfdd=yes")


@pytest.mark.parametrize(
    ("text", "off"),
    [
        (PACKAGED, {"bgpd": "bgpd=no", "bfdd": "bfdd=no"}),
        (TURNED_ON, {}),
        ("bgpd=yes\n", {"bfdd": ""}),
        ("bgpd=yes\nbfdd=0\n", {"bfdd": "bfdd=0"}),
        ("bgpd=yes\nbfdd=\n", {"bfdd": "bfdd="}),
        ("  bgpd=\"yes\"\nbfdd='no' # not yet\n", {"bfdd": "bfdd='no' # not yet"}),
        ("bgpd=no\nbgpd=yes\nbfdd=yes", {}),
        ("bgpd=yes\n#bfdd=yes\nxbfdd=yes\n", {"bfdd": ""}),
    ],
)
def test_what_is_off_is_read_as_frr_reads_it(text: str, off: dict[str, str]) -> None:
    assert daemons_off(text) == off
    # FRR's own words (frrcommon.sh) for what is on.
    script = (
        f'{text}\nfor n in bgpd bfdd; do eval cfg=\\$$n; [ -n "$cfg" -a "$cfg" != "no" -a'
        ' "$cfg" != "0" ] || echo $n; done'
    )
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split() == list(off)


@pytest.mark.parametrize("text", [PACKAGED, "bgpd=yes\n", "bgpd=yes", "bfdd = yes\nbgpd=0\n"])
async def test_daemons_that_are_off_are_told_with_the_commands_that_help(
    tmp_path: Path, text: str
) -> None:
    unit, told = host(tmp_path, text)
    with pytest.raises(FrrDaemonsOffError, match=r"expected b[a-z]+d=yes") as caught:
        await unit.ensure()
    assert (tmp_path / "etc/daemons").read_text() == text, "root's to change"
    assert not told.exists()
    commands = caught.value.action.removeprefix("as root: ")
    subprocess.run(["bash", "-euc", commands], check=True)  # noqa: ASYNC221
    assert daemons_off((tmp_path / "etc/daemons").read_text()) == {}


def host(tmp_path: Path, daemons: str, systemctl: str = "") -> tuple[SystemdUnit, Path]:
    """A unit, and the file that tells what systemctl was asked."""
    places = Places(run=tmp_path / "run", config=tmp_path / "etc")
    places.run.mkdir()
    places.config.mkdir()
    (places.config / "daemons").write_text(daemons)
    told = tmp_path / "told"
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> {shlex.quote(str(told))}\n{systemctl}\n')
    program.chmod(0o755)
    return SystemdUnit(places, str(program)), told


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\0")
    writer.write(b"\0\0\0\0")
    writer.close()


@pytest.mark.parametrize(
    ("left_behind", "asked"),
    [
        ("zebra bgpd bfdd", ["start frr"]),
        ("", ["start frr", "restart frr"]),
        ("zebra bgpd", ["start frr", "restart frr"]),
    ],
    ids=["a daemon died", "the unit is older than the line", "one of them is"],
)
async def test_the_unit_is_started_and_restarted_only_for_daemons_it_never_had(
    tmp_path: Path, left_behind: str, asked: list[str]
) -> None:
    unit, told = host(tmp_path, TURNED_ON)
    run = tmp_path / "run"
    for name in left_behind.split():
        (run / f"{name}.pid").write_text("1\n")

    async def come_up() -> list[asyncio.Server]:
        while not told.exists() or told.read_text().splitlines() != asked:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return [await asyncio.start_unix_server(_answer, run / f"{name}.vty") for name in DAEMONS]

    coming = asyncio.create_task(come_up())
    async with asyncio.timeout(20):
        assert await unit.ensure() == DAEMONS
        servers = await coming
        assert await unit.ensure() == (), "and then it is left alone"
    assert told.read_text().splitlines() == asked
    assert await unit.end() is False
    for server in servers:
        server.close()


async def test_for_a_daemon_that_hangs_the_unit_is_started_anew(tmp_path: Path) -> None:
    unit, told = host(tmp_path, TURNED_ON)
    servers = [
        await asyncio.start_unix_server(_answer, tmp_path / "run" / f"{name}.vty")
        for name in DAEMONS
    ]
    async with asyncio.timeout(20):
        assert await unit.revive([]) == ()
        assert not told.exists()
        assert await unit.revive(["bgpd"]) == DAEMONS
    assert told.read_text().splitlines() == ["restart frr"]
    for server in servers:
        server.close()


async def test_a_daemon_that_hangs_takes_a_restart_of_the_unit(tmp_path: Path) -> None:
    unit, told = host(tmp_path, TURNED_ON)
    run = tmp_path / "run"
    servers = [await asyncio.start_unix_server(_answer, run / f"{name}.vty") for name in DAEMONS]
    assert await unit.revive(["bgpd"]) == DAEMONS
    assert told.read_text() == "restart frr\n"
    for server in servers:
        server.close()


async def test_a_systemctl_that_refuses_is_told_with_what_it_said(tmp_path: Path) -> None:
    unit, _ = host(tmp_path, TURNED_ON, "echo 'Access denied' >&2\nexit 4")
    with pytest.raises(FrrError, match=r"Access denied.*polkit"):
        await unit.ensure()


@pytest.mark.parametrize("said", ["% configuration write already in progress.", ""])
async def test_a_saving_that_frr_does_not_confirm_is_no_saving(tmp_path: Path, said: str) -> None:
    unit, _ = host(tmp_path, TURNED_ON)
    asked: list[bytes] = []

    async def watchfrr(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := await reader.read(1 << 10):
            asked.append(command)
            writer.write((b"" if command == b"enable\0" else said.encode()) + b"\0\0\0\0")

    server = await asyncio.start_unix_server(watchfrr, tmp_path / "run/watchfrr.vty")
    async with asyncio.timeout(20):
        with pytest.raises(FrrError, match="does not save") as caught:
            await unit.save()
    assert said in str(caught.value)
    assert asked == [b"enable\0", b"write integrated\0"]
    server.close()

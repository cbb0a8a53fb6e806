"""Restarting k3s and handing it its file where the agent is not root: by programs, which here are the
tests' own; and root's half, which takes nothing but what an agent can mean."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from flannel_cases import bootstrap, state

from powernode_agent.flannel.compile import FILE_NAME, compile_drop_in
from powernode_agent.flannel.errors import FlannelError
from powernode_agent.flannel.files import DropInFile
from powernode_agent.flannel.hands import INSTALL_UNIT, STAGED_NAME, RootsHands
from powernode_agent.flannel.install import install
from powernode_agent.flannel.k3s import NobodysK3s, ProgramK3s, Restarted, SystemdK3s

SYSTEMD = Path(__file__).parents[3] / "systemd"
TARGET = compile_drop_in(state(bootstrap()))
assert TARGET is not None
TEXT = TARGET.text


def program(path: Path, body: str) -> Path:
    path.write_text(f'#!/bin/sh\necho "$@" >>{path}.asked\n{body}\n')
    path.chmod(0o755)
    return path


def asked(path: Path) -> list[str]:
    return path.with_name(f"{path.name}.asked").read_text().splitlines()


@pytest.mark.parametrize(
    ("state_", "restarted"),
    [
        ("active", Restarted.YES),
        ("activating", Restarted.YES),
        ("inactive", Restarted.NOT_RUNNING),
        ("failed", Restarted.NOT_RUNNING),
        ("", Restarted.NOT_RUNNING),
    ],
)
async def test_systemd_restarts_k3s_where_it_runs_and_does_not_wait(
    tmp_path: Path, state_: str, restarted: Restarted
) -> None:
    systemctl = program(tmp_path / "systemctl", f'[ "$1" != show ] || echo {state_}')
    assert await SystemdK3s(str(systemctl)).restart("k3s-agent") is restarted
    wanted = ["try-restart --no-block k3s-agent"] if restarted is Restarted.YES else []
    assert asked(systemctl)[1:] == wanted


async def test_a_restart_that_systemd_refuses_says_what_to_try(tmp_path: Path) -> None:
    body = '[ "$1" != show ] || { echo active; exit 0; }\necho "Access denied" >&2; exit 1'
    systemctl = program(tmp_path / "systemctl", body)
    with pytest.raises(FlannelError, match=r"Access denied.*systemctl try-restart k3s"):
        await SystemdK3s(str(systemctl)).restart("k3s")


@pytest.mark.parametrize(("code", "restarted"), [(0, Restarted.YES), (3, Restarted.NOT_RUNNING)])
async def test_a_program_restarts_k3s(tmp_path: Path, code: int, restarted: Restarted) -> None:
    made = program(tmp_path / "restart", f"exit {code}")
    assert await ProgramK3s(made).restart("k3s") is restarted
    assert asked(made) == ["k3s"]


async def test_a_program_that_fails_or_is_missing_is_named(tmp_path: Path) -> None:
    made = program(tmp_path / "restart", "echo out of order >&2; exit 7")
    with pytest.raises(FlannelError, match="out of order"):
        await ProgramK3s(made).restart("k3s")
    with pytest.raises(FlannelError, match="nowhere"):
        await ProgramK3s(tmp_path / "nowhere").restart("k3s")


async def test_nobody_says_so() -> None:
    assert await NobodysK3s().restart("k3s") is Restarted.NOBODY


def hands(tmp_path: Path, body: str) -> tuple[RootsHands, Path]:
    systemctl = program(tmp_path / "systemctl", body)
    file = DropInFile(tmp_path / "config.yaml.d")
    return RootsHands(file, tmp_path / STAGED_NAME, str(systemctl)), systemctl


def unit(tmp_path: Path) -> str:
    """What the unit runs."""
    staged, directory = tmp_path / STAGED_NAME, tmp_path / "config.yaml.d"
    return f"exec {sys.executable} -m powernode_agent.flannel.install {staged} {directory}"


async def test_the_agents_user_has_root_write_it_and_take_it_away(tmp_path: Path) -> None:
    roots, systemctl = hands(tmp_path, unit(tmp_path))
    await roots.write(TEXT)
    assert (tmp_path / "config.yaml.d" / FILE_NAME).read_text() == TEXT
    assert await roots.remove()
    assert not (tmp_path / "config.yaml.d" / FILE_NAME).exists()
    assert asked(systemctl) == [f"start {INSTALL_UNIT}"] * 2
    assert not await roots.remove()
    assert len(asked(systemctl)) == 2


@pytest.mark.parametrize("body", ["echo no such unit >&2; exit 5", "exit 0"])
async def test_a_unit_that_does_not_do_its_work_is_an_error(tmp_path: Path, body: str) -> None:
    roots, _ = hands(tmp_path, body)
    with pytest.raises(FlannelError, match=rf"journalctl -u {INSTALL_UNIT}"):
        await roots.write(TEXT)


@pytest.mark.parametrize(
    "wanted",
    [
        TEXT + "data-dir: /tmp/evil\n",
        "data-dir: /tmp/evil\n",
        TEXT.replace("wg-sdwan-core", "eth0"),
        TEXT.replace("host-gw", "vxlan"),
        "\x00",
        TEXT * 100,
    ],
)
def test_root_writes_nothing_that_an_agent_cannot_mean(tmp_path: Path, wanted: str) -> None:
    (tmp_path / "staged").write_text(wanted)
    with pytest.raises(FlannelError):
        install(tmp_path / "staged", tmp_path / "config.yaml.d")
    assert not (tmp_path / "config.yaml.d").exists()


def test_root_follows_no_link_and_touches_no_foreign_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(TEXT)
    (tmp_path / "staged").symlink_to(tmp_path / "secret")
    with pytest.raises(FlannelError):
        install(tmp_path / "staged", tmp_path / "config.yaml.d")
    (tmp_path / "staged").unlink()
    (tmp_path / "staged").write_text(TEXT)
    foreign = tmp_path / "config.yaml.d" / FILE_NAME
    foreign.parent.mkdir()
    foreign.write_text("mine: true\n")
    with pytest.raises(FlannelError, match="somebody else's"):
        install(tmp_path / "staged", tmp_path / "config.yaml.d")
    (tmp_path / "staged").write_text("")
    with pytest.raises(FlannelError, match="somebody else's"):
        install(tmp_path / "staged", tmp_path / "config.yaml.d")
    assert foreign.read_text() == "mine: true\n"


def test_polkit_lets_the_agent_do_this_and_no_more() -> None:
    rules = (SYSTEMD / "polkit-rules.d" / "50-powernode-agent.rules").read_text()
    assert f'unit == "{INSTALL_UNIT}" && verb == "start"' in rules
    assert (
        '["k3s.service", "k3s-agent.service"].indexOf(unit) >= 0 && verb == "try-restart"' in rules
    )


def test_the_unit_is_what_the_agent_starts() -> None:
    text = (SYSTEMD / INSTALL_UNIT).read_text()
    assert f"/var/lib/powernode-agent/{STAGED_NAME} /etc/rancher/k3s/config.yaml.d" in text
    assert "ConfigurationDirectory=rancher/k3s/config.yaml.d" in text
    agent = (SYSTEMD / "powernode-agent.service").read_text()
    # Whoever may write there is root, because k3s is.
    assert not [line for line in agent.splitlines() if "/etc/rancher" in line and line[0] != "#"]
    assert INSTALL_UNIT in (SYSTEMD / "install.sh").read_text()


def test_the_unit_is_valid(tmp_path: Path) -> None:
    copy = tmp_path / INSTALL_UNIT
    text = (SYSTEMD / INSTALL_UNIT).read_text()
    copy.write_text(text.replace("/opt/powernode-agent/bin/python", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.strip()) == (0, "")

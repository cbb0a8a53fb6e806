"""The room of k3s on real files: written before anything, restarted once, removed without a restart,
and never what is somebody else's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flannel_cases import CountingK3s, bootstrap, places, room, state

from powernode_agent.errors import AgentError
from powernode_agent.flannel.compile import FILE_NAME, compile_drop_in
from powernode_agent.flannel.subsystem import Flannel
from powernode_agent.model.change import Change
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.flannel import K3sRole

WANTED = state(bootstrap())
NONE = state(None)


async def settle(flannel: Flannel, wanted: DesiredState) -> list[Change]:
    """One pass: look, plan, carry out; the changes."""
    flannel.observe(wanted)
    changes = flannel.plan(compile_drop_in(wanted))
    for change in changes:
        await change.apply()
    return changes


def file_in(directory: Path) -> Path:
    return places(directory).directory / FILE_NAME


async def test_the_file_comes_before_k3s_and_costs_nothing_afterwards(tmp_path: Path) -> None:
    k3s = CountingK3s(running=False)
    flannel = room(tmp_path, k3s)
    target = compile_drop_in(WANTED)
    assert target is not None
    flannel.observe(WANTED)
    assert not flannel.stands(target)
    await settle(flannel, WANTED)
    assert file_in(tmp_path).read_text() == target.text
    assert file_in(tmp_path).stat().st_mode & 0o777 == 0o644
    assert flannel.stands(target)
    assert flannel.restarted_at_ms is None
    before = file_in(tmp_path).stat().st_mtime_ns
    assert await settle(flannel, WANTED) == []
    assert await settle(room(tmp_path, k3s), WANTED) == []
    assert file_in(tmp_path).stat().st_mtime_ns == before
    assert k3s.asked == ["k3s"]


async def test_a_change_restarts_k3s_once_and_says_so_before(tmp_path: Path) -> None:
    k3s = CountingK3s()
    flannel = room(tmp_path, k3s)
    flannel.observe(WANTED)
    (change,) = flannel.plan(compile_drop_in(WANTED))
    assert "restart k3s, if it runs" in change.lines[1]
    assert k3s.asked == []
    await settle(flannel, WANTED)
    await settle(flannel, WANTED)
    await settle(room(tmp_path, k3s), WANTED)
    assert k3s.asked == ["k3s"]
    assert flannel.restarted_at_ms == 1_000_500
    await settle(flannel, state(bootstrap(K3sRole.AGENT)))
    assert k3s.asked == ["k3s", "k3s-agent"]


async def test_a_restart_that_failed_is_tried_again_and_the_file_is_not(tmp_path: Path) -> None:
    k3s = CountingK3s(refuses=True)
    flannel = room(tmp_path, k3s)
    with pytest.raises(AgentError):
        await settle(flannel, WANTED)
    target = compile_drop_in(WANTED)
    assert target is not None
    assert flannel.stands(target)
    written = file_in(tmp_path).stat().st_mtime_ns
    # Also by an agent that has no memory of it.
    flannel = room(tmp_path, k3s)
    k3s.refuses = False
    (change,) = await settle(flannel, WANTED)
    assert len(change.lines) == 1
    assert "restart" in change.lines[0]
    assert file_in(tmp_path).stat().st_mtime_ns == written
    assert k3s.asked == ["k3s", "k3s"]


async def test_what_was_changed_by_hand_is_put_right_without_a_restart(tmp_path: Path) -> None:
    k3s = CountingK3s()
    flannel = room(tmp_path, k3s)
    await settle(flannel, WANTED)
    good = file_in(tmp_path).read_text()
    file_in(tmp_path).write_text(good + "data-dir: /elsewhere\n")
    await settle(flannel, WANTED)
    assert file_in(tmp_path).read_text() == good
    file_in(tmp_path).unlink()
    await settle(flannel, WANTED)
    assert file_in(tmp_path).read_text() == good
    assert k3s.asked == ["k3s"]


async def test_the_file_goes_and_k3s_is_left_alone(tmp_path: Path) -> None:
    k3s = CountingK3s()
    flannel = room(tmp_path, k3s)
    await settle(flannel, WANTED)
    (change,) = await settle(flannel, NONE)
    assert "k3s is not restarted" in change.lines[0]
    assert not file_in(tmp_path).exists()
    assert await settle(flannel, NONE) == []
    assert k3s.asked == ["k3s"]
    # The same again is a change: k3s may have started without it meanwhile.
    await settle(flannel, WANTED)
    assert k3s.asked == ["k3s", "k3s"]


async def test_a_left_over_file_goes_with_the_next_agent(tmp_path: Path) -> None:
    await settle(room(tmp_path, CountingK3s()), WANTED)
    await settle(room(tmp_path, CountingK3s()), NONE)
    assert not file_in(tmp_path).exists()


def foreign_text(path: Path) -> None:
    path.write_text("flannel-iface: eth1\n# Written by powernode-agent\n")


def foreign_link(path: Path) -> None:
    path.with_name("target").write_text("# Written by powernode-agent\n")
    path.symlink_to(path.with_name("target"))


def foreign_directory(path: Path) -> None:
    path.mkdir()


def foreign_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [foreign_text, foreign_link, foreign_directory, foreign_fifo])
async def test_a_foreign_file_is_named_and_left_alone(tmp_path: Path, make: object) -> None:
    k3s = CountingK3s()
    flannel = room(tmp_path, k3s)
    path = file_in(tmp_path)
    path.parent.mkdir()
    assert callable(make)
    make(path)
    before = path.lstat()
    error = flannel.observe(WANTED)
    assert error is not None
    assert str(path) in str(error)
    assert flannel.plan(compile_drop_in(WANTED)) == []
    # Nothing waits for it: whoever put it there has decided.
    target = compile_drop_in(WANTED)
    assert target is not None
    assert flannel.stands(target)
    assert await flannel.purge() == []
    after = path.lstat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_size,
    )
    # Where no bootstrap is wanted, it is nobody's business.
    assert flannel.observe(NONE) is None
    assert flannel.plan(None) == []


async def test_other_files_of_k3s_are_not_touched(tmp_path: Path) -> None:
    directory = places(tmp_path).directory
    directory.mkdir()
    (directory / "90-mine.yaml").write_text("node-label: a=b\n")
    flannel = room(tmp_path, CountingK3s())
    await settle(flannel, WANTED)
    await settle(flannel, NONE)
    assert [each.name for each in directory.iterdir()] == ["90-mine.yaml"]


async def test_a_directory_that_cannot_be_made_is_an_error_with_its_path(tmp_path: Path) -> None:
    places(tmp_path).directory.write_text("in the way")
    flannel = room(tmp_path, CountingK3s())
    assert isinstance(flannel.observe(WANTED), AgentError)
    places(tmp_path).directory.unlink()
    places(tmp_path).directory.symlink_to("/proc/nowhere")
    assert flannel.observe(WANTED) is None
    with pytest.raises(AgentError, match=r"config\.yaml\.d"):
        await settle(flannel, WANTED)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"text": 5}', '{"text": "x"}', "\x00"])
async def test_a_note_that_cannot_be_read_costs_one_restart(tmp_path: Path, text: str) -> None:
    k3s = CountingK3s()
    await settle(room(tmp_path, k3s), WANTED)
    places(tmp_path).note.write_text(text)
    flannel = room(tmp_path, k3s)
    await settle(flannel, WANTED)
    await settle(flannel, WANTED)
    assert len(k3s.asked) == 2


async def test_purge_takes_ours_away_and_forgets(tmp_path: Path) -> None:
    flannel = room(tmp_path, CountingK3s())
    await settle(flannel, WANTED)
    assert await flannel.purge() == [f"removed {file_in(tmp_path)}"]
    assert not file_in(tmp_path).exists()
    assert not places(tmp_path).note.exists()
    assert await flannel.purge() == []

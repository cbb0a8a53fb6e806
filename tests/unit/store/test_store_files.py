"""What is stored comes back as it was, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.store import files
from powernode_agent.store.files import StoreError
from powernode_agent.store.last_known_good import LastKnownGood

PAYLOAD = b"desired state with a key in it"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "last-known-good"


@pytest.fixture
def store(path: Path) -> LastKnownGood:
    store = LastKnownGood(path)
    store.save(PAYLOAD)
    return store


def test_what_is_saved_is_loaded(path: Path) -> None:
    store = LastKnownGood(path)
    assert store.load() is None
    for payload in (PAYLOAD, b"", bytes(100_000)):
        store.save(payload)
        assert LastKnownGood(path).load() == payload


def test_files_and_directories_are_private_whatever_the_umask(path: Path) -> None:
    for umask in (0o000, 0o777):
        before = os.umask(umask)
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            path.parent.chmod(0o700)
            LastKnownGood(path).save(PAYLOAD)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_new_directories_are_private(tmp_path: Path) -> None:
    """Of a new state directory, the first to be written is a file one directory deeper: a key."""
    path = tmp_path / "new" / "keys" / "file"
    LastKnownGood(path).save(PAYLOAD)
    for directory in (path.parent, path.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@given(data=st.data())
def test_any_flipped_bit_and_any_cut_is_refused(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("store") / "file"
    files.save(path, "label", PAYLOAD)
    good = path.read_bytes()
    position = data.draw(st.integers(0, len(good) - 1))
    if data.draw(st.booleans()):
        bad = bytearray(good)
        bad[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        bad = bytearray(good[:position])
    path.write_bytes(bad)
    with pytest.raises(StoreError) as caught:
        files.load(path, "label")
    assert "key" not in str(caught.value)


def chmod(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(mode)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir(mode=0o700)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize(
    ("damage", "value"),
    [
        (chmod(0o640), "mode 0640"),
        (chmod(0o604), "mode 0604"),
        (link, "a symbolic link"),
        (dangle, "a symbolic link"),
        (directory, "not a file"),
        (fifo, "not a file"),
        (longer, "31 bytes"),
    ],
)
def test_a_file_that_is_not_as_written_is_refused(
    store: LastKnownGood, path: Path, damage: Callable[[Path], None], value: str
) -> None:
    damage(path)
    with pytest.raises(StoreError) as caught:
        store.load()
    error = caught.value
    assert value in error.value
    assert str(path) in error.which
    assert error.expected
    assert "restore it from a backup, or delete it" in error.action


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_owner_is_refused(store: LastKnownGood, path: Path) -> None:
    os.chown(path, 65534, -1)
    with pytest.raises(StoreError, match="owner uid 65534"):
        store.load()


def test_a_file_of_another_purpose_is_refused(store: LastKnownGood, path: Path) -> None:
    with pytest.raises(StoreError, match="checksum"):
        files.load(path, "identity")


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(
    store: LastKnownGood, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match="No space left on device"):
        store.save(b"new")
    monkeypatch.undo()
    assert store.load() == PAYLOAD
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_a_crash_left_behind_does_not_matter(store: LastKnownGood, path: Path) -> None:
    left = path.with_name(f".{path.name}.new")
    left.write_bytes(b"half")
    assert store.load() == PAYLOAD
    store.save(b"new")
    assert store.load() == b"new"
    assert not left.exists()


def test_a_trap_in_the_way_of_a_write_is_not_followed(store: LastKnownGood, path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name(f".{path.name}.new").symlink_to(victim)
    store.save(b"new")
    assert victim.read_text() == "precious"
    assert store.load() == b"new"


def test_content_is_on_disk_before_the_name_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsync of the file, rename, fsync of the directory: any other order can lose both versions."""
    steps: list[str] = []
    real_fsync, real_replace = os.fsync, Path.replace

    def fsync(handle: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(handle).st_mode)
        steps.append("sync directory" if is_directory else "sync file")
        real_fsync(handle)

    def rename(self: Path, target: Path) -> Path:
        steps.append("rename")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    LastKnownGood(path).save(PAYLOAD)
    assert steps == ["sync file", "rename", "sync directory"]

"""Atomic, private, checksummed files.

A write is a new file, fsynced, renamed over the old one, and the directory fsynced: after a crash
there is the old content or the new, never a part. A read believes nothing: no symlink is followed, the
owner and the mode have to be ours, and length and SHA-256 have to fit. The digest covers a label as
well, so that a valid file in the wrong place is refused too.

The calls block for an fsync (milliseconds, on bad days seconds): call them from a worker thread.
"""

from __future__ import annotations

import contextlib
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Final

from powernode_agent.errors import AgentError

MAGIC: Final = b"pnagent\x01"
"""The last byte is the version of the format."""
MAX_PAYLOAD: Final = 256 * 1024 * 1024
"""Bytes; far above any state, far below what would hurt a node."""

_DIGEST_LENGTH: Final = 32
_HEADER_LENGTH: Final = len(MAGIC) + 8 + _DIGEST_LENGTH
"""Magic, length of the payload (big-endian), SHA-256 of label, NUL and payload."""


class StoreError(AgentError):
    """A file that cannot be written, or cannot be trusted."""


def save(path: Path, label: str, payload: bytes) -> None:
    """Writes `payload` to `path`, mode 0600, atomically; makes missing directories, each 0700.

    `label` says what the file is and must be given again to load it. Raises `StoreError`; the file
    that was there before stays then.
    """
    header = MAGIC + len(payload).to_bytes(8, "big") + _digest(label, payload)
    # One fixed name: what a crash leaves behind is cleared by the next write, and nothing piles up.
    temporary = path.with_name(f".{path.name}.new")
    try:
        _make_private(path.parent)
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        try:
            _write(temporary, header, payload)
            temporary.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        sync_directory(path.parent)
    except OSError as error:
        raise StoreError(
            f"cannot write a file: {error.strerror}",
            which=f"{label}, {path}",
            action=f"check free space and the owner of {path.parent}",
        ) from error


def load(path: Path, label: str) -> bytes | None:
    """The payload of `path`, or None if there is no file; raises `StoreError` if it is not trusted."""
    try:
        # NONBLOCK: a FIFO in its place must not hang the start.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    except OSError as error:
        if path.is_symlink():
            raise _refused(label, path, "a symbolic link", "a regular file") from error
        raise StoreError(
            f"cannot read a file: {error.strerror}",
            which=f"{label}, {path}",
            action=f"check the owner and mode of {path}",
        ) from error
    try:
        # Before a file object is made of it: a directory would not become one.
        _check_private(label, path, os.fstat(handle))
        with os.fdopen(handle, "rb", closefd=False) as file:
            content = file.read(_HEADER_LENGTH + MAX_PAYLOAD + 1)
    except OSError as error:
        raise StoreError(
            f"cannot read a file: {error.strerror}",
            which=f"{label}, {path}",
            action="check the disk",
        ) from error
    finally:
        os.close(handle)
    return _payload(label, path, content)


def remove(path: Path, label: str) -> bool:
    """Removes `path` for good; whether there was anything. Raises `StoreError`."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(
            f"cannot remove a file: {error.strerror}",
            which=f"{label}, {path}",
            action=f"check the owner of {path.parent}",
        ) from error
    sync_directory(path.parent)
    return True


def sync_directory(directory: Path) -> None:
    """Makes renames and removals inside `directory` durable."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _make_private(directory: Path) -> None:
    # Not mkdir(parents=True): that gives the mode to the last one only, and on a host without
    # tmpfiles the state directory itself is the parent of the one that is written to first.
    missing = [each for each in (directory, *directory.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def _write(path: Path, *parts: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        # The umask can only have taken bits away; ours are wanted whatever it is.
        os.fchmod(file.fileno(), 0o600)
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _check_private(label: str, path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(label, path, "something that is not a file", "a regular file")
    if status.st_uid != os.geteuid():
        raise _refused(
            label, path, f"owner uid {status.st_uid}", f"uid {os.geteuid()}, the agent's"
        )
    if status.st_mode & 0o077:
        raise _refused(label, path, f"mode {stat.S_IMODE(status.st_mode):04o}", "0600")


def _payload(label: str, path: Path, content: bytes) -> bytes:
    payload = content[_HEADER_LENGTH:]
    if len(content) < _HEADER_LENGTH:
        raise _refused(label, path, f"{len(content)} bytes", "a whole header: it was cut short")
    if not content.startswith(MAGIC):
        raise _refused(
            label, path, "another format", "a file written by this version of powernode-agent"
        )
    length = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 8], "big")
    if length != len(payload):
        raise _refused(label, path, f"{len(payload)} bytes", f"{length}: it was cut or extended")
    if content[len(MAGIC) + 8 : _HEADER_LENGTH] != _digest(label, payload):
        raise _refused(label, path, "a checksum that does not fit", f"an unaltered {label}")
    return payload


def _digest(label: str, payload: bytes) -> bytes:
    digest = sha256(label.encode() + b"\0")
    digest.update(payload)
    return digest.digest()


def _refused(label: str, path: Path, value: str, expected: str) -> StoreError:
    return StoreError(
        "a stored file is refused",
        which=f"{label}, {path}",
        value=value,
        expected=expected,
        action="restore it from a backup, or delete it to go on without it",
    )

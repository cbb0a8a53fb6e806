"""Our file among k3s's, and what is noted about it: read without trust, replaced as one. Shell.

No other file of k3s is touched. A link in the place of ours is somebody else's: it is never followed.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from powernode_agent.flannel.compile import FILE_NAME, is_ours
from powernode_agent.flannel.errors import FlannelError, ForeignDropInError

_LONGEST: Final = 64 * 1024
"""Bytes; far more than we write, and no more is read of what others put there."""


class DropInFile:
    """The file in k3s's `directory`."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE_NAME

    def read(self) -> str | None:
        """What it says; None: there is none. Raises `ForeignDropInError`, `FlannelError`."""
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(self.path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            if self.path.is_symlink():
                raise self._foreign("a symbolic link") from error
            raise _failed("read", self.path, error) from error
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise self._foreign("not a regular file")
            with os.fdopen(handle, "rb", closefd=False) as file:
                found = file.read(_LONGEST + 1)
        except OSError as error:
            raise _failed("read", self.path, error) from error
        finally:
            os.close(handle)
        text = found.decode("utf-8", "replace")
        if not is_ours(text):
            raise self._foreign(f"begins with {text.partition(chr(10))[0][:80]!r}")
        return text

    def write(self, text: str) -> None:
        """Make it say `text`. Raises `FlannelError`."""
        self.read()
        replace_file(self.path, text, 0o644)

    def remove(self) -> bool:
        """Remove it if it is ours; whether it was there. Raises `FlannelError`."""
        if self.read() is None:
            return False
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            raise _failed("remove", self.path, error) from error
        return True

    def _foreign(self, value: str) -> ForeignDropInError:
        return ForeignDropInError(
            "a file of our name among k3s's is somebody else's, and stays as it is",
            which=str(self.path),
            value=value,
            expected="a file that this agent wrote, or none",
            action=f"look at it; if it is unneeded, rm {self.path}",
        )


@dataclass(frozen=True, slots=True)
class Note:
    """What k3s runs with. `text`: the file when it was last restarted, or not running; empty: none.
    `restarted_at_ms`: milliseconds since the epoch, None: never."""

    text: str = ""
    restarted_at_ms: int | None = None


NOTHING_NOTED: Final = Note()


class NoteFile:
    """The note, on disk: an agent that died between the file and the restart makes good for it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Note:
        """Nothing noted if there is none that can be read: one restart too many, not one too few."""
        try:
            found = json.loads(self._path.read_text())
            text, at = found["text"], found["restarted_at_ms"]
        except (OSError, ValueError, KeyError, TypeError):
            return NOTHING_NOTED
        if not isinstance(text, str) or isinstance(at, bool) or not isinstance(at, int | None):
            return NOTHING_NOTED
        return Note(text, at)

    def write(self, note: Note) -> None:
        """Raises `FlannelError`."""
        replace_file(self._path, json.dumps(asdict(note)), 0o600)

    def forget(self) -> None:
        """As if there had never been one."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def replace_file(path: Path, text: str, mode: int) -> None:
    """Write a file as one. Raises `FlannelError`."""
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, mode)
        with os.fdopen(descriptor, "w") as file:
            # Whatever our umask is, k3s has to read it.
            os.fchmod(descriptor, mode)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise _failed("write", path, error) from error


def _failed(verb: str, path: Path, error: OSError) -> FlannelError:
    return FlannelError(
        f"cannot {verb} a file for k3s",
        which=str(path),
        value=error.strerror or str(error),
        action=f"let the agent's user write in {path.parent}: systemd-tmpfiles --create",
    )

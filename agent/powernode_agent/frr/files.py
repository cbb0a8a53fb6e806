"""frr.conf: whose it is, and writing it so that a restarted FRR comes up right. Shell.

It is ours if our marker is its first line, if there is none, or if it configures no routing, as the
package brings it; and once it was ours, it stays so whatever is written over it, for as long as this
process lives. Anything else is an operator's work: it is adopted only when we are told to, and
then kept beside the new one. A file that starts FRR with half of a configuration would be worse than
none, so it is replaced as one.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import Final

from powernode_agent.frr.errors import ForeignConfigError, FrrError
from powernode_agent.frr.running import frr_conf, is_ours, says_nothing
from powernode_agent.model.frr_config import FrrConfig

BACKUP_SUFFIX: Final = ".before-powernode"
_MODE: Final = 0o640


class ConfigFile:
    """frr.conf of `directory`. `adopt`: take over one that is somebody else's."""

    def __init__(self, directory: Path, *, adopt: bool) -> None:
        self._path = directory / "frr.conf"
        self._adopt = adopt
        self._claimed = False

    def claim(self) -> None:
        """Make sure that it is ours to write. Raises `ForeignConfigError`, `FrrError`."""
        text = self._read()
        if text is None or is_ours(text):
            self._claimed = True
            return
        # Once it was ours, whatever stands there came since: `write memory` of vtysh leaves our first
        # line out, and a file edited by hand is put right. What stood there is kept.
        if not self._claimed and not self._adopt and not says_nothing(text):
            raise ForeignConfigError(
                "the configuration of FRR on this host is somebody else's, and stays as it is",
                which=str(self._path),
                expected="a file that this agent wrote, or one that configures no routing",
                action="move what is in it to the platform and set frr.adopt = true in agent.toml"
                f" (it is kept as {self._path.name}{BACKUP_SUFFIX}), or use static networks here",
            )
        self._keep(text)
        self._claimed = True

    def _keep(self, text: str) -> None:
        """Also what the package brought: whoever takes the agent away finds it again."""
        backup = self._path.with_name(self._path.name + BACKUP_SUFFIX)
        if not backup.exists():
            replace_file(backup, text)

    def is_ours(self) -> bool:
        """Whether we wrote it. Raises `FrrError`."""
        text = self._read()
        return text is not None and is_ours(text)

    def write(self, config: FrrConfig) -> None:
        """Make it say `config`; nothing is written if it does. Raises `FrrError`."""
        text = frr_conf(config)
        if self._read() != text:
            replace_file(self._path, text)

    def give_back(self) -> bool:
        """Remove ours, and put back what was there before; whether there was one of ours. Raises
        `FrrError`."""
        if not self.is_ours():
            return False
        backup = self._path.with_name(self._path.name + BACKUP_SUFFIX)
        try:
            if backup.exists():
                backup.replace(self._path)
            else:
                self._path.unlink()
        except OSError as error:
            raise _failed("remove", self._path, error) from error
        self._claimed = False
        return True

    def _read(self) -> str | None:
        try:
            return self._path.read_text()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _failed("read", self._path, error) from error


def replace_file(path: Path, text: str) -> None:
    """Write a file of FRR's as one, with the owner and mode that FRR expects. Raises `FrrError`."""
    draft = path.with_name(f".{path.name}.new")
    try:
        # A new file, and no link to somewhere: the directory is FRR's, and we may be root.
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(draft, flags, _MODE)
        with os.fdopen(descriptor, "w") as file:
            # Whatever our umask is, FRR has to read it, by its group where we are not root.
            os.fchmod(descriptor, _MODE)
            owner = pwd.getpwnam("frr").pw_uid if os.geteuid() == 0 else -1
            os.fchown(descriptor, owner, grp.getgrnam("frr").gr_gid)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    except (OSError, LookupError) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise _failed("write", path, error) from error


def _failed(verb: str, path: Path, error: Exception) -> FrrError:
    return FrrError(
        f"cannot {verb} a file of FRR's",
        which=str(path),
        value=getattr(error, "strerror", None) or str(error),
        action="let the agent's user, by its group frr, read and write that directory",
    )

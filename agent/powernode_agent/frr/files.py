"""frr.conf: whose it is, and having it say what a restarted FRR has to come up with. Shell.

It is ours if it is of our making (`ownership`), if there is none, or if it configures no routing, as
the package brings it; and once it was ours, it stays so whatever is written over it, for as long as
this process lives. Anything else is an operator's work: it is adopted only when we are told to, and
then it is kept.

Where we start FRR ourselves, we write the file, as one: half of a configuration would be worse than
none. Under systemd we could not without being root in all but name: whoever may replace files of
/etc/frr replaces `daemons`, which a script of root's runs. There FRR is told to save what it runs, and
nothing in that directory is ours to write.
"""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import pwd
import stat
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final, Protocol

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.frr.errors import ForeignConfigError, FrrError
from powernode_agent.frr.ownership import Noted, decode, encode, names_in, of_our_making
from powernode_agent.frr.running import frr_conf, says_nothing
from powernode_agent.model.frr_config import FrrConfig

log = structlog.get_logger()

BACKUP_SUFFIX: Final = ".before-powernode"
_MODE: Final = 0o640


class Note(Protocol):
    """Where ownership is noted, outside of FRR's reach. Blocks for the disk."""

    def load(self) -> bytes | None: ...

    def save(self, content: bytes) -> None: ...

    def forget(self) -> bool: ...


Save = Callable[[], Awaitable[None]]
"""Has FRR write what it runs into its frr.conf. Raises `FrrError`."""


class ConfigFile:
    """frr.conf of `directory`. `adopt`: take over one that is somebody else's. `save`: FRR writes it;
    None: we do. `backups`: where what was there before is kept."""

    def __init__(
        self, directory: Path, *, adopt: bool, note: Note, save: Save | None, backups: Path
    ) -> None:
        self._path = directory / "frr.conf"
        self._backup = backups / f"{self._path.name}{BACKUP_SUFFIX}"
        self._adopt = adopt
        self._note = note
        self._save = save
        self._noted: Noted | None = None
        self._read_note = False
        self.claimed = False
        """Whether it was ours in the life of this process."""

    async def claim(self, wanted: FrrConfig) -> None:
        """Make sure that it is ours to write, and note so. Raises `ForeignConfigError`, `FrrError`."""
        text = self._read()
        noted = await self._what_was_noted()
        if text is not None and not of_our_making(text, noted):
            # Once it was ours, whatever stands there came since, and is put right. It is kept.
            if not self.claimed and not self._adopt and not says_nothing(text):
                raise ForeignConfigError(
                    "the configuration of FRR on this host is somebody else's, and stays as it is",
                    which=str(self._path),
                    expected="a file that this agent wrote, or one that configures no routing",
                    action="move what is in it to the platform and set frr.adopt = true in agent.toml"
                    f" (it is kept as {self._backup}), or use static networks here",
                )
            self._keep(text)
        await self._note_names(names_in(frr_conf(wanted)) | names_in(text or ""))
        self.claimed = True

    def _keep(self, text: str) -> None:
        """Keeps what stood there, also what the package brought: whoever takes the agent away finds it
        again. What is kept already makes room: no later file of an operator's may be lost for it."""
        try:
            kept = self._backup.read_text()
        except FileNotFoundError:
            replace_file(self._backup, text)
            return
        except (OSError, ValueError) as error:
            raise _failed("read", self._backup, error) from error
        if kept == text:
            return
        older = (self._backup.with_name(f"{self._backup.name}.{number}") for number in count(1))
        try:
            self._backup.rename(next(path for path in older if not path.exists()))
        except OSError as error:
            raise _failed("keep", self._backup, error) from error
        replace_file(self._backup, text)

    async def _note_names(self, names: frozenset[str]) -> None:
        """Before FRR is told of them: what it runs may be saved by others at any time."""
        noted = await self._what_was_noted()
        if noted is None or noted.names is None:
            await self._remember(Noted(names))
        elif not names <= noted.names:
            await self._remember(replace(noted, names=names))

    async def is_ours(self) -> bool:
        """Whether it is of our making. Raises `FrrError`."""
        text = self._read()
        return text is not None and of_our_making(text, await self._what_was_noted())

    async def write(self, config: FrrConfig) -> None:
        """Make it say `config`, which FRR runs; nothing is written if it does. Raises `FrrError`."""
        text, before = frr_conf(config), self._read()
        if self._save is None:
            if before != text:
                replace_file(self._path, text)
            return
        # FRR's words are not ours, so the two are held against what they were after the last saving.
        noted = await self._what_was_noted()
        if before and noted and (noted.wanted, noted.found) == (text, before):
            return
        names = names_in(text) | names_in(before or "")
        await self._remember(Noted(names, text, before or ""))
        await self._save()
        after = self._read() or ""
        missing = names_in(text) - names_in(after)
        if missing:
            raise FrrError(
                "FRR saved its configuration, and it is not in the file",
                which=str(self._path),
                value=f"without {min(missing)}",
                action="see where it went: vtysh -c 'write integrated'; frr.config in agent.toml has to"
                " name that directory",
            )
        await self._remember(Noted(names_in(after), text, after))

    async def give_back(self) -> bool:
        """Have nothing of ours in it; whether it was ours. What was there before is put back, or, where
        FRR writes it, pointed to. FRR runs nothing of ours by now. Raises `FrrError`."""
        if not await self.is_ours():
            return False
        if self._save is not None:
            await self._save()
            self._point_to_backup()
        else:
            try:
                if self._backup.exists():
                    self._backup.replace(self._path)
                else:
                    self._path.unlink()
            except OSError as error:
                raise _failed("remove", self._path, error) from error
        try:
            await asyncio.to_thread(self._note.forget)
        except AgentError as error:
            raise _unnoted(self._path, error) from error
        self._noted = None
        self.claimed = False
        return True

    def _point_to_backup(self) -> None:
        try:
            if says_nothing(self._backup.read_text()):
                self._backup.unlink()
                return
        except (OSError, ValueError):
            return
        log.warning(
            "frr.configuration_kept",
            which=str(self._backup),
            action=f"as root: install -o frr -g frr -m 0640 {self._backup} {self._path}"
            " && systemctl restart frr",
        )

    async def _what_was_noted(self) -> Noted | None:
        if not self._read_note:
            try:
                stored = await asyncio.to_thread(self._note.load)
                self._noted = None if stored is None else decode(stored)
            except AgentError as error:
                # Damaged, or another user's: it still says that there was something to note.
                log.info("frr.note_refused", error=str(error))
                self._noted = Noted(None)
            self._read_note = True
        return self._noted

    async def _remember(self, noted: Noted) -> None:
        try:
            await asyncio.to_thread(self._note.save, encode(noted))
        except AgentError as error:
            raise _unnoted(self._path, error) from error
        self._noted = noted

    def _read(self) -> str | None:
        # No link and no pipe: the directory is FRR's, we may be root, and what we read is kept where
        # FRR can read it too.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(self._path, flags)) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError(errno.EINVAL, "not a regular file")
                return file.read()
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
        action="let the agent's user, by its group frr, read that directory",
    )


def _unnoted(path: Path, error: AgentError) -> FrrError:
    return FrrError(
        "cannot note whose the configuration of FRR is",
        which=str(path),
        value=str(error),
        action="make the state directory writable for the agent",
    )

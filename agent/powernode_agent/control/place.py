"""Where the control socket is: its directory, its lock, and the socket itself, all three with owner and
mode right before anyone can use them. Whoever cannot have them is told why, and what to type.
"""

from __future__ import annotations

import fcntl
import grp
import os
import socket
import stat
from pathlib import Path

from powernode_agent.errors import AgentError


class ControlError(AgentError):
    """The control socket cannot be opened."""


def make_directory(directory: Path, group: str) -> None:
    """What systemd's RuntimeDirectory= or tmpfiles make, where there is neither: 0750, the group's.

    One that is there already stays as it is, and so does a missing parent: a path that is mistyped
    must not become a tree. `group` need not exist. Raises `ControlError`.
    """
    try:
        directory.mkdir(mode=0o750)
    except (FileExistsError, FileNotFoundError):
        # Without the parent, taking the lock says what is wrong.
        return
    except OSError as error:
        raise _no_directory(directory, error) from error
    try:
        gid = _group_id(group)
        if gid is not None and gid != directory.stat().st_gid:
            os.chown(directory, -1, gid)
        # The umask may have taken away what the group needs.
        directory.chmod(0o750)
    except OSError as error:
        raise _no_directory(directory, error) from error


def _no_directory(directory: Path, error: OSError) -> ControlError:
    return ControlError(
        "cannot make the directory of the control socket",
        which=str(directory),
        value=error.strerror or str(error),
        expected="a directory that the daemon may write to",
        action=f"systemd-tmpfiles --create powernode-agent.conf; ls -ld {directory.parent}",
    )


def take_lock(path: Path) -> int:
    """The descriptor of the lock, to be kept open for as long as it is meant to be held.

    Raises `ControlError`, with the holder's process id when another daemon has it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise ControlError(
            "cannot open the control socket's lock",
            which=str(path),
            value=error.strerror or str(error),
            expected="a directory that the daemon may write to",
            action=f"systemd-tmpfiles --create powernode-agent.conf; ls -ld {path.parent}",
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        os.close(descriptor)
        raise ControlError(
            "another powernode-agent is running on this node",
            which=str(path),
            value=f"held by process {holder or '(unknown)'}",
            expected="one daemon",
            action="systemctl status powernode-agent",
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def listen(path: Path, group: str, backlog: int) -> socket.socket:
    """A listening socket at `path`, replacing the one a crash left; the lock must be held.

    It is made under another name and moved into place with its mode and group already right, so
    that there is no moment at which the wrong people could connect, or a client finds no socket.
    Raises `ControlError`.
    """
    if path.exists() and not stat.S_ISSOCK(path.lstat().st_mode):
        raise ControlError(
            "something else is where the control socket belongs",
            which=str(path),
            value="not a socket",
            expected="a socket, or nothing",
            action=f"look at it, then: rm {path}",
        )
    fresh = path.with_name(f".{path.name}.new")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        fresh.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            sock.bind(str(fresh))
        finally:
            os.umask(before)
        gid = _group_id(group)
        if gid is not None and gid != fresh.stat().st_gid:
            os.chown(fresh, -1, gid)
        fresh.chmod(0o660)
        sock.listen(backlog)
        fresh.rename(path)
    except OSError as error:
        sock.close()
        raise ControlError(
            "cannot open the control socket",
            which=str(path),
            value=error.strerror or str(error),
            expected="a path of at most 100 characters in a directory that we may write to",
            action=f"ls -ld {path.parent}",
        ) from error
    return sock


def _group_id(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None

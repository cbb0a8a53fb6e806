"""The few system calls about namespaces and mounts that Python 3.11 does not have.

Each raises `OSError` with the call and its subject. `in_thread` is how they are used: a namespace is
a property of a *thread*, so what enters one does it in a thread of its own that ends there, and the
rest of the process stays where it was.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

# linux/sched.h
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWNET: Final = 0x40000000

# linux/mount.h
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MNT_DETACH: Final = 2

_libc: Final = ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str, subject: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{call}: {os.strerror(code)}", subject)


def unshare(flags: int) -> None:
    """unshare(2), for the calling thread only."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare", hex(flags))


def setns(path: Path, kind: int) -> None:
    """setns(2) of the calling thread into the namespace held by `path`; `kind` is a CLONE_NEW flag."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns", str(path))
    finally:
        os.close(descriptor)


def mount(
    source: str, target: Path, *, kind: str = "none", flags: int = 0, options: str = ""
) -> None:
    """mount(2)."""
    _check(
        _libc.mount(
            source.encode(),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            options.encode() or None,
        ),
        "mount",
        str(target),
    )


def unmount(target: Path) -> None:
    """umount2(2), detached: it succeeds while something is still open below."""
    _check(_libc.umount2(os.fsencode(target), ctypes.c_int(MNT_DETACH)), "umount", str(target))


def in_thread(function: Callable[[], T]) -> T:
    """Run `function` in a new thread, which ends with it; its result or its exception is ours."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(function())
        except BaseException as error:  # handed to the caller below, whatever it is
            errors.append(error)

    thread = threading.Thread(target=body, name="netns-lab")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def in_network_namespace(path: Path, function: Callable[[], T]) -> T:
    """Run `function` inside the network namespace held by `path`.

    Sockets and child processes made there stay there; /proc/sys/net is that namespace's.
    """

    def inside() -> T:
        setns(path, CLONE_NEWNET)
        return function()

    return in_thread(inside)

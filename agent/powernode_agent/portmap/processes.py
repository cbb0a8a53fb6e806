"""Finds and ends our tayga among the processes of this host. Shell.

Known by its command line, which names our configuration file, and by being in our network namespace:
another node of a lab has one of the same name. No file with a process id, which could be stale and
name somebody else.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
_ENDED: Final = frozenset("ZXx")
_STOPPED: Final = frozenset("Tt")
"""States of /proc/PID/stat, proc(5)."""


@dataclass(frozen=True, slots=True)
class Translator:
    """A tayga of ours, the configuration it was started with, and whether somebody stopped it
    (SIGSTOP, a debugger): then it holds its link, and translates nothing."""

    pid: int
    configuration: Path
    stopped: bool = False


def find(program: str, directory: Path, prefix: str) -> list[Translator]:
    """Those of `program` that were told to read a file of this `prefix` in `directory`."""
    try:
        ours = os.readlink("/proc/thread-self/ns/net")
    except OSError:
        return []
    found: list[Translator] = []
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        # Gone meanwhile, or not ours to look at.
        with suppress(OSError):
            if (entry / "comm").read_text().strip() != program[:15]:
                continue
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if state in _ENDED or os.readlink(entry / "ns/net") != ours:
                continue
            for argument in (entry / "cmdline").read_bytes().split(b"\0"):
                path = Path(os.fsdecode(argument))
                if path.parent == directory and path.name.startswith(prefix):
                    found.append(Translator(int(entry.name), path, state in _STOPPED))
    return found


def is_stopped(pid: int) -> bool:
    """Whether somebody stopped this process; one that is gone is not stopped."""
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] in _STOPPED
    return False


def end(translator: Translator, *, force: bool) -> None:
    """Tell it to end. What is gone already is no error. Raises `OSError`."""
    with suppress(ProcessLookupError):
        os.kill(translator.pid, signal.SIGKILL if force else signal.SIGTERM)

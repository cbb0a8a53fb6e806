"""Processes of the lab: start one that outlives us, know it again, end it, and wait for things.

A pid alone is never trusted: it is kept with its start time, and signals go through a pidfd whose
owner was checked after it was opened, so that a reused pid is never hit. Waiting is polling with a
deadline and a message that says what was seen last; nothing here sleeps for luck.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import Final, TypeVar

from netns_lab.errors import CommandError, LabError, WaitTimeoutError

T = TypeVar("T")

PATIENCE: Final = float(os.environ.get("NETNS_LAB_PATIENCE") or 1.0)
"""Stretches every deadline of this module: below an emulated processor all takes several times longer.
Only how long the lab is ready to wait; what it measures is measured as it is."""

TERM_SECONDS: Final = 3.0
"""How long a process may take to end by itself after SIGTERM."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A process and its start time in clock ticks since boot (field 22 of /proc/PID/stat)."""

    pid: int
    start_time: int


def start_time(pid: int) -> int | None:
    """Start time of a living process; None when there is none, or only its zombie."""
    found = _state_and_start(pid)
    return None if found is None or found[0] in {"Z", "X"} else found[1]


def is_alive(record: ProcessRecord) -> bool:
    return start_time(record.pid) == record.start_time


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = 30.0,
    check: bool = True,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, without a shell; output is captured as text.

    Raises `CommandError` for a non-zero end when `check`, `WaitTimeoutError` after `timeout`
    seconds (the program is killed), `LabError` when the program does not exist.
    """
    try:
        done = subprocess.run(
            list(argv),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout * PATIENCE,
            check=False,
            env=None if env is None else {**os.environ, **env},
        )
    except subprocess.TimeoutExpired as error:
        raise WaitTimeoutError(
            "a command of the lab did not end",
            which=" ".join(argv),
            expected=f"{timeout * PATIENCE:g} s",
        ) from error
    except FileNotFoundError as error:
        raise LabError(
            "a program that the lab needs is missing", value=argv[0], action="install its package"
        ) from error
    if check and done.returncode != 0:
        raise CommandError(argv, done.returncode, done.stdout + done.stderr)
    return done


def spawn(
    argv: Sequence[str], *, log: Path, record: Path, env: Mapping[str, str] | None = None
) -> ProcessRecord:
    """Start a daemon in a session of its own; its output is appended to `log`.

    `record` receives pid and start time. Raises `LabError` when the program cannot be started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    record.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=None if env is None else {**os.environ, **env},
        )
    started = start_time(process.pid)
    # The daemon outlives this object on purpose: told that it has ended, Popen does not complain
    # about it when it is collected. Who waits for it, reaps it (`_reap`).
    process.returncode = 0
    if started is None:
        _reap(process.pid)
        raise LabError(
            "a daemon ended as soon as it was started", which=" ".join(argv), value=tail(log)
        )
    made = ProcessRecord(process.pid, started)
    write_record(record, made)
    return made


def write_record(path: Path, record: ProcessRecord) -> None:
    """Replaced as one, so that a crash leaves the old record or the new one."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"pid": record.pid, "start_time": record.start_time}) + "\n")
    draft.replace(path)


def read_record(path: Path) -> ProcessRecord | None:
    """The record, if it is there and its process is alive."""
    try:
        data = json.loads(path.read_text())
        record = ProcessRecord(int(data["pid"]), int(data["start_time"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(
            "unreadable process record", which=str(path), action="take the lab down: netns-lab down"
        ) from error
    return record if is_alive(record) else None


def send_signal(record: ProcessRecord, number: signal.Signals) -> bool:
    """Signal this very process; False if it is gone."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return False
    try:
        # Checked after opening: from here on the descriptor cannot mean another process.
        if not is_alive(record):
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def await_end(records: Sequence[ProcessRecord], timeout: float) -> list[ProcessRecord]:
    """Wait until these processes have ended; those that have not after `timeout` seconds.

    Ended means that the last of their threads has, and with it what they held: the first thread of
    a killed wireguard-go is a zombie a moment before its device goes.
    """
    deadline = time.monotonic() + timeout * PATIENCE
    left: list[ProcessRecord] = []
    for record in records:
        try:
            descriptor = os.pidfd_open(record.pid)
        except ProcessLookupError:
            continue
        try:
            found = _state_and_start(record.pid)
            if found is None or found[1] != record.start_time:
                continue
            if not select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                left.append(record)
        finally:
            os.close(descriptor)
        _reap(record.pid)
    return left


def end(records: Sequence[ProcessRecord], *, grace: float = TERM_SECONDS) -> None:
    """SIGTERM, up to `grace` seconds, then SIGKILL. Raises `WaitTimeoutError` if that fails too."""
    living = [record for record in records if send_signal(record, signal.SIGTERM)]
    kill(await_end(living, grace))


def kill(records: Sequence[ProcessRecord]) -> None:
    """SIGKILL, and wait until they are gone."""
    killed = [record for record in records if send_signal(record, signal.SIGKILL)]
    left = await_end(killed, 5.0)
    if left:
        raise WaitTimeoutError(
            "processes survive SIGKILL", value=", ".join(str(record.pid) for record in left)
        )


def wait_until(
    check: Callable[[], T],
    *,
    what: str,
    timeout: float = 10.0,
    interval: float = 0.02,
    seen: Callable[[], object] | None = None,
    tolerate: tuple[type[Exception], ...] = (),
) -> T:
    """Poll `check` until it gives something true, and return that.

    Raises `WaitTimeoutError` after `timeout` seconds; its message says `what` was waited for, and
    what was last seen: `seen()` if given, else the last answer, or the last of the exceptions that
    are to be tolerated. Other exceptions of `check` pass through at once.
    """
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        try:
            answer = check()
            if answer:
                return answer
            last = repr(answer)
        except tolerate as error:
            last = str(error) or repr(error)
        if time.monotonic() >= deadline:
            raise WaitTimeoutError(
                f"waited {timeout * PATIENCE:g} s in vain for {what}",
                value=last if seen is None else str(seen()),
            )
        time.sleep(interval)


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error's message."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return "(no log)"


def _state_and_start(pid: int) -> tuple[str, int] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name may contain spaces and parentheses: fields are counted after the last one.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])


def _reap(pid: int) -> None:
    """Collect the process if it is our child and has ended; somebody else's is not our affair."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return

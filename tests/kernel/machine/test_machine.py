"""The machine seen from outside: codes, output, limits, and that nothing is left of it.

Boots one for each test, so it runs as a part of `make test-kernel` only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from netns_lab import processes
from netns_lab.vm import kernel

pytestmark = pytest.mark.skipif(
    "NETNS_LAB_TEST_MACHINE" not in os.environ, reason="boots machines: make test-kernel"
)


def argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "netns_lab.vm", "run", "--memory", "512", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv(*words), capture_output=True, text=True, check=False, timeout=200)


def children_of(pid: int) -> list[int]:
    """The machine's processes: they are told by their parent, since others may run machines, too."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        if int(text[text.rindex(")") + 2 :].split()[1]) == pid:
            found.append(int(path.parent.name))
    return found


def start(*words: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A machine whose command has said something, and the processes it consists of."""
    process = subprocess.Popen(
        argv(*words),
        stdout=subprocess.PIPE,
        text=True,
        # A shell that runs us in the background has it ignored, and that is handed on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"  # while the command goes on: output is live
    parts = children_of(process.pid)
    assert len(parts) == 2
    return process, parts


def assert_gone(pid: int, parts: Sequence[int]) -> None:
    processes.wait_until(
        lambda: not [part for part in parts if processes.start_time(part)],
        what="QEMU and virtiofsd to be gone",
    )


def test_code_output_and_what_may_be_changed(tmp_path: Path) -> None:
    private, shared = tmp_path / "private", tmp_path / "shared"
    private.mkdir()
    shared.mkdir()
    script = f"""
        cat {tmp_path}/given; echo "$LAB_WORD" >&2; pwd
        echo x >{private}/file; echo x >{shared}/file
        nsenter --mount=/proc/1/ns/mnt touch {private}/escaped
        exit 42
    """
    (tmp_path / "given").write_text("from the host\n")
    os.environ["LAB_WORD"] = "a 'word' $x"
    done = run("--writable", str(shared), "--", "bash", "-c", script)
    assert done.returncode == 42, done.stderr
    assert done.stdout == f"from the host\n{Path.cwd()}\n"
    assert done.stderr == "a 'word' $x\n"
    assert (shared / "file").read_text() == "x\n"
    assert list(private.iterdir()) == []


def test_a_time_limit_is_told_apart() -> None:
    done = run("--timeout", "20", "--", "sleep", "1000")
    assert done.returncode == 124
    assert "did not end" in done.stderr


def test_a_machine_that_dies_is_told_apart() -> None:
    done = run("--", "bash", "-c", "echo o >/proc/sysrq-trigger; sleep 100")
    assert done.returncode == 125
    assert "ended before its command did" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_stays(number: signal.Signals) -> None:
    process, parts = start("--", "bash", "-c", "echo running; sleep 1000")
    process.send_signal(number)
    try:
        assert process.wait(30) != 0
    finally:
        process.terminate()
    assert_gone(process.pid, parts)
    left = list(kernel.cache().glob(f"run-{process.pid}-*"))
    # A killed caller cannot remove its directory; the next machine does.
    assert bool(left) == (number is signal.SIGKILL)

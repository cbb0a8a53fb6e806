"""The virtual machine's pure halves: what the guest is told, and why a host cannot run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netns_lab import processes
from netns_lab.vm import guest, kernel, machine, needs
from netns_lab.vm.errors import CannotRunError
from netns_lab.vm.needs import Acceleration

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu vmx sse", Acceleration.KVM),
        ("fpu svm", Acceleration.KVM),
        ("fpu", Acceleration.EMULATION),
    ],
)
def test_a_kvm_device_alone_is_not_hardware(
    tmp_path: Path, flags: str, expected: Acceleration
) -> None:
    device, processors = tmp_path / "kvm", tmp_path / "cpuinfo"
    device.touch()
    processors.write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert needs.acceleration(device, processors) is expected
    assert needs.acceleration(tmp_path / "none", processors) is Acceleration.EMULATION


def test_newest_package() -> None:
    text = "linux-image-6.12-cloud-amd64\n  Depends: linux-image-6.12.117+deb12-cloud-amd64\n"
    assert kernel.newest_package(text) == "linux-image-6.12.117+deb12-cloud-amd64"
    assert kernel.newest_package("") is None


def test_the_guest_gets_words_and_not_shell() -> None:
    text = guest.main(
        ["echo", "$(id); 'x'"],
        control=Path("/c d"),
        directory=Path("/srv/a b"),
        environment={"A": "1\n2", "B": "$HOME", "BASH_FUNC_x%%": "() { :; }", "PWD": "/else"},
    )
    # Read by a real shell: everything up to the command, and the command itself.
    start = text.index("(\n") + 2
    script = text[start : text.index("cd '/srv/a b'")] + 'echo "$A|$B|${PWD##*/}"\n'
    script += text[text.index("exec setsid") + len("exec setsid") :].splitlines()[0]
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=True, cwd="/usr"
    )
    assert done.stdout == "1\n2|$HOME|usr\n$(id); 'x'\n"


def test_what_killed_callers_left_is_removed(tmp_path: Path) -> None:
    ours = tmp_path / f"run-{os.getpid()}-{processes.start_time(os.getpid())}"
    reused = tmp_path / f"run-{os.getpid()}-1"
    gone = tmp_path / "run-999999999-5"
    for path in (ours, reused, gone):
        path.mkdir()
    machine.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [ours]


def test_a_host_without_qemu_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for program in needs.PROGRAMS:
        (tmp_path / program).write_text("")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CannotRunError, match=r"qemu-system-x86_64.*tools/setup.sh --kernel"):
        needs.check()


def test_what_cannot_run_is_skipped_and_not_passed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/kernel/run.py")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "skipped, this machine cannot run it" in done.stdout
    assert done.stdout.splitlines()[-1] == "test-kernel: 0 passed, 0 failed, 1 skipped"

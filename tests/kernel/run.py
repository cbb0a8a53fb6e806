"""`make test-kernel`: boots the virtual machine once and runs pytest in it, on kernel WireGuard.

What runs there: this directory, and those tests of tests/netns that say something about kernel
WireGuard (`SUITES`); the lab gives its agents the kernel backend by NETNS_LAB_BACKEND. The exit code is
pytest's own, 124 after the time limit, 125 if the machine dies. The tests of the machine itself follow
whatever came of these; the first code that is not 0 counts, and both are said. In the guest nothing may
be missing (`DEMAND`): a kernel without WireGuard or netem fails there. A host that cannot boot the
machine counts as one skipped, with the reason: exit 0, and nothing is called passed.

Arguments, if any, are pytest's, instead of the suites.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from netns_lab.agent_config import BACKEND_VARIABLE
from netns_lab.errors import LabError
from netns_lab.vm import machine
from netns_lab.vm.errors import CannotRunError, DiedError, TimedOutError

ROOT: Final = Path(__file__).resolve().parents[2]
NO_BYTECODE: Final = "PYTHONDONTWRITEBYTECODE"
"""Not handed on: each of the many agents would compile itself anew. What is written is gone with the
guest."""
DEMAND: Final = "NETNS_LAB_DEMAND_KERNEL"
"""Set in the guest: what a test needs of the kernel is there, or it fails; it does not skip."""
_FILES: Final = "tests/netns/agent/test_agent_file_source.py"
_LIFE: Final = "tests/netns/agent/test_agent_lifecycle.py"
_ALONE: Final = "tests/netns/agent/test_agent_isolation.py"
_PLATFORM: Final = "tests/netns/agent/test_agent_platform.py"
SUITES: Final = (
    "tests/kernel",
    "tests/netns/wireguard/test_wireguard_backends.py::test_kernel",
    f"{_FILES}::test_two_files_make_an_overlay",
    f"{_FILES}::test_a_changed_file_is_applied_and_disturbs_nothing",
    f"{_LIFE}::test_a_restart_costs_no_packet_and_no_write",
    f"{_LIFE}::test_drift_is_repaired[deleted link]",
    f"{_LIFE}::test_drift_is_repaired[removed alias]",
    f"{_LIFE}::test_drift_is_repaired[deleted peer]",
    f"{_LIFE}::test_drift_is_repaired[stolen allowed IPs]",
    f"{_LIFE}::test_drift_is_repaired[changed listen port]",
    f"{_LIFE}::test_what_is_foreign_is_never_touched",
    f"{_LIFE}::test_purge_tears_down_and_it_stays_so",
    f"{_ALONE}::test_a_network_gets_another_handle",
    f"{_ALONE}::test_two_networks_swap_their_ports_and_then_their_handles",
    f"{_PLATFORM}::test_an_endpoint_that_nat_moved_is_not_written_back",
)
"""What else there is (the file source, the platform link, verbs without a daemon) does not touch
WireGuard, or is about wireguard-go's processes. That no secret shows is in test_kernel_takeover."""
TIME_LIMIT: Final = 2700.0
"""Seconds for all of it."""
MEMORY: Final = 3072
TEST_TIME_LIMIT: Final = 300
"""Seconds for one test: emulated processors are slow."""
PATIENCE: Final = "6"
"""The factor for the lab's deadlines, for the same reason."""


def main(arguments: Sequence[str]) -> int:
    """Run it; the exit code."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--ignore=tests/kernel/machine"]
    command += [f"--timeout={TEST_TIME_LIMIT}", *(arguments or SUITES)]
    environment = {
        **{name: value for name, value in os.environ.items() if name != NO_BYTECODE},
        BACKEND_VARIABLE: "kernel",
        "NETNS_LAB_PATIENCE": PATIENCE,
        DEMAND: "1",
    }
    try:
        suite = _inside(command, environment)
    except CannotRunError as error:
        print(f"test-kernel: skipped, this machine cannot run it: {error}")
        print("test-kernel: 0 passed, 0 failed, 1 skipped")
        return 0
    if arguments:
        return suite
    machine_code = _of_the_machine()
    print(f"test-kernel: exit code {suite} in the guest, {machine_code} of the machine's own tests")
    return suite or machine_code


def _inside(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run it in the machine; its exit code. Raises `CannotRunError`.

    A machine that dies is booted a second time, and that is said: an emulated processor was seen to
    trip over an instruction that the guest's kernel patched on another one at that moment (a panic in
    `sched_clock_cpu`). A panic of our own making would come again.
    """
    began = time.monotonic()

    def attempt() -> machine.Ended:
        left = TIME_LIMIT - (time.monotonic() - began)
        return machine.run(
            command, timeout=left, memory=MEMORY, directory=ROOT, environment=environment
        )

    try:
        try:
            ended = attempt()
        except DiedError as error:
            print(f"test-kernel: {error}", file=sys.stderr)
            print("test-kernel: once more, from the beginning", file=sys.stderr)
            ended = attempt()
    except CannotRunError:
        raise
    except (TimedOutError, DiedError) as error:
        print(f"test-kernel: {error}", file=sys.stderr)
        return error.code
    except LabError as error:
        print(f"test-kernel: {error}", file=sys.stderr)
        return DiedError.code
    print(
        f"test-kernel: {ended.acceleration.value}, booted in {ended.boot_seconds:.1f} s,"
        f" {ended.seconds:.0f} s in all"
    )
    return ended.code


def _of_the_machine() -> int:
    """The tests of the machine, from outside; their exit code."""
    command = [sys.executable, "-m", "pytest", "-q", f"--timeout={TEST_TIME_LIMIT}"]
    return subprocess.run(
        [*command, "tests/kernel/machine"],
        cwd=ROOT,
        env={**os.environ, "NETNS_LAB_TEST_MACHINE": "1"},
        check=False,
    ).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

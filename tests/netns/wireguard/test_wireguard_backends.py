"""The room with real devices, in network namespaces of its own: wireguard-go's, and the kernel's where
it has WireGuard (`make test-kernel` boots one that has).

Each scenario runs in a child inside the namespaces, because sockets and links have to be looked for
there; wireguard_contract.py and wireguard_own.py say what each one claims.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))  # the scenarios are no test module: pytest would not find them

from tests.netns.wireguard.wireguard_runner import SCENARIOS  # noqa: E402

from powernode_agent.wireguard.generic_netlink import has_family  # noqa: E402

RUNNER = "tests.netns.wireguard.wireguard_runner"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def nodes() -> Iterator[tuple[str, str]]:
    """Two namespaces, joined by an underlay of their own."""
    ours, other = (f"pnt-wg{os.getpid()}{which}" for which in "ab")
    made = []
    try:
        for name in (ours, other):
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", ours, "link", "add", "u0", "type", "veth", "peer", "name", "u0", "netns", other)
        for name, address in ((ours, "10.77.0.1/24"), (other, "10.77.0.2/24")):
            ip("-n", name, "addr", "add", address, "dev", "u0")
            ip("-n", name, "link", "set", "u0", "up")
        yield ours, other
    finally:
        for name in made:
            _end_processes(name)
            ip("netns", "del", name)


def _end_processes(namespace: str) -> None:
    """wireguard-go outlives whoever started it: what is in a namespace we made is ours to end."""
    listed = subprocess.run(
        ["ip", "netns", "pids", namespace], check=True, capture_output=True, text=True
    )
    for pid in map(int, listed.stdout.split()):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


@pytest.mark.parametrize("scenario", SCENARIOS["userspace"])
def test_userspace(scenario: str, nodes: tuple[str, str]) -> None:
    play("userspace", scenario, nodes)


@pytest.mark.skipif(
    # Where tests/kernel/run.py says that it is there, its absence fails.
    "NETNS_LAB_DEMAND_KERNEL" not in os.environ and not has_family("wireguard"),
    reason="this kernel has no WireGuard: make test-kernel",
)
@pytest.mark.parametrize("scenario", SCENARIOS["kernel"])
def test_kernel(scenario: str, nodes: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    said = play("kernel", scenario, nodes)
    with capsys.disabled():  # a figure is worth seeing when all is well, too
        for line in said.splitlines():
            if line.startswith("migration gap:"):
                print(f"\n{line}")


def play(backend: str, scenario: str, nodes: tuple[str, str]) -> str:
    ours, other = nodes
    done = subprocess.run(
        ["ip", "netns", "exec", ours, sys.executable, "-m", RUNNER, backend, scenario, other],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, f"{backend} {scenario}:\n{done.stdout}{done.stderr}"
    return done.stdout

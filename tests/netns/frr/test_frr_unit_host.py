"""FRR under its own scripts, and an agent that is not root: it follows, and cannot become root so."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

AGENT = Path(__file__).parents[3] / "agent"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces take root"),
    pytest.mark.skipif(not Path("/usr/lib/frr/frrinit.sh").exists(), reason="FRR is not installed"),
    pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="no systemd-tmpfiles"),
]


def play(scenario: str, owners: str = "handed-out") -> subprocess.CompletedProcess[str]:
    program = str(Path(__file__).with_name("unit_host.py"))
    return subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc",
         # First of its processes is one that takes leave of daemons that end.
         "bash", "-c", '"$@"; exit $?', "-", sys.executable, program, scenario, owners],
        capture_output=True, text=True, timeout=100, env={**os.environ, "PYTHONPATH": str(AGENT)},
    )  # fmt: skip


@pytest.mark.parametrize("scenario", ["follows", "belongs", "becomes_root"])
def test_an_agent_that_is_not_root(scenario: str) -> None:
    done = play(scenario)
    assert done.returncode == 0, done.stderr[-3000:]


def test_with_the_packages_own_owners_it_would_become_root() -> None:
    """So that the test above is known to see what it says it does not."""
    done = play("becomes_root", "packaged")
    assert done.returncode != 0
    assert "root ran what the agent's user wrote" in done.stderr

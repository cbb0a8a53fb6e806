"""The command line, as a person or a script meets it: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from netns_lab import teardown
from netns_lab.paths import lab_paths

NETNS_LAB = Path(sys.executable).parent / "netns-lab"
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli() -> Iterator[Cli]:
    name = "c" + secrets.token_hex(3)

    def run(verb: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(NETNS_LAB), verb, "--lab", name, *arguments]
        # As from a shell in which no virtual environment is active.
        environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=60, env=environment
        )

    yield run
    teardown.remove(lab_paths(name))


def test_up_exec_status_down(cli: Cli) -> None:
    done = cli("up", "--bare", "--spokes", "1", "--hubs", "1")
    assert done.returncode == 0, done.stderr
    assert "namespaces: 4" in done.stderr
    assert "spoke-1" in done.stdout

    inside = cli("exec", "hub-1", "--", "ip", "-br", "-4", "address", "show", "dev", "eth0")
    assert "203.0.113.6/30" in inside.stdout
    assert cli("exec", "hub-1", "--", "sh", "-c", "exit 7").returncode == 7
    asked = cli("exec", "hub-1", "--", "powernode-agent", "version", "--json")
    assert asked.returncode == 0, asked.stderr
    assert json.loads(asked.stdout)["schema"] == "powernode.version/v1"

    status = cli("status", "--json")
    assert status.returncode == 3, "no agent runs: bad news"
    document = json.loads(status.stdout)
    assert document["schema"] == "netns-lab.status/v1"
    rows = {row["node"]: row for row in document["nodes"]}
    assert rows["hub-1"]["pid"] is None
    assert rows["hub-1"]["good"] is False
    assert rows["router"]["good"] is True

    assert cli("down").returncode == 0
    again = cli("down")
    assert (again.returncode, again.stdout) == (0, "nothing to take down\n")


def test_how_it_ends_when_it_cannot(cli: Cli) -> None:
    missing = cli("status")
    assert missing.returncode == 4
    assert "netns-lab up" in missing.stderr, "every complaint ends in the next command to type"
    assert cli("up", "--bare", "--spokes", "1").returncode == 0
    twice = cli("up", "--bare")
    assert twice.returncode == 1
    assert "netns-lab down" in twice.stderr
    assert cli("exec", "hub-9", "--", "true").returncode == 1
    assert cli("exec", "hub-1").returncode == 2
    for arguments, reason in (("not json", "are not JSON"), ("[]", "a JSON object")):
        misused = cli("call", "lab_ping", arguments)
        assert misused.returncode == 2
        assert reason in misused.stderr
    assert cli("call", "lab_ping").returncode == 4, "no platform runs"
    assert cli("logs", "hub-1").returncode == 4
    assert "Traceback" not in twice.stderr + missing.stderr


def test_it_takes_root_and_says_so() -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--clear-groups", str(NETNS_LAB), "status"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "takes root" in done.stderr
    assert "sudo" in done.stderr

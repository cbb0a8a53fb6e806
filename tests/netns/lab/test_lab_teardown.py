"""After `down` the host is as it was before `up`, whatever happened in between."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns_lab import processes, teardown
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.paths import NETWORK_NAMESPACES, LabPaths, lab_paths
from netns_lab.topology import plain_topology, reference_topology


@pytest.fixture
def paths() -> Iterator[LabPaths]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    paths = lab_paths("d" + secrets.token_hex(3))
    yield paths
    teardown.remove(paths)


def traces(paths: LabPaths) -> list[str]:
    """All that the host shows of this lab: namespaces, mounts, files, processes, links.

    Processes are found by looking for the lab's name in what each has open or was started with,
    and not by the ways that `teardown` itself uses.
    """
    found = [str(path) for path in NETWORK_NAMESPACES.iterdir() if paths.name in path.name]
    found += [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if paths.name in line
    ]
    if paths.root.exists():
        found.append(str(paths.root))
    links = processes.run(["ip", "-o", "link"]).stdout.splitlines()
    found += [line for line in links if paths.name in line or "hub-1" in line]
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                mounts = (entry / "mountinfo").read_text()
            except (OSError, ProcessLookupError):
                continue
            if f"netns-lab-{paths.name} " in mounts or paths.namespace_prefix in command:
                found.append(f"{entry.name} {command}")
    return found


def host_state() -> tuple[object, ...]:
    """What no lab may change on the host."""
    return (
        processes.run(["ip", "-o", "link"]).stdout,
        processes.run(["ip", "-o", "address"]).stdout,
        processes.run(["ip", "route"]).stdout,
        processes.run(["nft", "list", "ruleset"]).stdout,
        Path("/proc/sys/net/ipv4/ip_forward").read_text(),
        Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text(),
        Path("/etc/powernode-agent").exists(),
        Path("/etc/frr").exists(),
        Path("/etc/rancher").exists(),
        Path("/var/lib/powernode-agent").exists(),
        Path("/run/wireguard").exists(),
    )


def test_up_and_down_leave_nothing(paths: LabPaths) -> None:
    before = host_state()
    lab = Lab.up(paths.name, reference_topology())
    assert traces(paths), "the search for traces finds a lab that is there"
    lab.node("hub-1").spawn("sleeper", ["sleep", "1000"])
    lab.down()
    assert traces(paths) == []
    assert host_state() == before
    lab.down()


def test_a_name_that_is_up_is_refused_and_stays_up(paths: LabPaths) -> None:
    lab = Lab.up(paths.name, plain_topology(spokes=1))
    with pytest.raises(LabError, match="is up"):
        Lab.up(paths.name, plain_topology(spokes=1))
    assert lab.node("spoke-1").answers(str(lab.node("hub-1").ipv4))


def test_down_ends_what_nobody_recorded(paths: LabPaths) -> None:
    """wireguard-go makes itself a daemon of its own; a stubborn process ignores SIGTERM."""
    lab = Lab.up(paths.name, plain_topology(spokes=1))
    hub = lab.node("hub-1")
    hub.run(["wireguard-go", "wg-sdwan-test"])
    stubborn = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    hub.spawn("stubborn", [sys.executable, "-c", stubborn])
    network = subprocess.Popen(
        ["nsenter", f"--net={hub.network_namespace}", "sleep", "1000"], start_new_session=True
    )
    mounts = subprocess.Popen(
        ["nsenter", f"--mount={paths.mount_namespace('hub-1')}", "sleep", "1000"],
        start_new_session=True,
    )
    processes.wait_until(
        lambda: len(teardown.processes_inside([hub.network_namespace])) == 3,
        what="the daemons to be inside",
    )
    paths.process("hub-1", "stubborn").unlink()
    lab.down()
    assert traces(paths) == []
    for left_open in (network, mounts):
        left_open.wait(5)


def test_a_process_elsewhere_survives(paths: LabPaths) -> None:
    other = Lab.up("e" + secrets.token_hex(3), plain_topology(spokes=1, platform=False))
    try:
        bystander = other.node("hub-1").spawn("sleeper", ["sleep", "1000"])
        Lab.up(paths.name, plain_topology(spokes=1)).down()
        assert processes.is_alive(bystander)
        assert other.node("spoke-1").answers(str(other.node("hub-1").ipv4))
    finally:
        other.down()


def test_a_reused_pid_is_not_killed(paths: LabPaths) -> None:
    """A stale record names a pid that now belongs to somebody else."""
    Lab.up(paths.name, plain_topology(spokes=1, platform=False))
    innocent = subprocess.Popen(["sleep", "1000"])
    try:
        started = processes.start_time(innocent.pid)
        assert started is not None
        stale = processes.ProcessRecord(innocent.pid, started - 1)
        processes.write_record(paths.process("hub-1", "agent"), stale)
        teardown.remove(paths)
        assert innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()


@pytest.mark.parametrize("delay_ms", [0, 10, 25, 40, 60, 80, 100, 130])
def test_down_after_up_was_killed_in_the_middle(paths: LabPaths, delay_ms: int) -> None:
    program = (
        "import sys; from netns_lab.lab import Lab; from netns_lab.topology import reference_topology\n"
        "topology = reference_topology(); print('go', flush=True)\n"
        "Lab.up(sys.argv[1], topology)\n"
    )
    builder = subprocess.Popen(
        [sys.executable, "-c", program, paths.name], stdout=subprocess.PIPE, start_new_session=True
    )
    assert builder.stdout is not None
    assert builder.stdout.readline() == b"go\n"
    # Not a wait for something: the spread of the moments at which the crash comes.
    time.sleep(delay_ms / 1000)
    os.killpg(builder.pid, signal.SIGKILL)
    builder.communicate()
    teardown.remove(paths)
    assert traces(paths) == []


def test_down_of_a_lab_without_its_files(paths: LabPaths) -> None:
    """Somebody deleted the records: the names alone are enough."""
    lab = Lab.up(paths.name, plain_topology(spokes=1))
    hub = lab.node("hub-1")
    sleeper = hub.spawn("sleeper", ["sleep", "1000"])
    assert sleeper in teardown.processes_inside([hub.network_namespace])
    paths.topology.unlink()
    for record in paths.process_records.iterdir():
        record.unlink()
    with pytest.raises(LabError, match="no such lab"):
        Lab.attach(paths.name)
    teardown.remove(paths)
    assert traces(paths) == []


def test_down_of_a_lab_whose_namespace_names_are_gone(paths: LabPaths) -> None:
    """`ip netns delete` by hand leaves processes in a namespace without a name."""
    lab = Lab.up(paths.name, plain_topology(spokes=1))
    lab.node("hub-1").run(["wireguard-go", "wg-sdwan-test"])
    processes.run(["ip", "netns", "delete", paths.namespace_name("hub-1")])
    assert any("wireguard-go" in trace for trace in traces(paths))
    lab.down()
    assert traces(paths) == []


def test_every_lab_that_left_something_is_known(paths: LabPaths) -> None:
    processes.run(["ip", "netns", "add", paths.namespace_name("hub-1")])
    assert paths.name in teardown.known_labs()
    teardown.remove(paths)
    assert paths.name not in teardown.known_labs()


@pytest.mark.parametrize("name", ["", "a-b", "../x", "toolongname", "A"])
def test_a_lab_name_that_could_mean_another_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="bad name"):
        lab_paths(name)

"""What the daemon takes of a core when nothing happens, with 5 and with 1,000 peers.

User and kernel time of the daemon's process over the same span as that of its wireguard-go, which
answers the daemon's reads (and keeps its own timers). Two spokes are connected; nobody sends
anything.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.evidence import agent_pid, cpu_seconds
from benchmarks.figures import Row
from benchmarks.world import World

from netns_lab.errors import LabError
from netns_lab.teardown import processes_inside

SECONDS = 30.0
QUIET = 20.0
"""Seconds to wait first: for 15 after a change the agent reads more often, to see handshakes."""


def small(world: World) -> list[Row]:
    """With 5 peers."""
    return [_row(world, 5)]


def large(world: World) -> list[Row]:
    """With 1,000 peers."""
    return [_row(world, 1000)]


def _row(world: World, peers: int) -> Row:
    world.grow(peers)
    world.progress(f"waiting {QUIET:.0f} s for quiet, then {SECONDS:.0f} s of measuring")
    time.sleep(QUIET)
    agent, tunnel = agent_pid(world.hub), _wireguard_go(world)
    before, started = (cpu_seconds(agent), cpu_seconds(tunnel)), time.monotonic()
    time.sleep(SECONDS)
    span = time.monotonic() - started
    ours, theirs = (
        100 * (cpu_seconds(pid) - first) / span
        for pid, first in zip((agent, tunnel), before, strict=True)
    )
    return Row(
        f"idle CPU, {peers:,} peers",
        ours,
        "%",
        f"of one core, over {span:.0f} s; wireguard-go took {theirs:.2f} % meanwhile",
    )


def _wireguard_go(world: World) -> int:
    for record in processes_inside([world.hub.network_namespace]):
        command = Path(f"/proc/{record.pid}/cmdline").read_bytes().split(b"\0")
        if command[0].endswith(b"wireguard-go") and world.link.encode() in command:
            return record.pid
    raise LabError("no wireguard-go on the hub", which=world.link)

"""Resident memory of the real daemon process, connected to the platform, with 1,000 peers.

Twice: as it is after a thousand deltas, and after a restart, when the state came from the last-
known-good file. The larger one counts.
"""

from __future__ import annotations

import time

from benchmarks.evidence import agent_pid, memory
from benchmarks.figures import Row
from benchmarks.world import World

from netns_lab.errors import LabError

PEERS = 1000
TARGET = 80.0
SETTLE = 5.0


def run(world: World) -> list[Row]:
    """Memory, and what it took to make the peers through the platform's actions."""
    few = memory(agent_pid(world.hub))
    held = len(world.device_keys(world.hub, world.link))
    world.grow(PEERS)
    _await_connected(world)
    time.sleep(SETTLE)
    grown = memory(agent_pid(world.hub))
    world.hub.stop_agent()
    world.hub.start_agent()
    world.hub.await_agent(timeout=60)
    _await_connected(world)
    time.sleep(SETTLE)
    restarted = memory(agent_pid(world.hub))
    rows = [
        Row(
            "daemon RSS, 1,000 peers",
            max(grown.now, restarted.now),
            "MiB",
            f"after growing {grown.now:.1f} (peak {grown.peak:.1f}), after a restart"
            f" {restarted.now:.1f} (peak {restarted.peak:.1f}); reference: with {held} peers",
            reference=few.now,
            limit=TARGET,
        )
    ]
    if world.growth is not None:
        count, seconds = world.growth
        rows.append(
            Row(
                "NodeInstance created and attached",
                1000 * seconds / count,
                "ms",
                f"mean of {count}, {seconds:.0f} s in all: the reference platform's own cost",
            )
        )
    return rows


def _await_connected(world: World) -> None:
    def connected() -> bool:
        seen = world.call("lab_node_reports", node_instance_id=world.instances[world.hub.name])
        if not seen["watching"] or not seen["reporting"]:
            return False
        return seen["applied_revision"] == seen["desired_revision"]

    world.lab.wait_until(connected, what="the hub to have applied all", timeout=60)
    if len(world.device_keys(world.hub, world.link)) != PEERS:
        raise LabError("the hub's device does not have all peers", expected=str(PEERS))

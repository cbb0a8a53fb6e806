"""Packets lost while the hub's agent is restarted, under traffic between two spokes through that
hub.
"""

from __future__ import annotations

import time

from benchmarks.figures import Row
from benchmarks.world import SPOKES, World

RATE = 200.0
AFTERWARDS = 1.0


def run(world: World) -> list[Row]:
    """One stop and start, and one crash and start."""
    source, target = (world.addresses[name] for name in SPOKES)
    with world.lab.node(SPOKES[0]).probe(target, source=source, rate=RATE) as probe:
        for end in (world.hub.stop_agent, world.hub.kill_agent):
            end()
            world.hub.start_agent()
            world.hub.await_agent(timeout=60)
        time.sleep(AFTERWARDS)
    result = probe.result()
    return [
        Row(
            "packets lost by an agent's restart",
            result.lost,
            "",
            f"SIGTERM and SIGKILL, each with a start: {result.summary()}, {RATE:.0f} a second",
            limit=0,
        )
    ]

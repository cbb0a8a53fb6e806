"""`powernode-agent status` as an operator feels it: a process started, the daemon asked, text
printed.
"""

from __future__ import annotations

import sys
from statistics import median

from benchmarks.evidence import timed
from benchmarks.figures import Row, spread
from benchmarks.world import World

RUNS = 10
TARGET = 250.0


def run(world: World) -> list[Row]:
    """With however many peers the hub has by now."""
    peers = len(world.device_keys(world.hub, world.link))
    rows: list[Row] = []
    for arguments in (["status"], ["status", "--json"]):
        taken = [timed(lambda: world.hub.agent_command(arguments)) for _ in range(RUNS)]  # noqa: B023
        bare = [timed(lambda: world.hub.run([sys.executable, "-c", ""])) for _ in range(RUNS)]
        rows.append(
            Row(
                " ".join(arguments) + f", {peers:,} peers",
                median(taken),
                "ms",
                f"{spread(taken)}; reference: starting Python and doing nothing",
                reference=median(bare),
                limit=TARGET,
            )
        )
    return rows

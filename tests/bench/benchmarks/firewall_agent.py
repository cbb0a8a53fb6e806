"""The firewall in the running daemon: one more member of a tag of 10,000 beside 10,000 rules, from the
platform's delta to the kernel, and what 10,000 rules weigh in memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Final

from benchmarks import states
from benchmarks.evidence import AgentLog, agent_pid, memory, number
from benchmarks.figures import Row, spread
from benchmarks.world import World

from netns_lab.errors import LabError

RULES: Final = 10_000
MEMBERS: Final = 10_000
TURNS: Final = 10


def run(world: World) -> list[Row]:
    """Time and memory."""
    log = AgentLog(world.apart)
    before = memory(agent_pid(world.apart)).now
    members = [f"fd00:7a9::{n:x}/128" for n in range(1, MEMBERS + 1)]
    took: list[float] = []
    try:
        world.push_applied(log, _state(members))
        for turn in range(TURNS):
            members.append(f"fd00:7a9:1::{turn + 1:x}/128")
            revision = world.push(_state(members))
            took.append(number(log.await_revision("reconcile.applied", revision), "milliseconds"))
        listed = world.apart.run(["nft", "list", "table", "inet", "powernode_sdwan"]).stdout
        if f"fd00:7a9:1::{TURNS:x}" not in listed:
            raise LabError("the kernel does not have the new member")
        held = memory(agent_pid(world.apart))
    finally:
        world.push_applied(log, None)
    return [
        Row(
            f"the same in the daemon, beside {RULES:,} rules",
            median(took),
            "ms",
            f"accepted revision to applied; {spread(took)}",
            limit=20.0,
        ),
        Row(
            f"daemon RSS, {RULES:,} rules and a tag of {MEMBERS:,}",
            held.now,
            "MiB",
            f"peak {held.peak:.0f}; reference: the same daemon before",
            reference=before,
        ),
    ]


def _state(members: list[str]) -> Mapping[str, object]:
    rules = [
        {
            "id": f"fr-{n}",
            "network_id": states.NETWORK_ID,
            "direction": "FIREWALL_DIRECTION_INGRESS",
            "action": ("FIREWALL_ACTION_ACCEPT", "FIREWALL_ACTION_DROP")[n % 2],
            "selector": {"tag_id": "tag"} if n % 4 == 0 else {"cidr": f"fd01:{n:x}::/64"},
            "protocol": "FIREWALL_PROTOCOL_TCP",
            "port_range": {"first": 10_000 + n % 50_000, "last": 10_000 + n % 50_000},
            "created_at_ms": n + 1,
        }
        for n in range(RULES)
    ]
    tag = {"id": "tag", "network_id": states.NETWORK_ID, "name": "tag", "members": members}
    return {**states.state([]), "firewall_rules": rules, "firewall_tags": [tag]}

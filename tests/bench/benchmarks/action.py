"""From an operator's action to the kernel of the node: attach and detach a peer, and watch the
hub.

The clock starts before the action is sent to the platform and stops when the hub's device, asked
over its own socket, has the peer or has it no more. In between: the action's checks, its commit,
compiling, the push over mTLS, the agent's validation and pass, and the write.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from benchmarks.evidence import timed
from benchmarks.figures import Row, spread
from benchmarks.states import raw_peers
from benchmarks.uapi import Uapi, hexadecimal, set_peers
from benchmarks.world import SPOKES, World

from netns_lab.errors import LabError

ROUNDS = 12
TARGET = 50.0
TIMEOUT = 10.0
EVERY = 0.001
"""Seconds between looks; one costs about 0.2 ms with so few peers."""


def run(world: World) -> list[Row]:
    """One row."""
    spoke = SPOKES[1]
    attached: list[float] = []
    detached: list[float] = []
    with ThreadPoolExecutor(1) as pool, world.uapi(world.hub, world.link) as device:

        def act(change: str) -> float:
            before = device.keys()
            started = time.perf_counter()
            arrival = pool.submit(_changed_at, device, before)
            (world.attach if change == "attach" else world.detach)(spoke)
            milliseconds = (arrival.result() - started) * 1000
            _await_rest(world)
            return milliseconds

        for turn in range(1, ROUNDS + 1):
            detached.append(act("detach"))
            attached.append(act("attach"))
            if turn % 4 == 0:
                world.progress(
                    f"{2 * turn}/{2 * ROUNDS} actions: {median(attached + detached):.1f} ms"
                )
        raw = [_raw(device, turn) for turn in range(2 * ROUNDS)]
    every = attached + detached
    return [
        Row(
            "operator action to kernel",
            median(every),
            "ms",
            f"{spread(every)}; attach {median(attached):.1f} ms, detach {median(detached):.1f} ms;"
            " reference: one raw write of a peer and its removal",
            reference=median(raw),
            limit=TARGET,
        )
    ]


def _changed_at(device: Uapi, before: set[str]) -> float:
    deadline = time.perf_counter() + TIMEOUT
    while device.keys() == before:
        if time.perf_counter() > deadline:
            raise LabError("the action does not reach the device", expected=f"within {TIMEOUT:g} s")
        time.sleep(EVERY)
    return time.perf_counter()


def _await_rest(world: World) -> None:
    """Until every agent has applied what it was sent: the next action starts on a quiet lab."""
    for instance in world.instances.values():

        def settled(instance: str = instance) -> bool:
            seen = world.call("lab_node_reports", node_instance_id=instance)
            return seen["applied_revision"] == seen["desired_revision"]

        world.lab.wait_until(settled, what="a node to report its revision")
    time.sleep(0.1)


def _raw(device: Uapi, turn: int) -> float:
    """A peer that the agent does not know, there and gone before the agent looks."""
    peer = raw_peers(turn + 1)[-1]
    remove = f"set=1\npublic_key={hexadecimal(peer.public_key)}\nremove=true\n\n".encode()

    def there_and_back() -> None:
        device.set(set_peers([peer]))
        device.set(remove)

    return timed(there_and_back)

"""1,000 peers cold, beside raw writes of the same peers through the same wireguard-go.

Ours is what `status` gives as revision.applied_in_s: from the accepted revision to the end of the
pass that applied it (keys, targets, difference, writes, the events of all writes read back). Raw
is one prepared message over a blocking socket, until the device answers. Both devices are fresh
each time, up, and without peers; the repetitions alternate. Nobody looks at either device meanwhile:
wireguard-go answers a reader at the writer's cost. What is seen from outside is measured in turns of
its own; another pair of figures includes making the device.
"""

from __future__ import annotations

import time
from statistics import median

from benchmarks import raw_device, states
from benchmarks.evidence import AgentLog, number, timed, when
from benchmarks.figures import Row, spread
from benchmarks.states import LINK
from benchmarks.uapi import RawPeer, set_peers
from benchmarks.world import World

from netns_lab.errors import LabError

PEERS = 1000
REPETITIONS = 7
WITH_DEVICE = 3
WATCHED = 3
RATIO = 1.5


def run(world: World) -> list[Row]:
    """One row with its target, two for context."""
    peers = states.raw_peers(PEERS)
    message = set_peers(peers)
    ours: list[float] = []
    seen: list[float] = []
    raw: list[float] = []
    for turn in range(1, REPETITIONS + 1):
        applied, _ = _ours(world, peers, device_first=True)
        ours.append(applied)
        with raw_device.raw_device(world) as device:
            raw.append(timed(lambda: device.set(message)))
            _check(len(device.keys()))
        world.progress(f"{turn}/{REPETITIONS}: ours {applied:.0f} ms, raw {raw[-1]:.0f} ms")
    for _ in range(WATCHED):
        _, outside = _ours(world, peers, device_first=True, watched=True)
        seen.append(outside)
    made = [_ours(world, peers, device_first=False)[0] for _ in range(WITH_DEVICE)]
    raw_made = [_raw_with_device(world, message) for _ in range(WITH_DEVICE)]
    return [
        Row(
            "1,000 peers cold",
            median(ours),
            "ms",
            f"accepted revision to applied, device up and empty; {spread(ours)}; raw {spread(raw)}",
            reference=median(raw),
            ratio_limit=RATIO,
        ),
        Row(
            "the same, seen from outside",
            median(seen),
            "ms",
            "from the log line of the accepted revision to a read of the device with all peers,"
            " asking every 20 ms",
            reference=median(raw),
        ),
        Row(
            "the same, device included",
            median(made),
            "ms",
            "ours also sets alias, MTU, addresses, sysctls and routes; raw starts wireguard-go,"
            " sets key and port, and brings the link up",
            reference=median(raw_made),
        ),
    ]


def _ours(
    world: World, peers: list[RawPeer], *, device_first: bool, watched: bool = False
) -> tuple[float, float]:
    """Milliseconds as the agent reports them, and, if watched, as the device shows them."""
    log = AgentLog(world.apart)
    try:
        if device_first:
            world.push_applied(log, states.state([]))
            _check(len(world.device_keys(world.apart, LINK)), expected=0)
        revision = world.push(states.state(peers))
        complete_at = _complete_at(world) if watched else 0.0
        applied = log.await_revision("reconcile.applied", revision)
        accepted = log.await_revision("revision.accepted", revision)
        _check(len(world.device_keys(world.apart, LINK)))
        return number(applied, "milliseconds"), (complete_at - when(accepted)) * 1000
    finally:
        world.push_applied(log, None)


def _complete_at(world: World) -> float:
    """When the device has all peers. Asked seldom: each answer takes wireguard-go's own time."""
    deadline = time.monotonic() + 60
    with world.uapi(world.apart, LINK) as device:
        while len(device.keys()) < PEERS:
            if time.monotonic() > deadline:
                raise LabError("the peers do not arrive", expected=str(PEERS))
            time.sleep(0.02)
    return time.time()


def _raw_with_device(world: World, message: bytes) -> float:
    def make() -> None:
        with raw_device.start(world) as device:
            device.set(message)

    try:
        return timed(make)
    finally:
        raw_device.stop(world)


def _check(found: int, expected: int = PEERS) -> None:
    if found != expected:
        raise LabError("the device has other peers", value=str(found), expected=str(expected))

"""2,000 learned prefixes: from the first kernel route to the last allowed IP; and one of them moves.

The routes are added as a routing daemon would, by next hop and with protocol `bgp`, by one `ip -batch`;
the time runs from before it starts to the answer of the device that has them all. Beside it, what the
batch takes by itself, and one raw write of the same allowed IPs. The single route moves from one hub to
the other; the time runs from before `ip` starts, so that its own start is in the figure, and is told.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Network
from statistics import median

from benchmarks import states
from benchmarks.evidence import AgentLog, timed
from benchmarks.figures import Row, spread
from benchmarks.states import LINK, NETWORK_ID, OVERLAY
from benchmarks.uapi import RawPeer, hexadecimal
from benchmarks.world import World

from netns_lab import processes
from netns_lab.errors import LabError

PREFIXES = 2000
REPETITIONS = 5
MOVES = 10
TARGET = 1000.0
MOVE_TARGET = 100.0
PERMITTED = "fd77::/32"


def run(world: World) -> list[Row]:
    """All of them, and one."""
    hubs = states.raw_peers(2)
    prefixes = [str(IPv6Network((0xFD77 << 112 | n << 80, 48))) for n in range(PREFIXES)]
    log = AgentLog(world.apart)
    ours: list[float] = []
    batches: list[float] = []
    raw: list[float] = []
    gone: list[float] = []
    try:
        world.push_applied(log, _state(hubs))
        for turn in range(1, REPETITIONS + 1):
            started = time.perf_counter()
            batches.append(timed(lambda: _routes(world, "add", prefixes, hubs[0])))
            _await_count(world, hubs[0], PREFIXES)
            ours.append((time.perf_counter() - started) * 1000)
            raw.append(_raw(world, hubs, prefixes))
            _await_count(world, hubs[0], PREFIXES)
            if turn < REPETITIONS:
                started = time.perf_counter()
                _routes(world, "del", prefixes, hubs[0])
                _await_count(world, hubs[0], 0)
                gone.append((time.perf_counter() - started) * 1000)
            world.progress(f"{turn}/{REPETITIONS}: {ours[-1]:.0f} ms")
        moves, starts = _moves(world, hubs, prefixes)
    finally:
        world.push_applied(log, None)
    return [
        Row(
            "2,000 learned prefixes",
            median(ours),
            "ms",
            f"first route to last allowed IP; {spread(ours)}; of it ip -batch {median(batches):.0f} ms;"
            " reference: one raw write of the same allowed IPs",
            reference=median(raw),
            limit=TARGET,
        ),
        Row("all of them withdrawn", median(gone), "ms", f"the same, to none; {spread(gone)}"),
        Row(
            "one of them moves",
            median(moves),
            "ms",
            f"route to allowed IP; {spread(moves)}; of it starting ip {median(starts):.0f} ms",
            limit=MOVE_TARGET,
        ),
    ]


def _moves(
    world: World, hubs: Sequence[RawPeer], prefixes: Sequence[str]
) -> tuple[list[float], list[float]]:
    moves: list[float] = []
    starts: list[float] = []
    for turn in range(MOVES):
        prefix, hub = prefixes[turn * 163 % PREFIXES], hubs[1]
        started = time.perf_counter()
        starts.append(timed(lambda: _routes(world, "replace", [prefix], hub)))  # noqa: B023
        processes.wait_until(
            lambda: prefix in _carried(world, hub),  # noqa: B023
            what=f"{prefix} to move",
            interval=0.005,
        )
        moves.append((time.perf_counter() - started) * 1000)
    return moves, starts


def _routes(world: World, verb: str, prefixes: Sequence[str], hub: RawPeer) -> None:
    address = hub.allowed_ip.removesuffix("/128")
    lines = "".join(f"route {verb} {p} via {address} dev {LINK} proto bgp\n" for p in prefixes)
    processes.run(world.apart.argv(["ip", "-6", "-batch", "-"]), stdin=lines)


def _carried(world: World, hub: RawPeer) -> set[str]:
    with world.uapi(world.apart, LINK) as device:
        text = device.get()
    _, _, rest = text.partition(f"public_key={hexadecimal(hub.public_key)}\n")
    section = rest.partition("public_key=")[0]
    return {
        line.removeprefix("allowed_ip=")
        for line in section.splitlines()
        if line.startswith("allowed_ip=fd77:")
    }


def _await_count(world: World, hub: RawPeer, count: int) -> None:
    """Asked seldom: each answer takes wireguard-go's own time."""
    processes.wait_until(
        lambda: len(_carried(world, hub)) == count,
        what=f"{count} learned prefixes in the device",
        interval=0.02,
        timeout=60,
    )


def _raw(world: World, hubs: Sequence[RawPeer], prefixes: Sequence[str]) -> float:
    """The same allowed IPs to the other hub in one write, and back."""

    def message(hub: RawPeer) -> bytes:
        lines = "".join(f"allowed_ip={prefix}\n" for prefix in prefixes)
        key = hexadecimal(hub.public_key)
        return f"set=1\npublic_key={key}\nupdate_only=true\n{lines}\n".encode("ascii")

    with world.uapi(world.apart, LINK) as device:
        took = timed(lambda: device.set(message(hubs[1])))
        device.set(message(hubs[0]))
    return took


def _state(hubs: Sequence[RawPeer]) -> Mapping[str, object]:
    """A spoke of an iBGP network with two hubs."""
    state = dict(states.state(hubs))
    (network,) = _listed(state, "networks")
    interface = network["interface"]
    if not isinstance(interface, dict):
        raise LabError("the state has no interface", which=NETWORK_ID)
    network["routing_mode"] = "ROUTING_MODE_IBGP"
    interface["role"] = "PEER_ROLE_SPOKE"
    for peer in _listed(state, "peers"):
        peer["role"] = "PEER_ROLE_HUB"
        peer["permitted_prefixes"] = [f"{OVERLAY}/64", PERMITTED]
    return state


def _listed(state: Mapping[str, object], kind: str) -> list[dict[str, object]]:
    found = state[kind]
    if not isinstance(found, list):
        raise LabError("the state has no list", which=kind)
    return found

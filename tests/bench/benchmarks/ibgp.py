"""An iBGP network under 100 packets a second: a cut, a new LAN, an agent that restarts.

Cuts are silent, both ways, in the internet between the nodes: no link goes down. Before each round
every BGP and BFD session is up and traffic runs without loss. An interruption is an upper bound, as
`probe_stats` has it; the way back after a cut is counted too, as context.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.arrivals import REPLY, Arrivals
from benchmarks.fabric import (
    NODES,
    SESSIONS,
    await_quiet,
    await_steady,
    gap,
    next_node,
    routed_lab,
)
from benchmarks.figures import Row, spread
from benchmarks.world import World

from netns_lab import sabotage
from netns_lab.errors import LabError
from netns_lab.node import LabNode
from netns_lab.scenario.bgp import neighbors
from netns_lab.scenario.lan import make_lan
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.traffic import settle

SOURCE, HOLDER_1, HOLDER_2 = "spoke-1", "spoke-2", "spoke-3"
ROUNDS: Final = 7
LANS: Final = 10
CUT_TARGET: Final = 500.0
LAN_TARGET: Final = 300.0


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut: the interruption in milliseconds, packets lost by it, and by the way back."""

    gap: float
    lost: int
    lost_back: int


def run(world: World) -> list[Row]:
    """All of it, in one lab."""
    with routed_lab(world) as stage:
        return [
            *_new_lans(world, stage),
            *_agent_restarts(world, stage),
            *_hub_cut_off(world, stage),
            *_hub_lost_to_one(world, stage),
            *_anycast(world, stage),
        ]


def _hub_cut_off(world: World, stage: Stage) -> list[Row]:
    target = stage.addresses[HOLDER_2]

    def cut() -> AbstractContextManager[None]:
        return isolated(stage.node(next_node(stage, SOURCE, target)))

    return _rows("a hub cut off", _cuts(world, stage, "hub", target, cut))


def _hub_lost_to_one(world: World, stage: Stage) -> list[Row]:
    """The far spoke loses the hub that serves; the near one still has it."""
    target = stage.addresses[HOLDER_2]

    def cut() -> AbstractContextManager[None]:
        hub = stage.node(next_node(stage, SOURCE, target))
        return sabotage.severed(hub, stage.node(HOLDER_2))

    return _rows("a hub lost to one spoke only", _cuts(world, stage, "partial", target, cut))


def _anycast(world: World, stage: Stage) -> list[Row]:
    """The holder that serves is cut off."""
    answer = stage.call(
        "system_sdwan_create_virtual_ip",
        network_id=stage.network_id,
        name="bench-anycast",
        primary_holder_peer_id=stage.peers[HOLDER_1],
        failover_holder_peer_ids=[stage.peers[HOLDER_2]],
        anycast=True,
    )
    address = text(answer, "virtual_ip", "address")

    def cut() -> AbstractContextManager[None]:
        hub = next_node(stage, SOURCE, address)
        return isolated(stage.node(next_node(stage, hub, address)))

    return _rows("an anycast holder cut off", _cuts(world, stage, "anycast", address, cut))


def _rows(what: str, cuts: Sequence[Cut]) -> list[Row]:
    gaps = [each.gap for each in cuts]
    return [
        Row(
            f"{what}: gap",
            median(gaps),
            "ms",
            f"BFD 3 x 100 ms; {spread(gaps)}; lost: {', '.join(str(each.lost) for each in cuts)}",
            limit=CUT_TARGET,
        ),
        Row(
            f"{what}: packets lost when it is back",
            median(each.lost_back for each in cuts),
            "",
            f"until BGP and BFD are up everywhere; {spread([each.lost_back for each in cuts])}",
        ),
    ]


def _cuts(
    world: World,
    stage: Stage,
    what: str,
    address: str,
    cut: Callable[[], AbstractContextManager[None]],
) -> list[Cut]:
    cuts: list[Cut] = []
    for turn in range(1, ROUNDS + 1):
        await_steady(stage)
        await_quiet(stage, SOURCE, address)
        cuts.append(_one_cut(stage, address, cut()))
        world.progress(f"{what} {turn}/{ROUNDS}: {cuts[-1]}")
    await_steady(stage)
    return cuts


def _one_cut(stage: Stage, address: str, cut: AbstractContextManager[None]) -> Cut:
    node, source = stage.node(SOURCE), stage.addresses[SOURCE]
    with node.probe(address, source=source) as running:
        settle(running, 50)
        with cut:
            settle(running, 150)
            running.stop()
            back = node.probe(address, source=source)
        with back:
            await_steady(stage)
            settle(back, 100)
    result = running.result()
    return Cut(gap(result), result.lost, back.result().lost)


@contextmanager
def isolated(node: LabNode) -> Iterator[None]:
    """`sabotage.isolate` for the length of a block."""
    sabotage.isolate(node)
    try:
        yield
    finally:
        sabotage.rejoin(node)


def _new_lans(world: World, stage: Stage) -> list[Row]:
    """LANs that are there already are announced, one after the other."""
    prefixes = [f"fd00:1a5:{number:x}::/64" for number in range(1, LANS + 1)]
    for number, prefix in enumerate(prefixes):
        make_lan(stage.node(HOLDER_2), f"lan-{number}", prefix.replace("::/64", "::1/64"))
    took: list[float] = []
    for number, prefix in enumerate(prefixes, start=1):
        host = prefix.replace("::/64", "::1")
        await_quiet(stage, SOURCE, stage.addresses[HOLDER_2])
        with (
            Arrivals(stage.node(SOURCE), stage.link, REPLY, host) as arrivals,
            stage.node(SOURCE).probe(host, source=stage.addresses[SOURCE]) as running,
        ):
            settle(running, 20)
            began = time.time()
            stage.call(
                "system_sdwan_update_peer_lan_subnets",
                peer_id=stage.peers[HOLDER_2],
                subnets=[{"prefix": each, "description": "bench"} for each in prefixes[:number]],
            )
            stage.lab.wait_until(lambda: running.snapshot().received > 0, what=f"{host} to answer")
            took.append(arrivals.first(began))
        world.progress(f"LAN {number}/{LANS}: {took[-1]:.0f} ms")
    return [
        Row(
            "a new LAN: action to reachable",
            median(took),
            "ms",
            f"from before the action to the first answer at another spoke; {spread(took)}",
            limit=LAN_TARGET,
        )
    ]


def _agent_restarts(world: World, stage: Stage) -> list[Row]:
    """The spoke that sends and the hub that serves, each ended as told and killed."""
    target = stage.addresses[HOLDER_2]
    await_quiet(stage, SOURCE, target)
    restarted = (SOURCE, next_node(stage, SOURCE, target))
    before = _resets(stage)
    with stage.node(SOURCE).probe(target, source=stage.addresses[SOURCE]) as running:
        for name in restarted:
            node = stage.node(name)
            for end in (node.stop_agent, node.kill_agent):
                end()
                node.start_agent()
                node.await_agent(timeout=60)
                settle(running, 200)
    result = running.result()
    after = _resets(stage)
    world.progress(f"restarts: {result.summary()}")
    note = f"SIGTERM and SIGKILL of {' and '.join(restarted)}, each with a start"
    return [
        Row(
            "agent restarts with BGP: packets lost",
            result.lost,
            "",
            f"{note}: {result.summary()}",
            limit=0,
        ),
        Row(
            "agent restarts with BGP: sessions reset",
            sum(after[key] != before.get(key) for key in after),
            "",
            f"{note}; of {len(after)} ends of sessions",
            limit=0,
        ),
    ]


def _resets(stage: Stage) -> dict[tuple[str, str], tuple[object, object]]:
    """By node and neighbour: how often bgpd dropped the session, and whether it stands."""
    found = {
        (name, address): (peer["connectionsDropped"], peer["state"])
        for name in NODES
        for address, peer in neighbors(stage, name).items()
    }
    if len(found) != sum(SESSIONS.values()):
        raise LabError("not every bgpd answers", value=f"{len(found)} ends of sessions")
    return found

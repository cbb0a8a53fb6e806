"""A virtual IP that is moved as planned, make before break, under 100 packets a second.

What is counted: packets without an answer, the longest interruption (an upper bound, as `probe_stats`
has it), and how long it takes from before the action is called to the first packet that comes in at the
new holder. The iBGP network has the targets; the static one beside it, over the same nodes, is context.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from benchmarks.arrivals import REQUEST, Arrivals
from benchmarks.fabric import await_quiet, gap, make_network, routed_lab
from benchmarks.figures import Row, spread
from benchmarks.world import World

from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.traffic import settle

SOURCE: Final = "spoke-1"
HOLDERS: Final = ("spoke-2", "spoke-3")
ROUNDS: Final = 10
GAP_TARGET: Final = 50.0
LOST_TARGET: Final = 1.0
MOVE_TARGET: Final = 500.0


@dataclass(frozen=True, slots=True)
class Moved:
    """One move. Times in milliseconds: `gap` of traffic; the others from before the action."""

    lost: int
    gap: float
    arrived: float
    released: float


def run(world: World) -> list[Row]:
    """Both networks, one after the other, in the same lab."""
    with routed_lab(world) as stage:
        ibgp = _moves(world, stage, "iBGP")
        static = replace(stage, peers={}, addresses={})
        make_network(static, "static")
        beside = _moves(world, static, "static")
    gaps, arrived = [each.gap for each in ibgp], [each.arrived for each in ibgp]
    return [
        Row(
            "planned VIP move, iBGP: gap",
            median(gaps),
            "ms",
            f"{spread(gaps)}; moves without any loss: {sum(not each.lost for each in ibgp)}",
            limit=GAP_TARGET,
        ),
        Row(
            "planned VIP move, iBGP: packets lost",
            max(each.lost for each in ibgp),
            "",
            f"the most of {ROUNDS} moves; of each: {', '.join(str(each.lost) for each in ibgp)}",
            limit=LOST_TARGET,
        ),
        Row(
            "planned VIP move, iBGP: action to new holder",
            median(arrived),
            "ms",
            f"to the first packet at the new holder; {spread(arrived)}; the old one lets go after"
            f" {median(each.released for each in ibgp):.0f} ms",
            limit=MOVE_TARGET,
        ),
        *_context(beside),
    ]


def _context(moves: list[Moved]) -> list[Row]:
    gaps, arrived = [each.gap for each in moves], [each.arrived for each in moves]
    return [
        Row(
            "planned VIP move, static: gap",
            median(gaps),
            "ms",
            f"{spread(gaps)}; lost: {', '.join(str(each.lost) for each in moves)}",
        ),
        Row(
            "planned VIP move, static: action to new holder",
            median(arrived),
            "ms",
            f"{spread(arrived)}; the old one lets go after"
            f" {median(each.released for each in moves):.0f} ms",
        ),
    ]


def _moves(world: World, stage: Stage, mode: str) -> list[Moved]:
    answer = stage.call(
        "system_sdwan_create_virtual_ip",
        network_id=stage.network_id,
        name=f"bench-{stage.handle}",
        primary_holder_peer_id=stage.peers[HOLDERS[0]],
        failover_holder_peer_ids=[stage.peers[HOLDERS[1]]],
        anycast=False,
    )
    id_, address = (text(answer, "virtual_ip", key) for key in ("id", "address"))
    moves: list[Moved] = []
    for turn in range(ROUNDS):
        await_quiet(stage, SOURCE, address)
        old, new = HOLDERS if turn % 2 == 0 else HOLDERS[::-1]
        moves.append(_move(stage, id_, address, old, new))
        world.progress(f"{mode} {old} -> {new}: {moves[-1]}")
    return moves


def _move(stage: Stage, id_: str, address: str, old: str, new: str) -> Moved:
    source = stage.addresses[SOURCE]
    with (
        Arrivals(stage.node(new), stage.link, REQUEST, address) as arrivals,
        stage.node(SOURCE).probe(address, source=source) as running,
    ):
        settle(running, 50)
        began = time.time()
        stage.call(
            "system_sdwan_failover_virtual_ip", virtual_ip_id=id_, target_peer_id=stage.peers[new]
        )
        stage.lab.wait_until(
            lambda: not _has(stage, old, address), what=f"{old} to let go of {address}", timeout=20
        )
        released = (time.time() - began) * 1000
        settle(running, 100)
        arrived = arrivals.first(began)
    result = running.result()
    return Moved(result.lost, gap(result), arrived, released)


def _has(stage: Stage, name: str, address: str) -> bool:
    shown = stage.node(name).run(["ip", "-6", "-o", "address", "show", "dev", stage.link]).stdout
    return f" {address}/128 " in shown

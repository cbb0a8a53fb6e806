"""A virtual IP that is moved as planned, make before break, under 100 packets a second.

What is counted: packets without an answer, the longest interruption (an upper bound, as `probe_stats`
has it), and how long it takes from before the action is called to the first packet that comes in at the
new holder. The iBGP network has the targets, between spokes, and between a spoke and the first hub, by
which all others go; the static one beside it, over the same nodes, is context.
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
AT_HUB: Final = ("hub-1", "spoke-2")
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
        ibgp = _moves(world, stage, "iBGP", HOLDERS)
        at_hub = _moves(world, stage, "iBGP", AT_HUB)
        static = replace(stage, peers={}, addresses={})
        make_network(static, "static")
        beside = _moves(world, static, "static", HOLDERS)
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
        *_at_hub("hub to spoke", at_hub[::2]),
        *_at_hub("spoke to hub", at_hub[1::2]),
        *_context(beside),
    ]


def _at_hub(way: str, moves: list[Moved]) -> list[Row]:
    """Without arrivals: all that is for the spoke comes in at the hub as well, by the same link."""
    gaps = [each.gap for each in moves]
    return [
        Row(
            f"planned VIP move, {way}: gap",
            median(gaps),
            "ms",
            f"{spread(gaps)}; the old one lets go after"
            f" {median(each.released for each in moves):.0f} ms",
            limit=GAP_TARGET,
        ),
        Row(
            f"planned VIP move, {way}: packets lost",
            max(each.lost for each in moves),
            "",
            f"the most of {len(moves)} moves; of each: {', '.join(str(m.lost) for m in moves)}",
            limit=LOST_TARGET,
        ),
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


def _moves(world: World, stage: Stage, mode: str, holders: tuple[str, str]) -> list[Moved]:
    """Moves there and back, of a virtual IP that the first of `holders` begins with."""
    answer = stage.call(
        "system_sdwan_create_virtual_ip",
        network_id=stage.network_id,
        name=f"bench-{stage.handle}-{holders[0]}",
        primary_holder_peer_id=stage.peers[holders[0]],
        failover_holder_peer_ids=[stage.peers[holders[1]]],
        anycast=False,
    )
    id_, address = (text(answer, "virtual_ip", key) for key in ("id", "address"))
    moves: list[Moved] = []
    for turn in range(ROUNDS):
        await_quiet(stage, SOURCE, address)
        old, new = holders if turn % 2 == 0 else holders[::-1]
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
            lambda: _is_done(stage, id_) and not _has(stage, old, address),
            what=f"{old} to let go of {address}",
            timeout=20,
        )
        released = (time.time() - began) * 1000
        settle(running, 100)
        arrived = arrivals.first(began)
    result = running.result()
    return Moved(result.lost, gap(result), arrived, released)


def _is_done(stage: Stage, id_: str) -> bool:
    """Asked too: a holder that yields has the address made anew, and looks released for a moment."""
    answer = stage.call("system_sdwan_get_virtual_ip", virtual_ip_id=id_)
    return text(answer, "virtual_ip", "move", "state") == "done"


def _has(stage: Stage, name: str, address: str) -> bool:
    shown = stage.node(name).run(["ip", "-6", "-o", "address", "show", "dev", stage.link]).stdout
    return f" {address}/128 " in shown

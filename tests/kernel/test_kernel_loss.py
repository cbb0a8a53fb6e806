"""The overlay on bad lines: what holds under loss, delay and reordering, and moves when it must.

Two hubs and two spokes with real agents, on kernel WireGuard, with the platform. The spokes' lines
lose 20% each way, so a round trip between a spoke and a hub fails 36 times of 100, and one between
the spokes 59 times. Holding still is measured by what an agent writes to the kernel (every move of a
prefix is such a write, and logged) and by what `wg` shows; not by what the agent says of itself.

The tests follow each other on one lab: bringing it up takes longer than all of them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pytest

from netns_lab import impair, processes, sabotage
from netns_lab.errors import LabError
from netns_lab.impair import Impairment
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.prober import Probe
from netns_lab.scenario.stage import Stage, text
from netns_lab.topology import Topology, plain_topology

OVERLAY: Final = "fd00:abcd:1::/64"
HUBS: Final = ("hub-1", "hub-2")
SPOKES: Final = ("spoke-1", "spoke-2")
BAD_LINE: Final = Impairment(loss=20)
RATE: Final = 5.0
"""Probes a second; they are also the clock of a hold."""
HOLD_SECONDS: Final = 60
FAILOVER_SECONDS: Final = 4.0
"""On an idle machine, at this loss: some probes more than on a good line, until a dead hub can be told
from answers that were lost."""
SILENT_SECONDS: Final = 300
"""The runbook's: no handshake in 5 min."""


@pytest.fixture(scope="module")
def stage(module_lab: Callable[[Topology], Lab]) -> Stage:
    lab = module_lab(plain_topology(hubs=2, spokes=2))
    stage = Stage(lab, lab.start())
    answer = stage.call(
        "system_sdwan_create_network", name="core", prefix=OVERLAY, routing_mode="static"
    )
    stage.network_id = text(answer, "network", "id")
    stage.handle = text(answer, "network", "handle")
    for name in (*HUBS, *SPOKES):
        answer = stage.call(
            "system_sdwan_attach_peer",
            network_id=stage.network_id,
            node_instance_id=stage.instances[name],
            publicly_reachable=name in HUBS,
        )
        stage.peers[name] = text(answer, "peer", "id")
        stage.addresses[name] = text(answer, "peer", "host_address")
    _await_status(stage, dict.fromkeys((*HUBS, *SPOKES), "connected"))
    _await_carrier(stage, "hub-1")
    return stage


def test_the_backend_is_seen(stage: Stage) -> None:
    node = stage.node("spoke-1")
    shown = node.run(["ip", "-d", "link", "show", "dev", stage.link]).stdout
    assert re.search(r"^\s*wireguard ", shown, re.MULTILINE), shown
    assert not sabotage.wireguard_processes(node)
    (network,) = _networks(node)
    assert network["backend"] == "kernel"


def test_the_verbs(stage: Stage) -> None:
    node = stage.node("spoke-1")
    words = [sys.executable, "-m", "netns_lab.cli", "impair", "spoke-1", "--lab", stage.lab.name]
    processes.run([*words, "--loss", "20%", "--delay", "50ms", "--reorder", "5%"])
    shown = node.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
    assert re.search(r"netem .*delay 50(\.0)?ms.* loss 20%.* reorder 5%", shown), shown
    processes.run([*words, "--clear"])
    assert "netem" not in node.run(["tc", "qdisc", "show", "dev", "eth0"]).stdout
    processes.run([*words, "--clear"])  # again does no harm
    done = subprocess.run([*words, "--loss", "much"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.search("much.*20%", done.stderr), done.stderr


def test_delay_and_reordering_move_nothing(stage: Stage) -> None:
    with impair.impaired(stage.node("spoke-1"), Impairment(delay=100, reorder=5)):
        before = _changes(stage)
        with _probe(stage) as probe:
            _hold(probe, 20)
            hub = _peers(stage.node("spoke-1"))["hub-1"]
        assert _changes(stage) == before, _since(stage, before)
    result = probe.result()
    assert result.median_round_trip_ms is not None
    assert result.median_round_trip_ms > 200
    assert result.lost <= result.sent * 0.05, result.summary()
    assert hub["state"] == "connected"
    assert hub["liveness"] == "alive"
    assert hub["rtt_s"] >= 0.19


def test_loss_moves_nothing(stage: Stage) -> None:
    with _bad_lines(stage):
        before = _changes(stage)
        states: set[tuple[str, str]] = set()
        with _probe(stage) as probe:
            _hold(probe, HOLD_SECONDS, lambda: states.update(_seen(stage)))
        result = probe.result()
        print(f"{HOLD_SECONDS} s: {result.summary()}")
        assert 0.3 < result.lost / result.sent < 0.85, "the lines are not what they should be"
        assert _changes(stage) == before, _since(stage, before)
        assert states == {("connected", "hub-1")}


def test_a_dead_hub_moves_everything_once(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    before = _changes(stage, ("hub-2", *SPOKES))
    with _bad_lines(stage):
        with _probe(stage) as probe:
            _hold(probe, 5)
            started = time.monotonic()
            sabotage.kill_hub(stage.node("hub-1"))
            _await_carrier(stage, "hub-2")
            took = time.monotonic() - started
            _answered(probe, 10)
            _hold(probe, 20)
        assert _carriers(stage) == {"hub-2"}
    moves = _moves(stage, before)
    with capsys.disabled():
        print(f"\nfailover under {BAD_LINE.loss:g}% loss each way: {took:.1f} s, moves: {moves}")
    assert moves == dict.fromkeys(SPOKES, 1), _since(stage, before)
    assert took < FAILOVER_SECONDS * processes.PATIENCE


def test_the_dead_hub_is_silent_and_the_others_stay_connected(stage: Stage) -> None:
    """The guest's clock is put forward to have less to wait: not by so much that a session that is
    renewed every two minutes could look old."""
    spoke = stage.node("spoke-1")
    with _bad_lines(stage):
        ahead = SILENT_SECONDS // 2
        time.clock_settime(time.CLOCK_REALTIME, time.time() + ahead)
        handshake = max(line.handshake for line in _lines_of(stage, spoke, "hub-1"))
        others: set[str] = set()

        def silent() -> bool:
            peers = _peers(spoke)
            others.add(peers["hub-2"]["state"])
            return bool(peers["hub-1"]["state"] == "silent")

        processes.wait_until(silent, what="hub-1 to be silent", timeout=SILENT_SECONDS, interval=5)
        assert time.time() - handshake >= SILENT_SECONDS
        assert others == {"connected"}
        _await_status(stage, {"hub-1": "silent", "hub-2": "connected", "spoke-2": "connected"})


def test_the_revived_hub_takes_over_again_once(
    stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _changes(stage, ("hub-2", *SPOKES))
    with _bad_lines(stage):
        with _probe(stage) as probe:
            _hold(probe, 5)
            started = time.monotonic()
            sabotage.revive_hub(stage.node("hub-1"))
            stage.node("hub-1").await_agent()
            _await_carrier(stage, "hub-1")
            took = time.monotonic() - started
            _answered(probe, 10)
            _hold(probe, 20)
        assert _carriers(stage) == {"hub-1"}
    moves = _moves(stage, before)
    with capsys.disabled():
        print(f"\nfailback under {BAD_LINE.loss:g}% loss each way: {took:.1f} s, moves: {moves}")
    assert moves == dict.fromkeys(SPOKES, 1), _since(stage, before)


class _bad_lines:  # noqa: N801 - used as a function
    """20% loss each way on both spokes' lines, for the length of a block."""

    def __init__(self, stage: Stage) -> None:
        self._nodes = [stage.node(name) for name in SPOKES]

    def __enter__(self) -> None:
        for node in self._nodes:
            impair.impair(node, BAD_LINE)

    def __exit__(self, *_: object) -> None:
        for node in self._nodes:
            impair.clear(node)


def _probe(stage: Stage) -> Probe:
    one, other = SPOKES
    return stage.node(one).probe(
        stage.addresses[other], source=stage.addresses[one], rate=RATE, grace=3.0
    )


def _hold(probe: Probe, seconds: int, look: Callable[[], None] = lambda: None) -> None:
    """Until as many probes more were sent as are sent in that time."""
    goal = probe.snapshot().sent + round(seconds * RATE)

    def sent() -> bool:
        look()
        return probe.snapshot().sent >= goal

    processes.wait_until(sent, what=f"{seconds} s of probes", timeout=2.0 * seconds, interval=0.5)


def _answered(probe: Probe, more: int) -> None:
    goal = probe.snapshot().received + more
    processes.wait_until(
        lambda: probe.snapshot().received >= goal, what="answers", timeout=30, interval=0.2
    )


Changes = Mapping[str, Sequence[str]]


def _changes(stage: Stage, names: Sequence[str] = (*HUBS, *SPOKES)) -> Changes:
    """Every change that each agent has made to its kernel so far, as it logged it."""
    return {
        name: [
            f"{entry.get('subsystem')}: {entry.get('first')}"
            for line in stage.node(name).agent_log().splitlines()
            if '"reconcile.changed"' in line
            for entry in [json.loads(line)]
        ]
        for name in names
    }


def _since(stage: Stage, before: Changes) -> str:
    now = _changes(stage, tuple(before))
    return "; ".join(f"{name}: {now[name][len(before[name]) :]}" for name in before)


def _moves(stage: Stage, before: Changes) -> dict[str, int]:
    """How often each spoke has given the overlay to another hub since then. Not by looking now and
    then: one that goes and comes back between two looks would not be seen."""
    now = _changes(stage, SPOKES)
    return {
        name: sum(f"{OVERLAY}" in line for line in now[name][len(before[name]) :])
        for name in SPOKES
    }


def _seen(stage: Stage) -> set[tuple[str, str]]:
    """(what the platform says of each peer, who carries the overlay on each spoke)."""
    states = {str(peer["status"]) for peer in stage.listed_peers().values()}
    return {(state, carrier) for state in states for carrier in _carriers(stage)}


def _carriers(stage: Stage) -> set[str]:
    """Names of the hubs that WireGuard gives the overlay to, over both spokes."""
    names = {str(peer["public_key"]): name for name, peer in stage.listed_peers().items()}
    return {names.get(stage.carrier(spoke, OVERLAY), "nobody") for spoke in SPOKES}


def _await_carrier(stage: Stage, hub: str) -> None:
    processes.wait_until(
        lambda: _carriers(stage) == {hub},
        what=f"{hub} to carry the overlay",
        timeout=30,
        seen=lambda: _carriers(stage),
    )


def _await_status(stage: Stage, wanted: Mapping[str, str]) -> None:
    def seen() -> dict[str, str]:
        return {name: str(peer["status"]) for name, peer in stage.listed_peers().items()}

    processes.wait_until(
        lambda: wanted.items() <= seen().items(),
        what=f"the peers to be {wanted}",
        timeout=40,
        interval=0.5,
        seen=seen,
        tolerate=(LabError,),
    )


def _lines_of(stage: Stage, node: LabNode, peer: str) -> list[Any]:
    key = stage.listed_peers()[peer]["public_key"]
    return [line for line in stage.wireguard(node.name).values() if line.public_key == key]


def _peers(node: LabNode) -> dict[str, Any]:
    peers = node.status()["peers"]
    assert isinstance(peers, list)
    return {peer["name"]: peer for peer in peers}


def _networks(node: LabNode) -> list[Any]:
    networks = node.status()["networks"]
    assert isinstance(networks, list)
    return networks

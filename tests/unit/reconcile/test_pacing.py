"""How often the engine looks again: retries back off, reads follow cost and need."""

from __future__ import annotations

import base64
from ipaddress import IPv6Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.change import Phase, Step, Verb
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.values import NetworkId, NodeId, PeerId, PublicKey, Revision
from powernode_agent.reconcile import polling, retry
from powernode_agent.reconcile.polling import Pace, next_read
from powernode_agent.reconcile.retry import Retries
from powernode_agent.reconcile.schedule import Schedule
from powernode_agent.reconcile.triggers import Trigger

CORE, OPS = NetworkId("core"), NetworkId("ops")
DEVICE = Step("wireguard", CORE, Phase.DEVICE, Verb.ADD)


def test_retries_double_up_to_the_longest_and_success_clears() -> None:
    retries = Retries()
    now = 100.0
    waits = []
    for _ in range(10):
        retries.failed(DEVICE, now)
        due = retries.next_due()
        assert due is not None
        waits.append(due - now)
        assert retries.holds(DEVICE, now)
        assert not retries.holds(DEVICE, due)
        now = due
        retries.conclude([DEVICE], (), (), now - 0.01)
    assert waits[:3] == [0.5, 1.0, 2.0]
    assert waits[-1] == retry.LONGEST
    retries.conclude([DEVICE], (), (), now)
    assert retries.next_due() is None, "it was due and did not fail again"


def test_a_waiting_step_holds_what_hangs_on_it_and_nothing_else() -> None:
    retries = Retries()
    retries.failed(DEVICE, 100.0)
    assert retries.holds(Step("links", CORE, Phase.LINK, Verb.ADD), 100.1)
    assert not retries.holds(Step("links", OPS, Phase.LINK, Verb.ADD), 100.1)
    retries.clear()
    retries.failed(Step("links", CORE, Phase.ROUTE, Verb.ADD), 100.0)
    assert not retries.holds(Step("wireguard", CORE, Phase.PEER, Verb.CHANGE), 100.1)


def test_a_step_that_is_not_wanted_any_more_is_forgotten() -> None:
    retries = Retries()
    retries.failed(DEVICE, 100.0)
    retries.conclude([], (), (), 100.1)
    assert retries.next_due() is None


def test_a_step_that_could_not_be_looked_at_waits_once_more() -> None:
    retries = Retries()
    retries.failed(DEVICE, 100.0)
    retries.conclude([], (), {("wireguard", CORE)}, 100.1)
    assert retries.next_due() == 100.5, "nothing planned is not nothing to do"
    retries.conclude([], (), {("wireguard", CORE)}, 100.5)
    assert retries.next_due() == 101.5, "neither forgotten nor due at once for ever"


def test_what_was_done_waits_for_nothing_although_its_neighbour_fails() -> None:
    retries = Retries()
    addition = Step("wireguard", CORE, Phase.PEER, Verb.ADD)
    removal = Step("wireguard", CORE, Phase.PEER, Verb.REMOVE)
    retries.failed(addition, 100.0)
    retries.failed(removal, 100.0)
    retries.failed(addition, 101.0)
    # The failed write left the device unknown; the removal had been carried out all the same.
    retries.conclude([addition, removal], {removal}, {("wireguard", CORE)}, 101.0)
    assert not retries.holds(removal, 101.1)
    assert retries.holds(addition, 101.1)


def test_ten_thousand_failures_do_not_overflow() -> None:
    retries = Retries()
    for _ in range(10_000):
        retries.failed(DEVICE, 0.0)
    assert retries.next_due() == retry.LONGEST


@given(cost=st.floats(0, 10))
def test_idle_reading_stays_within_its_budget(cost: float) -> None:
    wait = next_read(Pace(cost, 0.5, None), now=0.0)
    assert 0.5 <= wait <= polling.LONGEST
    assert cost / wait <= polling.BUDGET + 1e-9 or wait == polling.LONGEST


def test_a_rotation_asks_fast_but_half_of_the_time_at_most() -> None:
    assert polling.next_rotation_read(0.0004) == polling.ROTATION
    assert polling.next_rotation_read(0.03) == 0.03


def test_awaiting_handshakes_reads_more_often_for_a_while() -> None:
    pace = Pace(0.001, 0.5, awaiting_since=10.0)
    assert next_read(pace, now=11.0) == polling.AWAITING
    assert next_read(pace, now=10.0 + polling.AWAITING_LASTS) == 0.5


def _state(*peers: Peer) -> DesiredState:
    network = Network(
        id=CORE,
        name="core",
        handle="core",
        prefix=IPv6Network("fd00:1::/64"),
        routing_mode=RoutingMode.STATIC,
        interface=Interface(
            peer_id=PeerId("me"),
            address=IPv6Address("fd00:1::1"),
            role=PeerRole.HUB,
            listen_port=51820,
            key=NodeKey(1),
        ),
    )
    entry = NetworkState(network, {peer.id: peer for peer in peers})
    return DesiredState(Revision(1), Node(NodeId("n"), "n"), {CORE: entry})


def _rotating(number: int) -> Peer:
    keys = [base64.b64encode(bytes([number, one]) * 16).decode() for one in (1, 2)]
    return Peer(
        id=PeerId(f"p{number}"),
        network_id=CORE,
        name=f"p{number}",
        kind=PeerKind.NODE,
        role=PeerRole.SPOKE,
        host_address=IPv6Address(f"fd00:1::1{number}"),
        public_key=PublicKey(keys[0]),
        next_public_key=PublicKey(keys[1]),
    )


def test_a_rotation_that_never_ends_does_not_slow_the_next_one_down() -> None:
    schedule = Schedule(poll_interval=0.5, safety_interval=60.0, now=0.0)
    schedule.note_rotations(_state(_rotating(1)), frozenset(), 0.0)
    later = polling.ROTATION_LASTS + 1
    schedule.rotation_was_read(later, later)
    assert Trigger.ROTATION not in schedule.due(later + 0.1)
    schedule.note_rotations(_state(_rotating(1), _rotating(2)), frozenset(), later)
    assert Trigger.ROTATION in schedule.due(later + 0.1)
    schedule.note_rotations(_state(_rotating(1), _rotating(2)), frozenset({PeerId("p2")}), later)
    assert Trigger.ROTATION not in schedule.due(later + 0.1)


def test_a_busy_underlay_is_looked_at_once_a_second() -> None:
    schedule = Schedule(poll_interval=0.5, safety_interval=60.0, now=0.0)
    schedule.underlay_changed()
    assert Trigger.UNDERLAY in schedule.due(0.0)
    schedule.reads_underlay(0.0)
    schedule.underlay_changed()
    assert Trigger.UNDERLAY not in schedule.due(0.5)
    assert schedule.next_look(0.1) <= 1.0
    assert Trigger.UNDERLAY in schedule.due(1.0)

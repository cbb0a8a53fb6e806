"""Outcomes claim nothing that was not seen, and drift is what had once been as it should be."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

from powernode_agent.errors import AgentError
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.status import Result
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Revision
from powernode_agent.reconcile.ledger import Ledger, Task
from powernode_agent.reconcile.targets import Targets

CORE = NetworkId("core")
NOTHING = Targets({}, {}, {}, {})
WIREGUARD = frozenset({("wireguard", CORE)})


def task(revision: int = 1) -> Task:
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
    state = DesiredState(
        Revision(revision), Node(NodeId("n"), "n"), {CORE: NetworkState(network, {}, {})}
    )
    return Task(state, 100.0)


def change() -> Change:
    async def nothing() -> None: ...

    return Change("wireguard", CORE, Phase.PEER, Verb.ADD, ("add peer x",), nothing)


def results(ledger: Ledger) -> dict[str, Result]:
    return {outcome.subsystem: outcome.result for outcome in ledger.listed()}


def test_what_was_not_seen_is_neither_ok_nor_applied() -> None:
    ledger = Ledger(lambda: 0.0)
    assert not ledger.conclude(task(), {}, WIREGUARD, NOTHING, {}, 101.0)
    assert "wireguard" not in results(ledger)
    assert ledger.applications.applied is None
    assert ledger.count_drift([change()], NOTHING) == {}


def test_an_error_stays_until_the_room_succeeds() -> None:
    ledger = Ledger(lambda: 0.0)
    one = task()
    ledger.conclude(one, {("wireguard", CORE): AgentError("no")}, WIREGUARD, NOTHING, {}, 101.0)
    ledger.conclude(one, {}, WIREGUARD, NOTHING, {}, 102.0)
    assert results(ledger)["wireguard"] is Result.ERROR
    assert ledger.conclude(one, {}, frozenset(), NOTHING, {}, 103.0)
    assert results(ledger)["wireguard"] is Result.OK
    assert ledger.applications.applied == 1
    assert ledger.applications.applied_in == 3.0


def test_drift_is_counted_once_the_targets_were_reached_and_not_before() -> None:
    ledger = Ledger(lambda: 0.0)
    assert ledger.count_drift([change()], NOTHING) == {}, "the first build is not drift"
    ledger.conclude(task(), {}, frozenset(), NOTHING, {}, 101.0)
    assert ledger.count_drift([change()], NOTHING) == {"wireguard": 1}
    assert ledger.drift_repaired == 1


def test_the_same_state_is_applied_once_and_another_with_its_revision_again() -> None:
    ledger = Ledger(lambda: 0.0)
    one = task()
    assert ledger.conclude(one, {}, frozenset(), NOTHING, {}, 101.0)
    assert not ledger.conclude(one, {}, frozenset(), NOTHING, {}, 102.0)
    assert ledger.conclude(task(), {}, frozenset(), NOTHING, {}, 103.0), "edited without a number"

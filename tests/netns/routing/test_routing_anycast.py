"""The agent's own metrics with real FRR: hubs serve by their closest holder of an anycast address.

What `paths` decides and `links` finds missing is entered by `ip`, additions before removals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import pytest
from routing_states import Overlay, Site, desired_state, network_state
from routing_world import FrrNode, frr_world, until

from powernode_agent.links.difference import route_steps
from powernode_agent.links.target import compile_links
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.status import Liveness, LivenessReading
from powernode_agent.model.values import PeerId, Prefix
from powernode_agent.model.virtual_ip import DEFAULT_LOCAL_PREFERENCE, address_metric
from powernode_agent.paths.decide import PathMemory, decide
from powernode_agent.routing.compile import compile_frr

CORE = Overlay("core", 1, ipv4=False)
ANYCAST = "fd00:1::200"
LAN_A, LAN_B = "fd00:a:1::/64", "fd00:a:2::/64"
SITES: Final = {
    "h1": Site(1, hub=True),
    "h2": Site(2, hub=True),
    "a": Site(11, lans=(LAN_A,), holds=(0x200,)),
    "b": Site(12, lans=(LAN_B,), holds=(0x200,)),
    "c": Site(13),
}
HUB_1, HUB_2, A, B, C = (str(site.address(CORE)) for site in SITES.values())
LINK: Final = "wg-sdwan-core"


def _state(name: str) -> NetworkState:
    return network_state(CORE, SITES[name], tuple(SITES.values()), bfd_interval_ms=100)


@dataclass
class Agent:
    """What the agent of a node does with the round trips that it measured, in milliseconds."""

    node: FrrNode
    state: NetworkState
    memory: PathMemory = field(default_factory=PathMemory)

    def measured(self, rtts: Mapping[str, float]) -> int:
        """Gives how many routes it wrote."""
        readings: dict[PeerId, LivenessReading] = {
            SITES[name].peer_id(CORE): LivenessReading(Liveness.ALIVE, 0.0, rtt / 1000, 9, 9)
            for name, rtt in rtts.items()
        }
        decision = decide(self.state, readings, self.memory, 1.0, True)
        self.memory = decision.memory
        network_id = self.state.network.id
        targets = compile_links(desired_state(self.state), {network_id: decision.carrying}, {})
        present = self.node.own_routes(LINK)
        steps = route_steps(targets[network_id], present)
        assert not steps.replaced
        for prefix in steps.added:
            self._route("add", prefix, steps.metrics.get(prefix, 1024))
        for route in steps.removed:
            self._route("del", route.prefix, route.metric)
        return len(steps.added) + len(steps.removed)

    def _route(self, verb: str, prefix: Prefix, metric: int) -> None:
        where = ("dev", LINK, "proto", "241", "metric", str(metric))
        self.node.ip("-6", "route", verb, str(prefix), *where)


@pytest.fixture
def nodes() -> Iterator[dict[str, FrrNode]]:
    with frr_world(*SITES) as made:
        for name, site in SITES.items():
            made[name].attach(CORE, site, _state(name).network)
            made[name].start()
        made["a"].lan("lan0", LAN_A)
        for name in SITES:
            made[name].configure(compile_frr(desired_state(_state(name))))
        for name, site in SITES.items():
            expected = 4 if site.hub else 2
            until(
                f"{name} has its sessions",
                lambda n=name, e=expected: len(made[n].established()) == e,  # type: ignore[misc]
            )
        for name in ("a", "b"):
            metric = str(address_metric(DEFAULT_LOCAL_PREFERENCE))
            extra = ("nodad", "preferred_lft", "0", "metric", metric)
            made[name].ip("addr", "add", f"{ANYCAST}/128", "dev", LINK, *extra)
        yield made


def test_the_closest_holder_serves_moves_with_the_round_trip_and_is_outlived(
    nodes: dict[str, FrrNode],
) -> None:
    hub, other, c = nodes["h1"], nodes["h2"], nodes["c"]
    agents = {name: Agent(nodes[name], _state(name)) for name in ("h1", "h2")}
    # A has the lower router id, and serves everybody as long as nothing is measured.
    until("A serves", lambda: hub.route(ANYCAST) == other.route(ANYCAST) == [A])
    assert agents["h1"].measured({"a": 40, "b": 8, "c": 3}) == 2
    assert agents["h2"].measured({"a": 8, "b": 40, "c": 3}) == 2
    until("hub 1 is closer to B", lambda: hub.route(ANYCAST) == [B])
    assert other.route(ANYCAST) == [A]
    until("C goes by hub 1", lambda: c.route(ANYCAST) == [HUB_1])
    # Nothing else changed: A's LAN has one origin, and hosts are told of as before.
    until("C has A's LAN", lambda: c.route(LAN_A) == [HUB_1] and hub.route(LAN_A) == [A])
    assert c.route(A) == c.route(B) == [HUB_1]
    assert {f"{A}/128", f"{B}/128", LAN_A, f"{ANYCAST}/128"} <= hub.told(C)
    # A little more is nothing; much more is a move, and back again.
    assert agents["h1"].measured({"a": 41, "b": 9.5, "c": 3}) == 0
    assert agents["h1"].measured({"a": 40, "b": 90, "c": 3}) == 2
    until("hub 1 moves to A", lambda: hub.route(ANYCAST) == [A])
    assert agents["h1"].measured({"a": 40, "b": 8, "c": 3}) == 2
    until("and back to B", lambda: hub.route(ANYCAST) == [B])
    assert all(len(nodes[name].established()) == 4 for name in ("h1", "h2"))
    for name in SITES:
        until(f"BFD is up at {name}", lambda n=name: set(nodes[n].bfd().values()) == {"up"})  # type: ignore[misc]
    nodes["b"].pull(CORE)
    until("the other holder serves", lambda: hub.route(ANYCAST) == [A], seconds=5)
    assert c.route(ANYCAST) == [HUB_1]


def test_an_agent_without_memory_moves_nobody(nodes: dict[str, FrrNode]) -> None:
    hub = nodes["h1"]
    agent = Agent(hub, _state("h1"))
    agent.measured({"a": 40, "b": 8})
    until("hub 1 is closer to B", lambda: hub.route(ANYCAST) == [B])
    restarted = replace(agent, memory=PathMemory())
    assert restarted.measured({}) == 0
    assert restarted.measured({"a": 39, "b": 8.2}) == 0
    assert hub.route(ANYCAST) == [B]

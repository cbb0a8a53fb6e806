"""Learned routes as `paths` hears of them: which ones count, and that a replaced route never flaps."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv6Address, IPv6Network, ip_address, ip_network

import pytest

from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.values import (
    ROUTE_PROTOCOL,
    NetworkId,
    NodeId,
    PeerId,
    Prefix,
    Revision,
)
from powernode_agent.netlink.records import Link, Route
from powernode_agent.paths.learned import Learned
from powernode_agent.reconcile.learning import LINGER, Learning, learned_of

CORE = NetworkId("core")
BGP = 186
BOOT = 3


def route(prefix: str, gateway: str | None, **more: int) -> Route:
    hop = None if gateway is None else ip_address(gateway)
    return Route(ip_network(prefix), 7, protocol=more.pop("protocol", BGP), gateway=hop, **more)


def state(mode: RoutingMode = RoutingMode.IBGP, pods: Prefix | None = None) -> DesiredState:
    interface = Interface(PeerId("me"), IPv6Address("fd00::9"), PeerRole.SPOKE, 51820, NodeKey(1))
    prefix = IPv6Network("fd00::/64")
    network = Network(CORE, "core", "core", prefix, mode, interface, pod_subnet_prefix=pods)
    return DesiredState(Revision(1), Node(NodeId("n"), "n"), {CORE: NetworkState(network)})


class Kernel:
    """The mirror of one link, and how often it was read."""

    def __init__(self, *routes: Route) -> None:
        self.reads = 0
        self._link: Link | None = Link(7, "wg-sdwan-core", "", "wireguard", 1420, True, True)
        self._routes = routes
        self._version = 1

    def becomes(self, *routes: Route) -> None:
        self._routes = routes
        self._version += 1

    def loses_its_link(self) -> None:
        self._link, self._routes = None, ()

    def link_by_name(self, name: str) -> Link | None:
        return self._link if self._link is not None and self._link.name == name else None

    def routes(self, index: int) -> Collection[Route]:
        self.reads += 1
        return self._routes

    def routes_version(self, index: int) -> int:
        return self._version


def listed(learned: Learned) -> dict[str, list[str]]:
    return {str(prefix): [str(hop) for hop in hops] for prefix, hops in learned.items()}


@pytest.mark.parametrize(
    "other",
    [
        route("fd05::/64", None),
        route("fd05::/64", "fd00::1", protocol=241),
        route("fd05::/64", "fd00::1", protocol=2),
        route("fd05::/64", "fd00::1", protocol=9),
        route("fd05::/64", "fd00::1", table=100),
        route("fd05::/64", "fd00::1", kind=7),
        route("10.5.0.0/16", "fd00::1", tos=16),
    ],
    ids=["no next hop", "ours", "kernel", "router advertisement", "table", "unreachable", "tos"],
)
def test_what_names_no_peer_is_not_learned(other: Route) -> None:
    assert learned_of([other, route("fd06::/64", "fd00::1")]) == {
        ip_network("fd06::/64"): (ip_address("fd00::1"),)
    }


def test_next_hops_are_in_the_same_order_everywhere() -> None:
    routes = [
        route("fd05::/64", "fd00::3", metric=20),
        route("fd05::/64", "fd00::1", metric=1024, protocol=4),
        route("fd05::/64", "fd00::2", metric=20),
    ]
    for each in (routes, routes[::-1]):
        assert listed(learned_of(each)) == {"fd05::/64": ["fd00::2", "fd00::3", "fd00::1"]}


def test_a_route_that_is_replaced_by_delete_and_add_never_leaves() -> None:
    kernel = Kernel(route("fd05::/64", "fd00::1"))
    learning = Learning(kernel)
    before = learning.look(state(), 1.0)[CORE]
    kernel.becomes()
    assert learning.look(state(), 2.0)[CORE] is before
    due = learning.next_due()
    assert due == 2.0 + LINGER
    kernel.becomes(route("fd05::/64", "fd00::2"))
    assert listed(learning.look(state(), 2.0 + LINGER / 2)[CORE]) == {"fd05::/64": ["fd00::2"]}
    assert learning.next_due() is None


def test_a_route_that_stays_away_is_let_go_when_its_time_has_come() -> None:
    kernel = Kernel(route("fd05::/64", "fd00::1"), route("fd06::/64", "fd00::1"))
    learning = Learning(kernel)
    learning.look(state(), 1.0)
    kernel.becomes(route("fd06::/64", "fd00::1"))
    learning.look(state(), 2.0)
    # Something else happens meanwhile, and does not prolong it.
    kernel.becomes(route("fd06::/64", "fd00::2"))
    assert listed(learning.look(state(), 2.0 + LINGER / 2)[CORE]) == {
        "fd05::/64": ["fd00::1"],
        "fd06::/64": ["fd00::2"],
    }
    due = learning.next_due()
    assert due is not None
    assert listed(learning.look(state(), due)[CORE]) == {"fd06::/64": ["fd00::2"]}
    assert learning.next_due() is None


def test_an_idle_look_reads_nothing_and_gives_the_same_object() -> None:
    kernel = Kernel(route("fd05::/64", "fd00::1"))
    learning = Learning(kernel)
    first = learning.look(state(), 1.0)[CORE]
    for now in (2.0, 3.0):
        assert learning.look(state(), now)[CORE] is first
    assert kernel.reads == 1


def test_what_cannot_be_observed_is_not_forgotten() -> None:
    kernel = Kernel(route("fd05::/64", "fd00::1"))
    learning = Learning(kernel)
    before = learning.look(state(), 1.0)[CORE]
    kernel.loses_its_link()
    assert learning.look(state(), 2.0, {CORE})[CORE] is before
    learning.look(state(), 3.0)
    assert learning.look(state(), 3.0 + LINGER)[CORE] == {}


def test_a_static_network_learns_nothing() -> None:
    learning = Learning(Kernel(route("fd05::/64", "fd00::1")))
    assert learning.look(state(RoutingMode.STATIC), 1.0) == {}


def test_a_plan_leaves_no_trace() -> None:
    kernel = Kernel(route("fd05::/64", "fd00::1"))
    learning = Learning(kernel)
    assert listed(learning.peek(state())[CORE]) == {"fd05::/64": ["fd00::1"]}
    assert learning.look(state(), 1.0)[CORE]
    kernel.becomes()
    learning.peek(state())
    assert learning.next_due() is None


def test_on_a_static_network_flannels_routes_alone_are_learned() -> None:
    kernel = Kernel(
        route("10.42.3.0/24", "10.200.0.3", protocol=BOOT),
        route("192.168.7.0/24", "10.200.0.3", protocol=BOOT),
        route("10.0.0.0/8", "10.200.0.3", protocol=BOOT),
        route("10.42.0.0/16", None, protocol=ROUTE_PROTOCOL),
    )
    learning = Learning(kernel)
    pods = ip_network("10.42.0.0/16")
    seen = learning.look(state(RoutingMode.STATIC, pods), 0.0)[CORE]
    assert listed(seen) == {"10.42.3.0/24": ["10.200.0.3"]}
    assert CORE not in learning.look(state(RoutingMode.STATIC), 1.0)


def test_another_prefix_of_pods_is_another_look() -> None:
    learning = Learning(Kernel(route("10.44.3.0/24", "10.200.0.3", protocol=BOOT)))
    before = state(RoutingMode.STATIC, ip_network("10.42.0.0/16"))
    assert listed(learning.look(before, 0.0)[CORE]) == {}
    after = state(RoutingMode.STATIC, ip_network("10.44.0.0/16"))
    assert listed(learning.look(after, 1.0)[CORE]) == {"10.44.3.0/24": ["10.200.0.3"]}

"""The difference of a link's target and the kernel: applying it reaches the target, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.links.difference import (
    LinkSteps,
    RouteSteps,
    check_ours,
    link_steps,
    route_steps,
    unwanted_addresses,
)
from powernode_agent.links.errors import ForeignLinkError
from powernode_agent.links.target import LinkTarget
from powernode_agent.model.carrying import FURTHEST_METRIC
from powernode_agent.model.values import NetworkId, Prefix
from powernode_agent.netlink.records import InterfaceAddress, Link, Route

ALIAS = "powernode-sdwan:n1"
RIGHT = Link(7, "wg-sdwan-core", ALIAS, "tun", 1420, up=True, running=True, link_local=False)
POOL: list[Prefix] = [
    ip_network(text) for text in ("fd00:1::/64", "fd00:2::/64", "10.1.0.0/16", "10.2.0.0/16")
]


HOSTS: list[Prefix] = [ip_network("fd00:1::11/128"), ip_network("fd00:1::12/128")]


def target(
    routes: frozenset[Prefix] | None = frozenset(),
    addresses: tuple[str, ...] = ("fd00:1::1",),
    host_routes: Mapping[Prefix, int | None] | None = None,
) -> LinkTarget:
    return LinkTarget(
        network_id=NetworkId("n1"),
        name="wg-sdwan-core",
        alias=ALIAS,
        mtu=1420,
        addresses=frozenset(ip_address(a) for a in addresses),
        routes=routes,
        settings=(),
        forwards=False,
        host_routes=host_routes or {},
    )


def held(address: str, length: int) -> InterfaceAddress:
    return InterfaceAddress(ip_address(address), length, flags=0x82)


def test_a_link_as_it_should_be_needs_nothing() -> None:
    addresses = [held("fd00:1::1", 128), held("fe80::1", 64)]
    assert link_steps(target(), RIGHT, addresses) == LinkSteps()
    assert unwanted_addresses(target(), addresses) == ()


def test_an_ipv6_address_with_another_length_is_replaced_and_not_removed() -> None:
    old = held("fd00:1::1", 64)
    steps = link_steps(target(), RIGHT, [old])
    assert steps.replaced == (old,)
    assert [str(a) for a in steps.added] == ["fd00:1::1/128"]
    assert unwanted_addresses(target(), [old]) == ()


@pytest.mark.parametrize(("address", "length"), [("fd00:1::1", 128), ("10.9.0.1", 32)])
def test_an_address_whose_lifetime_ends_is_kept(address: str, length: int) -> None:
    """Not removed and added: no packet to it may be lost."""
    wanted = target(addresses=(address,))
    ending = replace(held(address, length), expires=True)
    steps = link_steps(wanted, RIGHT, [ending])
    assert steps == LinkSteps(kept=(ending,))
    assert unwanted_addresses(wanted, [ending]) == ()
    stray = replace(held("fd00:9::1", 128), expires=True)
    assert link_steps(wanted, RIGHT, [held(address, length), stray]) == LinkSteps()


def test_an_ipv4_address_with_another_length_is_removed_after_the_right_one_came() -> None:
    wanted = target(addresses=("10.9.0.1",))
    old = held("10.9.0.1", 16)
    steps = link_steps(wanted, RIGHT, [old])
    assert (steps.replaced, [str(a) for a in steps.added]) == ((), ["10.9.0.1/32"])
    assert unwanted_addresses(wanted, [old, held("10.9.0.1", 32)]) == (old,)


@pytest.mark.parametrize(
    ("kind", "alias"), [("veth", ""), ("", ALIAS), ("tun", "x"), ("tun", "powernode-sdwan:n2")]
)
def test_a_link_that_is_not_ours_is_refused(kind: str, alias: str) -> None:
    link = Link(7, "wg-sdwan-core", alias, kind, 1420, up=True, running=True)
    with pytest.raises(ForeignLinkError, match="wg-sdwan-core"):
        check_ours("wg-sdwan-core", ALIAS, link)


@pytest.mark.parametrize(("kind", "alias"), [("wireguard", ""), ("tun", ALIAS)])
def test_a_new_or_marked_link_of_the_right_kind_is_ours(kind: str, alias: str) -> None:
    link = Link(7, "wg-sdwan-core", alias, kind, 1420, up=True, running=True)
    check_ours("wg-sdwan-core", ALIAS, link)


def test_undecided_routes_are_left() -> None:
    stray = Route(POOL[0], 7, protocol=241, metric=1024)
    assert route_steps(target(None), [stray]) == RouteSteps()


routes = st.builds(
    lambda prefix, protocol, odd: Route(
        prefix,
        7,
        protocol=protocol,
        metric=(1024 if isinstance(prefix, IPv6Network) else 0) + odd,
    ),
    st.sampled_from(POOL),
    st.sampled_from([241, 186, 2]),
    st.sampled_from([0, 0, 5]),
)


@given(st.frozensets(routes), st.frozensets(st.sampled_from(POOL)))
def test_route_steps_reach_the_target_and_never_touch_another_protocol(
    present: frozenset[Route], wanted: frozenset[Prefix]
) -> None:
    steps = route_steps(target(wanted), present)
    assert all(route.protocol == 241 for route in steps.removed)
    after = present - set(steps.removed) | {
        Route(p, 7, protocol=241, metric=1024 if p.version == 6 else 0)
        for p in (*steps.added, *steps.replaced)
    }
    assert {(r.prefix, r.metric) for r in after if r.protocol == 241} == {
        (p, 1024 if p.version == 6 else 0) for p in wanted
    }
    assert {r for r in after if r.protocol != 241} == {r for r in present if r.protocol != 241}
    again = route_steps(target(wanted), after)
    assert again == RouteSteps()


def host_route(prefix: Prefix, metric: int) -> Route:
    return Route(prefix, 7, protocol=241, metric=metric)


def test_a_new_metric_comes_before_the_old_one_goes() -> None:
    host = HOSTS[0]
    old, new = host_route(host, 1030), host_route(host, 1042)
    wanted = target(host_routes={host: 1042})
    first = route_steps(wanted, [old])
    assert (first.added, first.metrics, first.removed) == ((host,), {host: 1042}, (old,))
    # Until it stands the old one stays: without any, the overlay's route would make it the nearest.
    assert first.removable == ()
    assert route_steps(wanted, [old, new]).removable == (old,)
    assert route_steps(wanted, [new]) == RouteSteps()


def test_what_is_not_measured_stays_as_it_stands() -> None:
    standing, other = HOSTS
    wanted = target(host_routes=dict.fromkeys(HOSTS))
    present = [host_route(standing, 1030), host_route(other, 1024)]
    steps = route_steps(wanted, present)
    # A route with the overlay's metric says nothing of a distance.
    assert (steps.added, steps.metrics) == ((other,), {other: FURTHEST_METRIC})
    assert steps.removed == (present[1],)


host_metrics = st.sampled_from([1024, 1025, 1030, FURTHEST_METRIC, FURTHEST_METRIC + 1])
host_present = st.builds(host_route, st.sampled_from(HOSTS), host_metrics)


@given(
    st.frozensets(host_present),
    st.dictionaries(st.sampled_from(HOSTS), st.none() | st.sampled_from([1025, 1030])),
)
def test_host_routes_reach_the_target_each_once(
    present: frozenset[Route], wanted: dict[Prefix, int | None]
) -> None:
    goal = target(host_routes=wanted)
    steps = route_steps(goal, present)
    assert steps.metrics.keys() == set(steps.added) | set(steps.replaced)
    added = {host_route(p, steps.metrics[p]) for p in (*steps.added, *steps.replaced)}
    halfway = present | added
    after = halfway - set(route_steps(goal, halfway).removable)
    assert sorted(r.prefix for r in after) == sorted(wanted)
    assert all(wanted[r.prefix] in (None, r.metric) for r in after)
    assert route_steps(goal, after) == RouteSteps()

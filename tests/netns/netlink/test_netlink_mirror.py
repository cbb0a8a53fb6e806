"""The mirror against a real kernel, which `ip` is asked about in each case."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from powernode_agent.model.values import Prefix
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.records import (
    AddressChanged,
    Event,
    LinkChanged,
    Resynced,
    Route,
    RouteChanged,
    UnderlayChanged,
)

if TYPE_CHECKING:
    from tests.netns.conftest import PrivateNamespace

OURS = "wg-sdwan-t"


@pytest_asyncio.fixture
async def netlink(private_namespace: PrivateNamespace) -> AsyncIterator[Netlink]:
    dispatcher = Netlink()
    await dispatcher.start()
    yield dispatcher
    await dispatcher.close()


def listed_routes(namespace: PrivateNamespace, link: str) -> set[tuple[str, str]]:
    """(prefix, protocol) of all routes over a link in the main table, as `ip` sees them."""
    found: set[tuple[str, str]] = set()
    for family in ("-4", "-6"):
        for entry in namespace.ip_json("-N", family, "route", "show", "dev", link):
            prefix = entry["dst"]
            if "/" not in prefix:
                prefix += "/32" if family == "-4" else "/128"
            found.add((prefix, str(entry["protocol"])))
    return found


def mirrored_routes(netlink: Netlink, index: int) -> set[tuple[str, str]]:
    return {
        (str(route.prefix), str(route.protocol))
        for route in netlink.routes(index)
        if route.table == 254
    }


async def test_links_and_addresses_are_what_ip_says(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    events: list[Event] = []
    netlink.on_event(events.append)
    index = private_namespace.tun(OURS)
    await netlink.set_link(index, up=True, mtu=1380, alias="powernode-sdwan:x")
    await netlink.set_link(index, no_link_local=True)
    await netlink.add_address(index, ip_address("fd00::1"), 128)
    await netlink.add_address(index, ip_address("10.9.0.1"), 32)
    await netlink.settle()

    shown = private_namespace.ip_json("link", "show", "dev", OURS)[0]
    assert (shown["mtu"], shown["ifalias"]) == (1380, "powernode-sdwan:x")
    assert "UP" in shown["flags"]
    assert shown["inet6_addr_gen_mode"] == "none"
    link = netlink.link_by_name(OURS)
    assert link is not None
    assert (link.index, link.kind, link.mtu, link.up) == (index, "tun", 1380, True)
    assert (link.alias, link.link_local) == ("powernode-sdwan:x", False)

    listed = private_namespace.ip_json("addr", "show", "dev", OURS)[0]["addr_info"]
    assert {str(a) for a in netlink.addresses(index)} >= {"fd00::1/128", "10.9.0.1/32"}
    assert {str(a) for a in netlink.addresses(index)} == {
        f"{entry['local']}/{entry['prefixlen']}" for entry in listed
    }
    assert [entry.get("nodad") for entry in listed if entry["local"] == "fd00::1"] == [True]
    assert {LinkChanged(OURS), AddressChanged(OURS), RouteChanged(OURS)} <= set(events)

    await netlink.delete_link(index)
    await netlink.settle()
    assert netlink.link_by_name(OURS) is None
    assert not netlink.addresses(index)
    assert not netlink.routes(index)


async def test_what_stood_before_the_start_is_in_the_mirror(
    private_namespace: PrivateNamespace,
) -> None:
    index = private_namespace.tun(OURS, up=True)
    private_namespace.ip("addr", "add", "fd00::1/128", "dev", OURS)
    private_namespace.ip("route", "add", "10.1.0.0/16", "dev", OURS, "proto", "241")
    private_namespace.ip("route", "add", "fd01::/64", "dev", OURS, "proto", "99")
    netlink = Netlink()
    await netlink.start()
    try:
        assert "fd00::1/128" in {str(a) for a in netlink.addresses(index)}
        assert mirrored_routes(netlink, index) == listed_routes(private_namespace, OURS)
        assert ("10.1.0.0/16", "241") in mirrored_routes(netlink, index)
    finally:
        await netlink.close()


async def test_a_settled_mirror_has_every_write_done_before(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    index = private_namespace.tun(OURS, up=True)
    for step in range(5):
        private_namespace.batch(
            [f"route add 10.{step}.{n}.0/24 dev {OURS} proto 241" for n in range(200)]
        )
        await netlink.settle()
        assert len(netlink.routes(index)) >= 200 * (step + 1)
        assert mirrored_routes(netlink, index) == listed_routes(private_namespace, OURS)


@pytest.mark.parametrize("storm", ["foreign routes", "our routes"])
async def test_lost_notifications_are_replayed_and_what_went_meanwhile_is_swept(
    private_namespace: PrivateNamespace, storm: str
) -> None:
    private_namespace.underlay()
    index = private_namespace.tun(OURS, up=True)
    gone = private_namespace.tun("wg-sdwan-g", up=True)
    private_namespace.ip("addr", "add", "fd00::1/128", "dev", OURS)
    private_namespace.ip("route", "add", "10.77.0.0/16", "dev", OURS, "proto", "241")
    private_namespace.ip("-6", "route", "add", "fd77::/64", "dev", OURS, "proto", "241")
    netlink = Netlink(receive_buffer=16384)
    await netlink.start()
    events: list[Event] = []
    netlink.on_event(events.append)
    try:
        assert {"10.77.0.0/16", "fd77::/64"} <= {str(r.prefix) for r in netlink.routes(index)}
        # The event loop does not run while `ip` does: the small buffer overflows.
        device = "under0" if storm == "foreign routes" else OURS
        private_namespace.batch(
            [
                f"route add 10.{50 + n // 250}.{n % 250}.1/32 dev {device} proto 99"
                for n in range(2000)
            ]
        )
        private_namespace.ip("addr", "del", "fd00::1/128", "dev", OURS)
        private_namespace.ip("route", "del", "10.77.0.0/16", "dev", OURS)
        private_namespace.ip("-6", "route", "del", "fd77::/64", "dev", OURS)
        private_namespace.ip("link", "del", "wg-sdwan-g")
        private_namespace.ip("route", "add", "10.78.0.0/16", "dev", OURS, "proto", "241")

        await netlink.settle()

        assert any(isinstance(event, Resynced) for event in events)
        assert netlink.link_by_name("wg-sdwan-g") is None
        assert gone not in netlink.links()
        assert "fd00::1/128" not in {str(a) for a in netlink.addresses(index)}
        assert mirrored_routes(netlink, index) == listed_routes(private_namespace, OURS)
        # And it listens again.
        private_namespace.ip("route", "add", "10.79.0.0/16", "dev", OURS, "proto", "241")
        await netlink.settle()
        assert ("10.79.0.0/16", "241") in mirrored_routes(netlink, index)
    finally:
        await netlink.close()


async def test_ipv4_routes_that_the_kernel_drops_silently_are_noticed(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    index = private_namespace.tun(OURS, up=True)
    await netlink.add_routes(index, [IPv4Network("10.1.0.0/16"), IPv6Network("fd01::/64")])
    await netlink.settle()
    assert len(mirrored_routes(netlink, index)) >= 2
    private_namespace.ip("link", "set", OURS, "down")
    await netlink.settle()
    assert listed_routes(private_namespace, OURS) == set()
    assert mirrored_routes(netlink, index) == set()

    private_namespace.ip("link", "set", OURS, "up")
    private_namespace.ip("addr", "add", "10.9.0.1/32", "dev", OURS)
    private_namespace.ip("route", "add", "10.1.0.0/16", "dev", OURS, "proto", "241")
    private_namespace.ip("addr", "del", "10.9.0.1/32", "dev", OURS)
    await netlink.settle()
    assert mirrored_routes(netlink, index) == listed_routes(private_namespace, OURS)


async def test_a_foreign_route_that_takes_the_place_of_ours_is_noticed(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    private_namespace.underlay()
    index = private_namespace.tun(OURS, up=True)
    prefixes: list[Prefix] = [IPv4Network("10.1.0.0/16"), IPv6Network("fd01::/64")]
    await netlink.add_routes(index, prefixes)
    private_namespace.ip("route", "replace", "10.1.0.0/16", "dev", "under0")
    private_namespace.ip("-6", "route", "replace", "fd01::/64", "dev", "under0")
    await netlink.settle()
    assert not {route.prefix for route in netlink.routes(index)} & set(prefixes)


async def test_thousands_of_routes_come_and_go(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    index = private_namespace.tun(OURS, up=True)
    prefixes = [IPv6Network(((0xFD02 << 112) + (n << 64), 64)) for n in range(3000)]
    await netlink.add_routes(index, prefixes)
    shown = private_namespace.ip_json("-6", "route", "show", "dev", OURS, "proto", "241")
    assert {entry["dst"] for entry in shown} == {str(prefix) for prefix in prefixes}
    await netlink.settle()
    ours = [route for route in netlink.routes(index) if route.protocol == 241]
    assert {route.prefix for route in ours} == set(prefixes)
    await netlink.delete_routes(ours)
    assert private_namespace.ip_json("-6", "route", "show", "dev", OURS, "proto", "241") == []


async def test_one_bad_route_does_not_cost_the_others(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    index = private_namespace.tun(OURS, up=True)
    private_namespace.ip("route", "add", "10.1.0.0/16", "dev", OURS, "proto", "99", "scope", "link")
    prefixes = [IPv4Network(f"10.{n}.0.0/16") for n in range(3)]
    with pytest.raises(NetlinkError) as caught:
        await netlink.add_routes(index, prefixes)
    assert caught.value.number == errno.EEXIST
    assert "10.1.0.0/16" in str(caught.value)
    assert listed_routes(private_namespace, OURS) == {
        ("10.0.0.0/16", "241"),
        ("10.1.0.0/16", "99"),
        ("10.2.0.0/16", "241"),
    }


async def test_deleting_never_hits_a_route_of_another_protocol(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    index = private_namespace.tun(OURS, up=True)
    private_namespace.ip("route", "add", "10.1.0.0/16", "dev", OURS, "proto", "99")
    private_namespace.ip("-6", "route", "add", "fd01::/64", "dev", OURS, "proto", "99")
    before = private_namespace.ip("-d", "route") + private_namespace.ip("-6", "-d", "route")
    await netlink.delete_routes(
        [
            Route(IPv4Network("10.1.0.0/16"), index, protocol=241),
            Route(IPv6Network("fd01::/64"), index, protocol=241, metric=1024),
        ]
    )
    assert private_namespace.ip("-d", "route") + private_namespace.ip("-6", "-d", "route") == before


async def test_a_link_is_made_and_renamed(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    made = await netlink.create_link("wg-sdwan-new", "veth")
    assert (made.name, made.kind, made.up) == ("wg-sdwan-new", "veth", False)
    await netlink.set_link(made.index, name="wg-sdwan-a", up=True)
    (shown,) = private_namespace.ip_json("link", "show", "dev", "wg-sdwan-a")
    assert (shown["ifindex"], "UP" in shown["flags"]) == (made.index, True)
    with pytest.raises(NetlinkError, match="EEXIST"):
        await netlink.create_link("wg-sdwan-a", "veth")


async def test_errors_name_the_request_the_errno_and_the_action(netlink: Netlink) -> None:
    with pytest.raises(NetlinkError, match=r"cannot add address .*fd00::1/128.*ENODEV") as caught:
        await netlink.add_address(4711, ip_address("fd00::1"), 128)
    assert caught.value.number == errno.ENODEV
    assert caught.value.action
    await netlink.delete_address(4711, ip_address("fd00::1"), 128)


async def test_the_route_to_an_address(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    assert await netlink.route_to(ip_address("198.51.100.1")) is None
    private_namespace.underlay()
    private_namespace.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.9", "mtu", "1400")
    private_namespace.ip("route", "add", "blackhole", "203.0.113.0/24")
    await netlink.settle()
    route = await netlink.route_to(ip_address("198.51.100.1"))
    assert route is not None
    assert (route.mtu, route.gateway) == (1400, ip_address("192.0.2.9"))
    assert route.oif is not None
    assert netlink.links()[route.oif].name == "under0"
    default = await netlink.route_to(ip_address("8.8.8.8"))
    assert default is not None
    assert (default.mtu, default.prefix.prefixlen) == (None, 0)
    blackhole = await netlink.route_to(ip_address("203.0.113.1"))
    assert blackhole is None or blackhole.oif is None


async def test_changes_of_the_underlay_are_told_and_not_stored(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    private_namespace.underlay()
    await netlink.settle()
    events: list[Event] = []
    netlink.on_event(events.append)
    private_namespace.ip("route", "add", "198.51.100.0/24", "dev", "under0")
    await netlink.settle()
    assert set(events) == {UnderlayChanged()}
    under = netlink.link_by_name("under0")
    assert under is not None
    assert not netlink.routes(under.index)
    events.clear()
    private_namespace.ip("link", "set", "under0", "mtu", "1400")
    await netlink.settle()
    assert {UnderlayChanged(), LinkChanged("under0")} <= set(events)


async def test_a_link_renamed_to_ours_brings_its_routes(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    index = private_namespace.tun("other0")
    private_namespace.ip("link", "set", "other0", "up")
    private_namespace.ip("-6", "route", "add", "fd01::/64", "dev", "other0", "proto", "99")
    await netlink.settle()
    assert not netlink.routes(index)
    # A link that is up may be renamed since Linux 6.2.
    private_namespace.ip("link", "set", "other0", "name", OURS)
    await netlink.settle()
    assert ("fd01::/64", "99") in mirrored_routes(netlink, index)


async def test_a_resync_finds_nothing_new_and_says_so(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    index = private_namespace.tun(OURS, up=True)
    await netlink.add_routes(index, [IPv4Network("10.1.0.0/16")])
    await netlink.settle()
    before = (dict(netlink.links()), set(netlink.routes(index)), set(netlink.addresses(index)))
    events: list[Event] = []
    netlink.on_event(events.append)
    await netlink.resync("a test asked")
    await netlink.settle()
    assert before == (
        dict(netlink.links()),
        set(netlink.routes(index)),
        set(netlink.addresses(index)),
    )
    assert events == [Resynced("a test asked")]


async def test_each_next_hop_is_a_record_and_one_that_leaves_is_missed(
    private_namespace: PrivateNamespace, netlink: Netlink
) -> None:
    # A veth has carrier, which nexthop objects ask for; the name alone makes it ours to the mirror.
    private_namespace.ip("link", "add", OURS, "type", "veth", "peer", "name", "far")
    for name in (OURS, "far"):
        private_namespace.ip("link", "set", name, "up")
    private_namespace.ip("-6", "route", "add", "fd00::/64", "dev", OURS)
    index = private_namespace.ip_json("link", "show", "dev", OURS)[0]["ifindex"]

    async def hops(prefix: str) -> set[str]:
        await netlink.settle()
        routes = netlink.routes(index)
        return {str(route.gateway) for route in routes if str(route.prefix) == prefix}

    two = ["nexthop", "via", "fd00::1", "dev", OURS, "nexthop", "via", "fd00::2", "dev", OURS]
    private_namespace.ip("-6", "route", "add", "fd05::/64", *two)
    assert await hops("fd05::/64") == {"fd00::1", "fd00::2"}
    version = netlink.routes_version(index)
    await netlink.settle()
    assert netlink.routes_version(index) == version
    private_namespace.ip("-6", "route", "del", "fd05::/64", "via", "fd00::1", "dev", OURS)
    assert await hops("fd05::/64") == {"fd00::2"}
    assert netlink.routes_version(index) != version

    for id_ in ("1", "2"):
        private_namespace.ip("nexthop", "add", "id", id_, "via", f"fd00::{id_}", "dev", OURS)
    private_namespace.ip("nexthop", "add", "id", "9", "group", "1/2")
    private_namespace.ip("route", "add", "10.5.0.0/16", "nhid", "9")
    private_namespace.ip("route", "add", "10.6.0.0/16", "nhid", "1")
    assert await hops("10.5.0.0/16") == {"fd00::1", "fd00::2"}
    assert await hops("10.6.0.0/16") == {"fd00::1"}
    # The kernel says nothing of either route.
    private_namespace.ip("nexthop", "del", "id", "1")
    assert await hops("10.6.0.0/16") == set()
    assert await hops("10.5.0.0/16") == {"fd00::2"}

"""The room of links against a real kernel: drift repaired, nothing foreign touched.

TUN links stand in for WireGuard's: wireguard-go's are TUN links too. Verification is by `ip`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from powernode_agent.errors import AgentError
from powernode_agent.links.errors import (
    ForeignLinkError,
    LinkMissingError,
    RouteTakenError,
    SysctlError,
)
from powernode_agent.links.subsystem import Links
from powernode_agent.links.sysctl import ProcSysctls
from powernode_agent.links.target import LinkTarget, compile_links
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.change import Change, Phase, Verb, in_order
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
from powernode_agent.model.values import (
    Endpoint,
    NetworkId,
    NodeId,
    PeerId,
    Prefix,
    Revision,
)
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.netlink.records import Event

if TYPE_CHECKING:
    from tests.netns.conftest import PrivateNamespace

CORE = NetworkId("net-core")
LINK = "wg-sdwan-core"


def network(
    role: PeerRole = PeerRole.SPOKE,
    mtu: int | None = 1420,
    lan_subnets: tuple[Prefix, ...] = (),
) -> Network:
    return Network(
        id=CORE,
        name="core",
        handle="core",
        prefix=IPv6Network("fd00:1::/64"),
        routing_mode=RoutingMode.STATIC,
        overlay_ipv4_prefix=ip_network("10.9.0.0/16"),  # type: ignore[arg-type]
        interface=Interface(
            peer_id=PeerId("self"),
            address=IPv6Address("fd00:1::1"),
            role=role,
            listen_port=51820,
            key=NodeKey(1),
            overlay_ipv4=IPv4Address("10.9.0.1"),
            mtu=mtu,
            lan_subnets=lan_subnets,
        ),
    )


def state_of(
    one: Network, endpoints: tuple[str, ...] = (), *, networks: bool = True
) -> DesiredState:
    peers = {
        PeerId(f"p{n}"): Peer(
            id=PeerId(f"p{n}"),
            network_id=CORE,
            name=f"p{n}",
            kind=PeerKind.NODE,
            role=PeerRole.HUB,
            host_address=IPv6Address(f"fd00:1::a:{n}"),
            endpoint=Endpoint(ip_address(address), 51820),
        )
        for n, address in enumerate(endpoints)
    }
    held = {CORE: NetworkState(one, peers)} if networks else {}
    return DesiredState(Revision(1), Node(NodeId("n"), "n"), held)


ROUTES: frozenset[Prefix] = frozenset(
    ip_network(text) for text in ("fd00:1::/64", "10.9.0.0/16", "10.20.0.0/16")
)


def target_of(one: Network, routes: frozenset[Prefix] = ROUTES) -> dict[NetworkId, LinkTarget]:
    carrying = {CORE: Carrying(CORE, {}, routes)}
    return dict(compile_links(state_of(one), carrying, {}))


@dataclass
class Room:
    links: Links
    netlink: Netlink
    namespace: PrivateNamespace

    async def plan(self, one: Network, routes: frozenset[Prefix] = ROUTES) -> list[Change]:
        assert not await self.links.observe([one])
        return in_order(self.links.plan(target_of(one, routes)))

    async def converge(self, one: Network, routes: frozenset[Prefix] = ROUTES) -> list[str]:
        """Plan, apply, and hold the room to its promise: a second plan is empty."""
        changes = await self.plan(one, routes)
        for change in changes:
            await change.apply()
        assert [c.lines for c in await self.plan(one, routes)] == []
        return [line for change in changes for line in change.lines]

    def addresses(self, link: str = LINK) -> set[str]:
        listed = self.namespace.ip_json("addr", "show", "dev", link)[0]["addr_info"]
        return {f"{a['local']}/{a['prefixlen']}" for a in listed if a["scope"] != "link"}

    def lasts(self, link: str = LINK) -> bool:
        """Whether iproute2 says "forever" of every lifetime."""
        listed = self.namespace.ip_json("addr", "show", "dev", link)[0]["addr_info"]
        lives = {a[life] for a in listed for life in ("valid_life_time", "preferred_life_time")}
        return lives == {0xFFFFFFFF}

    def our_routes(self, link: str = LINK) -> set[str]:
        return {
            entry["dst"]
            for family in ("-4", "-6")
            for entry in self.namespace.ip_json(
                family, "route", "show", "dev", link, "proto", "241", "table", "all"
            )
        }

    def shown(self, link: str = LINK) -> dict[str, Any]:
        return self.namespace.ip_json("link", "show", "dev", link)[0]

    def is_right(self) -> bool:
        shown = self.shown()
        return (
            shown["mtu"] == 1420
            and shown["ifalias"] == "powernode-sdwan:net-core"
            and "UP" in shown["flags"]
            and self.addresses() == {"fd00:1::1/128", "10.9.0.1/32"}
            and self.lasts()
            and self.our_routes() == {"fd00:1::/64", "10.9.0.0/16", "10.20.0.0/16"}
        )


@pytest_asyncio.fixture
async def room(private_namespace: PrivateNamespace) -> AsyncIterator[Room]:
    netlink = Netlink()
    await netlink.start()
    yield Room(Links(netlink, ProcSysctls()), netlink, private_namespace)
    await netlink.close()


def setting(key: str) -> str:
    return (Path("/proc/sys/net") / key).read_text().strip()


async def eventually(holds: Callable[[], bool]) -> None:
    """Poll until it holds; fails after 10 s."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def set_setting(key: str, value: str) -> None:
    (Path("/proc/sys/net") / key).write_text(value)


async def test_a_bare_link_becomes_ours_and_stays_untouched_from_then_on(room: Room) -> None:
    room.namespace.tun(LINK)
    lines = await room.converge(network())
    assert room.is_right()
    assert "set MTU of wg-sdwan-core: 1500 -> 1420" in lines
    assert "add address fd00:1::1/128 to wg-sdwan-core" in lines
    assert "add route fd00:1::/64 over wg-sdwan-core" in lines
    shown = room.namespace.ip_json("addr", "show", "dev", LINK)[0]["addr_info"]
    assert not [a for a in shown if a["local"].startswith("fe80")]
    assert setting(f"ipv6/conf/{LINK}/accept_ra") == "0"
    assert setting(f"ipv4/conf/{LINK}/rp_filter") == "2"
    assert await room.plan(network()) == []


async def test_a_plan_made_before_the_link_exists_is_carried_out_after(room: Room) -> None:
    changes = await room.plan(network())
    assert any("add address fd00:1::1/128" in line for c in changes for line in c.lines)
    with pytest.raises(LinkMissingError, match=LINK):
        await changes[0].apply()
    room.namespace.tun(LINK)
    for change in changes:
        await change.apply()
    assert room.is_right()
    assert await room.plan(network()) == []


@pytest.mark.parametrize(
    "damage",
    [
        f"addr del fd00:1::1/128 dev {LINK}",
        f"addr del 10.9.0.1/32 dev {LINK}",
        f"addr add fd00:1::99/128 dev {LINK}",
        f"addr add 10.9.0.1/16 dev {LINK}",
        f"addr change fd00:1::1/128 dev {LINK} preferred_lft 100 valid_lft 200",
        f"addr change fd00:1::1/128 dev {LINK} preferred_lft 0",
        f"addr change 10.9.0.1/32 dev {LINK} preferred_lft 100 valid_lft 200",
        f"-6 route del fd00:1::/64 dev {LINK}",
        f"route del 10.20.0.0/16 dev {LINK}",
        f"route add 10.33.0.0/16 dev {LINK} proto 241",
        f"-6 route add fd00:33::/64 dev {LINK} proto 241 metric 77",
        f"route flush dev {LINK}",
        f"-6 route flush dev {LINK}",
        f"addr flush dev {LINK}",
        f"link set {LINK} mtu 1300",
        f"link set {LINK} mtu 1000",
        f"link set {LINK} down",
        f"link set {LINK} alias ''",
    ],
)
async def test_drift_is_seen_by_its_event_and_repaired(room: Room, damage: str) -> None:
    room.namespace.tun(LINK)
    await room.converge(network())
    events: list[Event] = []
    room.netlink.on_event(events.append)
    room.namespace.ip(*damage.replace("''", "").split(" "))
    await room.netlink.settle()
    assert events
    await room.converge(network())
    assert room.is_right()


async def test_a_host_route_changes_its_metric_without_a_gap(room: Room) -> None:
    host = ip_network("fd00:1::11/128")
    room.namespace.tun(LINK)
    await room.converge(network())

    def metrics() -> list[int]:
        shown = room.namespace.ip_json("-6", "route", "show", "fd00:1::11", "dev", LINK)
        return [entry["metric"] for entry in shown]

    async def changes(metric: int | None) -> list[Change]:
        (target,) = target_of(network()).values()
        target = replace(target, host_routes={host: metric})
        assert not await room.links.observe([network()])
        return in_order(room.links.plan({CORE: target}))

    (made,) = await changes(1030)
    assert made.lines == (f"add route fd00:1::11/128 over {LINK}, metric 1030",)
    await made.apply()
    assert metrics() == [1030]
    assert await changes(1030) == []
    added, removed = await changes(1042)
    assert removed.lines == (f"remove route fd00:1::11/128 over {LINK}, metric 1030",)
    await removed.apply()  # the other one failed: nothing is taken away
    assert metrics() == [1030]
    await added.apply()
    assert metrics() == [1030, 1042]
    await removed.apply()
    assert metrics() == [1042]
    # Not known is not none: a restarted agent leaves it, and repairs it when it is gone.
    assert await changes(None) == []
    room.namespace.ip("-6", "route", "del", str(host), "dev", LINK)
    (repair,) = await changes(1042)
    # Somebody else's in its place is left, and named.
    foreign = f"-6 route add {host} dev {LINK} proto static metric 1042"
    room.namespace.ip(*foreign.split())
    with pytest.raises(RouteTakenError, match="fd00:1::11/128"):
        await repair.apply()
    room.namespace.ip("-6", "route", "del", str(host), "dev", LINK)
    await repair.apply()
    await room.converge(network())
    assert metrics() == []
    assert room.is_right()


async def test_a_link_deleted_and_made_again_is_repaired(room: Room) -> None:
    room.namespace.tun(LINK)
    await room.converge(network())
    room.namespace.ip("link", "del", LINK)
    room.namespace.tun(LINK)
    await room.converge(network())
    assert room.is_right()


async def test_a_wrong_prefix_length_is_replaced(room: Room) -> None:
    room.namespace.tun(LINK)
    room.namespace.ip("addr", "add", "fd00:1::1/64", "dev", LINK)
    lines = await room.converge(network())
    assert room.is_right()
    assert any("fd00:1::1/64" in line and "wrong prefix length" in line for line in lines)


async def test_nothing_foreign_is_touched(room: Room) -> None:
    room.namespace.underlay()
    room.namespace.tun(LINK)
    await room.converge(network())
    # On our link, but of others: FRR's routes, an operator's, a link-local address.
    room.namespace.ip(
        "-6", "route", "add", "fd00:50::/64", "dev", LINK, "proto", "bgp", "metric", "20"
    )
    room.namespace.ip("route", "add", "10.50.0.0/16", "dev", LINK)
    room.namespace.ip("addr", "add", "fe80::7/64", "dev", LINK)
    # Elsewhere, with our protocol and our name's beginning.
    room.namespace.ip("route", "add", "10.51.0.0/16", "dev", "under0", "proto", "241")
    room.namespace.ip("addr", "add", "fd00:1::77/128", "dev", "under0")
    room.namespace.tun("wg-sdwan-else", up=True)
    room.namespace.ip("addr", "add", "fd00:2::1/128", "dev", "wg-sdwan-else")
    room.namespace.ip("route", "add", "10.52.0.0/16", "dev", "wg-sdwan-else", "proto", "241")

    def everything() -> str:
        return "".join(
            room.namespace.ip(*words.split())
            for words in (
                "-d route show table all",
                "-6 -d route show table all",
                "-d addr",
                "rule",
                "-6 rule",
            )
        )

    # The kernel's own routes to new IPv6 addresses come from a work queue, a moment later.
    own = ("fd00:1::1 ", "fd00:1::77 ", "fd00:2::1 ", "fe80::7 ")
    await eventually(lambda: all(f"local {address}" in everything() for address in own))
    before = everything()
    assert await room.converge(network()) == []
    # Damage, and its repair, put everything back as it was.
    room.namespace.ip("-6", "route", "del", "fd00:1::/64", "dev", LINK, "proto", "241")
    room.namespace.ip("addr", "del", "fd00:1::1/128", "dev", LINK)
    room.namespace.ip("link", "set", LINK, "mtu", "1400")
    room.namespace.ip("addr", "add", "10.99.0.1/32", "dev", LINK)
    await room.converge(network())
    expected = sorted(before.splitlines())
    await eventually(lambda: sorted(everything().splitlines()) == expected)


@pytest.mark.parametrize("kind", ["veth", "alias"])
async def test_a_foreign_link_with_our_name_is_an_error_and_left_alone(
    room: Room, kind: str
) -> None:
    if kind == "veth":
        room.namespace.ip("link", "add", LINK, "type", "veth", "peer", "name", "other")
    else:
        room.namespace.tun(LINK)
        room.namespace.ip("link", "set", LINK, "alias", "somebody")
    before = room.namespace.ip("-d", "addr")
    errors = await room.links.observe([network()])
    assert isinstance(errors[CORE], ForeignLinkError)
    assert room.links.plan(target_of(network())) == []
    assert room.links.link(CORE) is None
    assert room.namespace.ip("-d", "addr") == before


async def test_a_foreign_route_in_our_place_is_named_and_stays(room: Room) -> None:
    room.namespace.tun(LINK)
    await room.converge(network())
    room.namespace.ip("-6", "route", "replace", "fd00:1::/64", "dev", LINK, "proto", "99")
    before = room.namespace.ip("-6", "-d", "route")
    changes = await room.plan(network(), ROUTES | {ip_network("10.77.0.0/16")})
    assert [(change.phase, change.verb) for change in changes] == [(Phase.ROUTE, Verb.ADD)]
    with pytest.raises(RouteTakenError, match="fd00:1::/64"):
        await changes[0].apply()
    assert room.namespace.ip("-6", "-d", "route") == before
    assert "10.77.0.0/16" in room.our_routes()


async def test_a_route_moves_between_our_links_in_one_step(room: Room) -> None:
    room.namespace.tun(LINK)
    await room.converge(network())
    room.namespace.tun("wg-sdwan-old", up=True)
    room.namespace.ip("route", "add", "10.66.0.0/16", "dev", "wg-sdwan-old", "proto", "241")
    await room.converge(network(), ROUTES | {ip_network("10.66.0.0/16")})
    assert "10.66.0.0/16" in room.our_routes()
    assert room.our_routes("wg-sdwan-old") == set()


async def test_undecided_routes_and_unmeasured_mtu_are_left(room: Room) -> None:
    room.namespace.tun(LINK)
    await room.converge(network())
    unknown = compile_links(state_of(network(mtu=None)), {}, {})
    assert not await room.links.observe([network()])
    assert room.links.plan(unknown) == []


async def test_router_advertisements_are_kept_before_forwarding_is_turned_on(room: Room) -> None:
    room.namespace.underlay()
    room.namespace.ip("link", "add", "quiet0", "type", "veth", "peer", "name", "quiet1")
    set_setting("ipv6/conf/quiet0/accept_ra", "0")
    assert setting("ipv6/conf/under0/accept_ra") == "1"
    assert setting("ipv6/conf/all/forwarding") == "0"
    room.namespace.tun(LINK)
    lines = await room.converge(network(PeerRole.HUB))
    kept = lines.index("set net/ipv6/conf/under0/accept_ra: 1 -> 2")
    assert kept < lines.index("set net/ipv6/conf/all/forwarding: 0 -> 1")
    assert setting("ipv6/conf/under0/accept_ra") == "2"
    assert setting("ipv6/conf/quiet0/accept_ra") == "0"
    assert setting("ipv6/conf/all/forwarding") == "1"
    assert setting(f"ipv6/conf/{LINK}/accept_ra") == "0"
    assert setting(f"ipv4/conf/{LINK}/forwarding") == "1"
    assert setting("ipv4/conf/under0/forwarding") == "0"
    assert setting("ipv4/ip_forward") == "0"


async def test_forwarding_refused_leaves_router_advertisements_and_the_tunnel_working(
    room: Room,
) -> None:
    class ReadOnly(ProcSysctls):
        def write(self, setting: object) -> None:
            raise SysctlError("net/x", "1", "0", "Read-only file system")

    room.namespace.underlay()
    room.namespace.tun(LINK)
    room.links = Links(room.netlink, ReadOnly())
    failures: list[AgentError] = []
    for change in await room.plan(network(PeerRole.HUB)):
        try:
            await change.apply()
        except AgentError as error:
            failures.append(error)
    assert [type(error) for error in failures] == [SysctlError]
    assert room.is_right()
    assert setting("ipv6/conf/all/forwarding") == "0"


async def test_a_missing_setting_is_an_error_that_names_it_and_makes_no_file() -> None:
    from powernode_agent.links.settings import Setting

    with pytest.raises(SysctlError, match=r"net/ipv6/conf/nosuch/accept_ra"):
        ProcSysctls().write(Setting("net/ipv6/conf/nosuch/accept_ra", "0"))


async def test_the_link_to_a_lan_forwards_and_no_other(room: Room) -> None:
    room.namespace.underlay()
    room.namespace.ip("link", "add", "lan0", "type", "veth", "peer", "name", "lan1")
    room.namespace.ip("link", "set", "lan0", "up")
    room.namespace.ip("addr", "add", "10.30.0.1/24", "dev", "lan0")
    room.namespace.tun(LINK)
    await room.converge(
        network(lan_subnets=(ip_network("10.30.0.0/24"), ip_network("10.31.0.0/24")))
    )
    assert setting("ipv4/conf/lan0/forwarding") == "1"
    assert setting("ipv4/conf/under0/forwarding") == "0"


async def test_the_mtu_follows_the_underlay_route_of_the_endpoints(room: Room) -> None:
    room.namespace.underlay(mtu=1500)
    room.namespace.ip("route", "add", "198.51.100.0/24", "via", "192.0.2.9", "mtu", "1450")
    hub = network(mtu=None)
    one = state_of(hub, ("203.0.113.5",))
    assert await room.links.underlay_mtus(one) == {CORE: 1440}
    two = state_of(hub, ("203.0.113.5", "198.51.100.7"))
    assert await room.links.underlay_mtus(two) == {CORE: 1390}
    assert await room.links.underlay_mtus(state_of(hub)) == {CORE: 1420}
    assert await room.links.underlay_mtus(state_of(network(mtu=1300), ("203.0.113.5",))) == {
        CORE: 1300
    }
    # The underlay narrows: the answer that was remembered is forgotten by the event.
    room.namespace.ip("link", "set", "under0", "mtu", "1400")
    await room.netlink.settle()
    assert await room.links.underlay_mtus(one) == {CORE: 1340}
    # An endpoint that the overlay itself would carry does not count, or the MTU would follow itself.
    room.namespace.tun(LINK, up=True)
    room.namespace.ip("link", "set", LINK, "mtu", "1300")
    room.namespace.ip("route", "add", "203.0.113.0/24", "dev", LINK)
    await room.netlink.resync("test")
    assert await room.links.underlay_mtus(one) == {CORE: 1320}


async def test_links_of_networks_we_have_left_are_found_by_their_marks(room: Room) -> None:
    room.namespace.tun(LINK)
    await room.converge(network())
    room.namespace.tun("wg-sdwan-x")  # our name only
    room.namespace.tun("other0")
    room.namespace.ip(
        "link", "set", "other0", "alias", "powernode-sdwan:net-core"
    )  # our alias only
    await room.netlink.settle()
    assert room.links.leftovers(state_of(network())) == {}
    assert room.links.leftovers(state_of(network(), networks=False)) == {LINK: CORE}


async def test_a_renamed_link_of_ours_goes_so_that_it_can_be_made_anew(room: Room) -> None:
    index = room.namespace.tun(LINK)
    await room.converge(network())
    room.namespace.tun("other0")  # somebody's, without our alias
    room.namespace.ip("link", "set", LINK, "down")
    room.namespace.ip("link", "set", LINK, "name", "foo")
    changes = await room.plan(network())
    assert (changes[0].phase, changes[0].network) == (Phase.CLEAR, None)
    assert changes[0].lines == (f"remove link foo: it is {LINK}, renamed",)
    await changes[0].apply()
    assert room.namespace.tun(LINK) != index
    await room.converge(network())
    assert room.is_right()
    assert {each["ifname"] for each in room.namespace.ip_json("link")} >= {LINK, "other0"}
    assert "foo" not in {each["ifname"] for each in room.namespace.ip_json("link")}


async def test_a_copy_of_our_alias_beside_our_link_is_left_alone(room: Room) -> None:
    room.namespace.tun(LINK)
    await room.converge(network())
    room.namespace.tun("other0")
    room.namespace.ip("link", "set", "other0", "alias", "powernode-sdwan:net-core")
    assert await room.plan(network()) == []


async def test_the_observation_of_a_link_is_what_ip_says(room: Room) -> None:
    assert room.links.link(CORE) is None
    index = room.namespace.tun(LINK)
    await room.converge(network())
    found = room.links.link(CORE)
    assert found is not None
    assert (found.ifindex, found.name, found.up, found.mtu) == (index, LINK, True, 1420)
    assert {str(address) for address in found.addresses} == room.addresses()

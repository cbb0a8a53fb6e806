"""Two hubs and three spokes with real FRR: what is compiled does what it is for."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Final

import pytest
from routing_cases import deny, permit, policy
from routing_states import Overlay, Site, desired_state, network_state
from routing_world import FrrNode, frr_world, until

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.route_policy import (
    Community,
    PolicyDirection,
    RouteMatch,
    RoutePolicy,
    RouteSet,
)
from powernode_agent.model.status import BgpState
from powernode_agent.model.virtual_ip import address_metric
from powernode_agent.routing.compile import compile_frr
from powernode_agent.routing.sessions import (
    NEIGHBORS_COMMAND,
    SUMMARY_COMMAND,
    parse_readings,
    sessions_of,
)

CORE, OPS = Overlay("core", 1), Overlay("ops", 2, ipv4=False)
VIP, ANYCAST = "fd00:1::100", "fd00:1::200"
LAN_A, LAN_A4, LAN_B, LAN_C = (
    "fd00:a:1::/64",
    "192.168.11.0/24",
    "fd00:a:2::/64",
    "fd00:a:3::/64",
)
SITES: Final = {
    "h1": Site(1, hub=True),
    "h2": Site(2, hub=True),
    "a": Site(11, lans=(LAN_A, LAN_A4), holds=(0x100, 0x200)),
    "b": Site(12, lans=(LAN_B,), holds=(0x100, 0x200)),
    "c": Site(13, lans=(LAN_C,)),
}
HUB_1, HUB_2, A, B, C = (str(site.address(CORE)) for site in SITES.values())
IMPORT, EXPORT = PolicyDirection.IMPORT, PolicyDirection.EXPORT
LINK: Final = "wg-sdwan-core"

POLICIES: Final = (
    # Seen at the hubs, where A is a neighbour; carried to C by the reflected route.
    policy(
        "prefer-a",
        IMPORT,
        permit(
            10,
            RouteMatch(prefix=ip_network(LAN_A), peer_id=SITES["a"].peer_id(CORE)),
            RouteSet(local_pref=200, communities=(Community((65000, 1)), Community((65000, 7, 7)))),
        ),
        network=CORE,
        priority=1,
    ),
    # Behind it: sees what the first one set, and adds to it.
    policy(
        "compose",
        IMPORT,
        permit(
            10,
            RouteMatch(community=Community((65000, 1))),
            RouteSet(med=77, communities=(Community((65000, 2)),), communities_additive=True),
        ),
        network=CORE,
        priority=2,
    ),
    # At the hubs, on what they reflect to C.
    policy(
        "to-c",
        EXPORT,
        permit(
            10,
            RouteMatch(prefix=ip_network(f"{B}/128"), peer_id=SITES["c"].peer_id(CORE)),
            RouteSet(communities=(Community((65000, 3)),)),
        ),
        network=CORE,
        priority=-1,
    ),
    policy("no-c-lan", EXPORT, deny(10, RouteMatch(prefix=ip_network(LAN_C))), network=CORE),
)


def _state(name: str, policies: tuple[RoutePolicy, ...] = ()) -> NetworkState:
    return network_state(
        CORE, SITES[name], tuple(SITES.values()), bfd_interval_ms=100, policies=policies
    )


def _configure(nodes: dict[str, FrrNode], policies: tuple[RoutePolicy, ...] = ()) -> None:
    for name in SITES:
        nodes[name].configure(compile_frr(desired_state(_state(name, policies))))
    for name in SITES:
        expected = 4 if SITES[name].hub else 2
        until(
            f"{name} has its sessions", lambda n=name, e=expected: len(nodes[n].established()) == e
        )  # type: ignore[misc]


def _hold(node: FrrNode, address: str, preference: int = 100) -> None:
    metric = str(address_metric(preference))
    extra = ("nodad", "preferred_lft", "0", "metric", metric)
    node.ip("addr", "add", f"{address}/128", "dev", LINK, *extra)


def _wait_for_bfd(nodes: dict[str, FrrNode]) -> None:
    """BFD begins with a packet a second, so it is up a while after the session that asked for it."""
    for name in SITES:
        until(f"BFD is up at {name}", lambda n=name: set(nodes[n].bfd().values()) == {"up"})  # type: ignore[misc]


@pytest.fixture
def nodes() -> Iterator[dict[str, FrrNode]]:
    with frr_world(*SITES) as made:
        for name, site in SITES.items():
            made[name].attach(CORE, site, _state(name).network)
            made[name].start()
        made["a"].lan("lan0", LAN_A, LAN_A4)
        yield made


def test_spokes_learn_of_each_other_by_the_hub(nodes: dict[str, FrrNode]) -> None:
    _configure(nodes)
    c = nodes["c"]
    for what, prefix in {
        "host": A,
        "IPv4 host": "100.64.1.11",
        "LAN": LAN_A,
        "LAN4": LAN_A4,
    }.items():
        until(f"C has A's {what}", lambda p=prefix: c.route(p) == [HUB_1])  # type: ignore[misc]
    # A LAN that is not there is not announced, and one that goes is withdrawn.
    assert c.route(LAN_B) == []
    nodes["a"].ip("link", "set", "lan0", "down")
    until("A's LAN is withdrawn", lambda: not c.route(LAN_A) and not c.route(LAN_A4))
    # One network has one winner: no second next hop anywhere.
    assert all(len(c.route(str(site.address(CORE)))) < 2 for site in SITES.values())
    readings = parse_readings(c.show(SUMMARY_COMMAND), c.show(NEIGHBORS_COMMAND))
    sessions = sessions_of({CORE.id: _state("c")}, readings, {}).values()
    assert {session.state for session in sessions} == {BgpState.ESTABLISHED}
    assert all(session.prefixes_received and session.uptime_ms is not None for session in sessions)
    # The hub is cut off: BFD notices, and graceful restart keeps nothing of it.
    _wait_for_bfd(nodes)
    nodes["h1"].pull(CORE)
    until("C goes by the other hub", lambda: c.route(A) == [HUB_2], seconds=5)
    readings = parse_readings(c.show(SUMMARY_COMMAND), c.show(NEIGHBORS_COMMAND))
    cut = sessions_of({CORE.id: _state("c")}, readings, {})[CORE.id, SITES["h1"].peer_id(CORE)]
    assert cut.likely_cause == "BFD finds the way to the neighbour dead"


def test_holding_is_announcing_and_a_better_holder_takes_over(nodes: dict[str, FrrNode]) -> None:
    _configure(nodes)
    hub, c = nodes["h1"], nodes["c"]
    _hold(nodes["a"], VIP)
    until("C reaches the holder", lambda: c.route(VIP) == [HUB_1] and hub.route(VIP) == [A])
    _hold(nodes["b"], VIP, preference=200)
    until("the hub moves to B beside A", lambda: hub.route(VIP) == [B])
    assert nodes["h2"].route(VIP) == [B]
    # An address that is no virtual IP of ours is not announced, nor is one on another link.
    _hold(nodes["a"], "fd00:1::bad")
    nodes["a"].ip("addr", "add", f"{ANYCAST}/128", "dev", "lan0", "nodad")
    nodes["a"].ip("addr", "del", f"{VIP}/128", "dev", LINK)
    until("A is gone", lambda: len(hub.json(f"show bgp ipv6 unicast {VIP} json")["paths"]) == 1)
    assert hub.best("fd00:1::bad") is None
    assert hub.best(ANYCAST) is None


def test_the_closest_anycast_holder_wins_and_all_choose_the_same_hub(
    nodes: dict[str, FrrNode],
) -> None:
    _configure(nodes)
    hub, other, c = nodes["h1"], nodes["h2"], nodes["c"]
    for name in ("a", "b"):
        _hold(nodes[name], ANYCAST)
    # Hub 1 is closer to B, hub 2 to A: A's router id is the lower one, and must not decide at C.
    for node, near, far in ((hub, B, A), (other, A, B)):
        for host, metric in ((near, "1030"), (far, "1060")):
            node.ip("route", "add", f"{host}/128", "dev", LINK, "proto", "241", "metric", metric)
    until(
        "hubs choose their own", lambda: hub.route(ANYCAST) == [B] and other.route(ANYCAST) == [A]
    )
    until("C chooses hub 1", lambda: c.route(ANYCAST) == [HUB_1])
    assert c.route(A) == c.route(B) == [HUB_1]
    _wait_for_bfd(nodes)
    nodes["b"].pull(CORE)
    until("the other holder serves", lambda: hub.route(ANYCAST) == [A], seconds=5)


def test_policies_compose(nodes: dict[str, FrrNode]) -> None:
    nodes["c"].lan("lan0", LAN_C)
    _configure(nodes, POLICIES)
    c = nodes["c"]

    def seen() -> bool:
        best = c.best(LAN_A)
        return best is not None and (best["locPrf"], best["metric"]) == (200, 77)

    until("C has what the hub's policies made of A's LAN", seen)
    best = c.best(LAN_A)
    assert best is not None
    assert best["community"]["string"] == "65000:1 65000:2"
    assert "65000:7:7" in best["largeCommunity"]["list"]
    until("C has B", lambda: c.best(B) is not None)
    assert "65000:3" in str(c.best(B))
    until("an IPv4 route passes by a policy for IPv6", lambda: c.route(LAN_A4) == [HUB_1])
    # Denied where it would leave C: nobody has it.
    until("hubs have C", lambda: nodes["h1"].best(C) is not None)
    assert nodes["h1"].best(LAN_C) is None
    # A change of policy reaches sessions that stand.
    nodes["c"].enter("no route-map pn.core.out permit 100")
    until("C's LAN is announced", lambda: nodes["h1"].best(LAN_C) is not None)


def test_what_a_peer_may_not_announce_is_refused(nodes: dict[str, FrrNode]) -> None:
    _configure(nodes)
    hub = nodes["h1"]
    until("hub has B", lambda: hub.best(B) is not None)
    b = nodes["b"]
    b.lan("lan0", LAN_B)
    # By hand: a node that is not ours to trust announces A's LAN, A's address and its own.
    origin = "route-map pn.core.origin"
    b.ip("route", "add", LAN_A, "dev", "lan0")
    b.ip("route", "add", f"{A}/128", "dev", "lan0", "metric", "5000")
    inside = [f"network {LAN_A} {origin}", f"network {A}/128 {origin}"]
    b.enter("router bgp 65000", "address-family ipv6 unicast", *inside)
    until("B's own LAN comes", lambda: hub.best(LAN_B) is not None)
    until("B announces them", lambda: {LAN_A, f"{A}/128"} <= b.told(HUB_1))
    for prefix in (LAN_A, A):
        paths = hub.json(f"show bgp ipv6 unicast {prefix} json").get("paths", [])
        assert all(path["peer"]["peerId"] == A for path in paths), prefix


def test_two_networks_of_a_host_are_kept_apart() -> None:
    """`both` is on two networks and reflects on both. The peer of ops may and does announce the LAN of
    the peer of core, and marks its routes as core's."""
    both, core_peer, ops_peer = (
        Site(1, hub=True),
        Site(11, lans=(LAN_A,)),
        Site(12, lans=(LAN_A, LAN_B)),
    )
    names = {"both": both, "core": core_peer, "core2": Site(13), "ops": ops_peer, "ops2": Site(14)}
    core_sites, ops_sites = (both, core_peer, Site(13)), (both, ops_peer, Site(14))
    core_of = {n: network_state(CORE, names[n], core_sites) for n in ("both", "core", "core2")}
    ops_of = {n: network_state(OPS, names[n], ops_sites) for n in ("both", "ops", "ops2")}
    with frr_world(*names) as nodes:
        for name, node in nodes.items():
            for overlay, states in ((CORE, core_of), (OPS, ops_of)):
                if name in states:
                    node.attach(overlay, names[name], states[name].network)
            node.start()
            if name in ("core", "ops"):
                node.lan("lan0", LAN_A, *([LAN_B] if name == "ops" else []))
            parts = [states[name] for states in (core_of, ops_of) if name in states]
            node.configure(compile_frr(desired_state(*parts)))
        mark = nodes["core"].running()[("route-map pn.core.origin permit 10",)][0]
        forged = f"{mark} 65000:5:5"
        nodes["ops"].enter(
            "route-map pn.ops.out permit 65535",
            "no set large-comm-list pn-marks delete",
            f"{forged} additive",
        )
        hub = nodes["both"]
        until("four sessions", lambda: len(hub.established()) == 4)
        until("LANs are there", lambda: hub.best(LAN_A) is not None and hub.best(LAN_B) is not None)
        until("forged", lambda: "65000:5:5" in str(hub.best(LAN_B)))
        until("spread", lambda: bool(nodes["core2"].route(LAN_A) and nodes["ops2"].route(LAN_B)))
        # Equal claims: core's id comes first. Ops never competes for it.
        (only,) = hub.json(f"show bgp ipv6 unicast {LAN_A} json")["paths"]
        assert only["peer"]["peerId"] == str(core_peer.address(CORE))
        told = {
            name: hub.told(names[name].address(overlay))
            for name, overlay in (("core2", CORE), ("ops2", OPS))
        }
        hosts = {"core": f"{core_peer.address(CORE)}/128", "ops": f"{ops_peer.address(OPS)}/128"}
        assert {LAN_A, hosts["core"]} <= told["core2"]
        assert not {LAN_B, hosts["ops"]} & told["core2"]
        assert {LAN_B, hosts["ops"]} <= told["ops2"]
        assert not {LAN_A, hosts["core"]} & told["ops2"]

"""Who carries what: properties over random networks and histories, and the stories one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import (
    Interface,
    Network,
    NodeKey,
    Path,
    PathPurpose,
    Peer,
    PeerKind,
    PeerRole,
    RoutingMode,
)
from powernode_agent.model.status import (
    Backend,
    Liveness,
    LivenessReading,
    WireguardDevice,
    WireguardPeer,
)
from powernode_agent.model.values import Endpoint, NetworkId, PathId, PeerId, Prefix, PublicKey
from powernode_agent.paths.decide import Decision, PathMemory, decide
from powernode_agent.paths.recall import recall
from powernode_agent.paths.standing import (
    HOLD_DOWN,
    LOCAL_GRACE,
    PLATFORM_GRACE,
    SETTLED,
    UNMEASURED_RETURN,
)

NET = NetworkId("net-1")
HUB_1, HUB_2, HUB_3 = PeerId("hub-1"), PeerId("hub-2"), PeerId("hub-3")
HUBS = (HUB_1, HUB_2, HUB_3)
OVERLAY = IPv6Network("fd00:abcd:1::/64")
LAN: Prefix = ip_network("10.20.0.0/16")
OWN_LAN: Prefix = ip_network("10.9.0.0/16")


def make_peer(peer_id: str, number: int, permitted: tuple[Prefix, ...] = (OVERLAY, LAN)) -> Peer:
    return Peer(
        PeerId(peer_id),
        NET,
        peer_id,
        PeerKind.NODE,
        PeerRole.HUB,
        OVERLAY[number],
        public_key=PublicKey(f"key of {peer_id}"),
        host_ipv4=IPv4Address(f"100.64.0.{number}"),
        endpoint=Endpoint(IPv4Address(f"203.0.113.{number}"), 51820),
        permitted_prefixes=permitted,
    )


def make_path(path_id: str, prefix: Prefix, *candidates: PeerId) -> Path:
    return Path(PathId(path_id), NET, prefix, PathPurpose.LAN, candidates)


def make_network(peers: list[Peer], paths: list[Path]) -> NetworkState:
    return NetworkState(
        Network(
            NET,
            "core",
            "core",
            OVERLAY,
            RoutingMode.STATIC,
            Interface(
                PeerId("self"),
                OVERLAY[200],
                PeerRole.SPOKE,
                51820,
                NodeKey(1),
                overlay_ipv4=IPv4Address("100.64.0.200"),
                lan_subnets=(OWN_LAN,),
            ),
            overlay_ipv4_prefix=IPv4Network("100.64.0.0/24"),
        ),
        {peer.id: peer for peer in peers},
        {path.id: path for path in paths},
    )


TWO_HUBS = make_network(
    [make_peer("hub-1", 1), make_peer("hub-2", 2)],
    [make_path("overlay", OVERLAY, HUB_1, HUB_2), make_path("lan", LAN, HUB_1, HUB_2)],
)


def reading(state: Liveness, since: float) -> LivenessReading:
    return LivenessReading(state, since, None, 0, 0)


@dataclass
class Node:
    """A node that decides whenever something changes or it asked to be woken."""

    network: NetworkState
    platform_speaks: bool = False
    now: float = 1000.0
    memory: PathMemory = field(default_factory=PathMemory)
    readings: dict[PeerId, LivenessReading] = field(default_factory=dict)
    moves: list[tuple[float, PeerId | None]] = field(default_factory=list)
    last: Decision | None = None

    def decide(self) -> Decision:
        self.last = decide(self.network, self.readings, self.memory, self.now, self.platform_speaks)
        self.memory = self.last.memory
        carrier = self.last.carrying.choices[0].peer_id if self.last.carrying.choices else None
        if not self.moves or self.moves[-1][1] != carrier:
            self.moves.append((self.now, carrier))
        return self.last

    def sleep(self, seconds: float) -> Decision:
        until = self.now + seconds
        decision = self.decide()
        while decision.wake_at is not None and decision.wake_at <= until:
            assert decision.wake_at > self.now, "waking up now again would spin"
            self.now = decision.wake_at
            decision = self.decide()
        self.now = until
        return self.decide()

    def sees(self, peer: PeerId, state: Liveness) -> None:
        known = self.readings.get(peer)
        if known is None or known.state is not state:
            self.readings[peer] = reading(state, self.now)

    @property
    def carriers(self) -> set[PeerId | None]:
        assert self.last is not None
        return {choice.peer_id for choice in self.last.carrying.choices}


def settled_node(platform_speaks: bool = False) -> Node:
    node = Node(TWO_HUBS, platform_speaks)
    for hub in (HUB_1, HUB_2):
        node.sees(hub, Liveness.ALIVE)
    node.sleep(100.0)
    assert node.carriers == {HUB_1}
    return node


def test_allowed_ips_and_routes_of_a_plain_network() -> None:
    carrying = decide(TWO_HUBS, {}, PathMemory(), 0.0, False).carrying
    hub_1, hub_2 = TWO_HUBS.peers[HUB_1], TWO_HUBS.peers[HUB_2]
    assert carrying.allowed_ips == {
        HUB_1: frozenset({*hub_1.host_prefixes, OVERLAY, LAN}),
        HUB_2: frozenset(hub_2.host_prefixes),
    }
    assert carrying.routes == {OVERLAY, ip_network("100.64.0.0/24"), LAN}
    assert carrying.refused == ()
    assert {choice.reason for choice in carrying.choices} == {"first candidate"}


def test_an_overlay_with_nothing_but_hosts_is_still_routed_whole() -> None:
    network = make_network([make_peer("hub-1", 1)], [])
    assert decide(network, {}, PathMemory(), 0.0, False).carrying.routes == {
        OVERLAY,
        ip_network("100.64.0.0/24"),
    }


def test_a_virtual_ip_inside_the_overlay_needs_no_route_of_its_own() -> None:
    vip = IPv6Network("fd00:abcd:1::100/128")
    network = make_network([make_peer("hub-1", 1)], [make_path("vip", vip, HUB_1)])
    carrying = decide(network, {}, PathMemory(), 0.0, False).carrying
    assert vip in carrying.allowed_ips[HUB_1]
    assert vip not in carrying.routes


def refused_alone(prefix: Prefix, *permitted: Prefix) -> str:
    network = make_network([make_peer("hub-1", 1, permitted)], [make_path("bad", prefix, HUB_1)])
    carrying = decide(network, {}, PathMemory(), 0.0, False).carrying
    assert prefix not in carrying.routes
    assert prefix not in carrying.allowed_ips[HUB_1]
    (choice,) = carrying.choices
    assert choice.peer_id is None
    (sentence,) = carrying.refused
    assert sentence in choice.reason
    return sentence


def test_a_prefix_that_nobody_may_carry_is_carried_by_nobody_and_said() -> None:
    sentence = refused_alone(ip_network("10.30.0.0/16"), LAN)
    assert "hub-1" in sentence
    assert "10.30.0.0/16" in sentence
    assert "10.20.0.0/16" in sentence


def test_own_address_and_own_lan_are_refused_even_if_permitted() -> None:
    everything = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    assert "own address" in refused_alone(ip_network("100.64.0.200/32"), *everything)
    assert "own address" in refused_alone(IPv6Network(OVERLAY[200]), *everything)
    assert "LAN subnet" in refused_alone(OWN_LAN, *everything)
    assert "LAN subnet" in refused_alone(ip_network("10.9.7.0/24"), *everything)


def test_the_underlay_never_goes_into_the_tunnel_that_it_carries() -> None:
    everything = (ip_network("0.0.0.0/0"),)
    assert "endpoint" in refused_alone(ip_network("0.0.0.0/0"), *everything)
    assert "endpoint" in refused_alone(ip_network("203.0.113.0/24"), *everything)


IPV4_OVERLAY = IPv4Network("100.64.0.0/24")


def test_an_overlay_prefix_that_covers_the_platform_is_neither_routed_nor_lived_in() -> None:
    """The rest of the network goes on, and so does a path inside it that covers nothing of it."""
    half = ip_network("100.64.0.128/25")
    peer = make_peer("hub-1", 1, (OVERLAY, LAN, half))
    network = make_network([peer], [make_path("lan", LAN, HUB_1), make_path("half", half, HUB_1)])
    platform = IPv4Address("100.64.0.77")
    carrying = decide(network, {}, PathMemory(), 0.0, False, frozenset({platform})).carrying
    assert carrying.routes == {OVERLAY, LAN, half}
    assert carrying.withheld == {IPv4Address("100.64.0.200")}
    (sentence,) = carrying.refused
    for part in ("network core", "100.64.0.0/24", "100.64.0.77", "platform", "100.64.0.200"):
        assert part in sentence
    assert "make the network anew" in sentence


def test_a_ula_overlay_that_covers_an_endpoint_is_refused_and_names_the_peer() -> None:
    inside = Endpoint(IPv6Address("fd00:abcd:1::ff:1"), 51820)
    peer = replace(make_peer("hub-1", 1), endpoint=inside)
    network = make_network([peer], [make_path("overlay", OVERLAY, HUB_1)])
    carrying = decide(network, {}, PathMemory(), 0.0, False).carrying
    assert carrying.routes == {IPV4_OVERLAY}
    assert carrying.withheld == {OVERLAY[200]}
    overlay, path = carrying.refused
    for sentence in (overlay, path):
        assert "fd00:abcd:1::ff:1 (the endpoint of peer hub-1" in sentence


def test_an_overlay_prefix_is_back_once_the_underlay_has_left_it() -> None:
    before = decide(TWO_HUBS, {}, PathMemory(), 0.0, False, frozenset({OVERLAY[9]}))
    assert OVERLAY not in before.carrying.routes
    after = decide(TWO_HUBS, {}, before.memory, 1.0, False)
    assert after.carrying == decide(TWO_HUBS, {}, PathMemory(), 1.0, False).carrying


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([OVERLAY, IPV4_OVERLAY, LAN]),
    st.integers(min_value=0, max_value=(1 << 16) - 1),
)
def test_control_traffic_is_never_routed_into_the_tunnel(prefix: Prefix, offset: int) -> None:
    address = prefix[offset % prefix.num_addresses]
    carrying = decide(TWO_HUBS, {}, PathMemory(), 0.0, False, frozenset({address})).carrying
    assert not [routed for routed in carrying.routes if address in routed]
    own = TWO_HUBS.network.interface
    assert address not in {own.address, own.overlay_ipv4} - carrying.withheld


def test_a_second_candidate_that_may_carry_it_does_and_the_first_is_reported() -> None:
    network = make_network(
        [make_peer("hub-1", 1, ()), make_peer("hub-2", 2)], [make_path("lan", LAN, HUB_1, HUB_2)]
    )
    carrying = decide(network, {}, PathMemory(), 0.0, False).carrying
    (choice,) = carrying.choices
    assert (choice.peer_id, choice.local) == (HUB_2, False)
    (sentence,) = carrying.refused
    assert "permit it there, or take the peer from the path" in sentence


def test_a_candidate_without_a_key_is_passed_over_until_it_has_one() -> None:
    keyless = replace(make_peer("hub-1", 1), public_key=None)
    path = make_path("lan", LAN, HUB_1, HUB_2)
    node = Node(make_network([keyless, make_peer("hub-2", 2)], [path]))
    carrying = node.decide().carrying
    assert (node.carriers, carrying.refused) == ({HUB_2}, ())
    node.network = make_network([make_peer("hub-1", 1), make_peer("hub-2", 2)], [path])
    node.decide()
    assert node.carriers == {HUB_1}


def test_a_change_of_what_peers_may_carry_or_of_an_endpoint_counts_at_once() -> None:
    node = Node(TWO_HUBS)
    node.decide()
    paths = list(TWO_HUBS.paths.values())
    node.network = make_network([make_peer("hub-1", 1, ()), TWO_HUBS.peers[HUB_2]], paths)
    node.decide()
    assert node.carriers == {HUB_2}
    bystander = make_peer("hub-3", 3)
    node.network = make_network([*TWO_HUBS.peers.values(), bystander], paths)
    assert LAN in node.decide().carrying.routes
    moved = replace(bystander, endpoint=Endpoint(IPv4Address("10.20.0.1"), 51820))
    node.network = NetworkState(
        node.network.network, {**node.network.peers, HUB_3: moved}, node.network.paths
    )
    assert LAN not in node.decide().carrying.routes


def test_a_dead_hub_is_left_after_the_grace_with_all_its_prefixes() -> None:
    for speaks, grace in ((False, LOCAL_GRACE), (True, PLATFORM_GRACE)):
        node = settled_node(platform_speaks=speaks)
        died = node.now
        node.sees(HUB_1, Liveness.DEAD)
        node.sleep(grace - 0.01)
        assert node.carriers == {HUB_1}
        decision = node.sleep(0.02)
        assert node.carriers == {HUB_2}
        assert node.moves[-1] == (died + grace, HUB_2)
        assert all(choice.local for choice in decision.carrying.choices)
        assert "hub-1 dead for" in decision.carrying.choices[0].reason


def test_nobody_moves_to_a_dead_or_unmeasured_hub() -> None:
    node = settled_node()
    node.sees(HUB_1, Liveness.DEAD)
    del node.readings[HUB_2]
    node.sleep(60.0)
    assert node.carriers == {HUB_1}
    node.sees(HUB_2, Liveness.DEAD)
    node.sleep(60.0)
    assert node.carriers == {HUB_1}


def test_own_line_lost_and_back_moves_nothing() -> None:
    """Both hubs are found dead 0.4 s apart, and answer again 0.4 s apart, the second one first."""
    node = settled_node()
    node.sees(HUB_1, Liveness.DEAD)
    node.sleep(0.4)
    node.sees(HUB_2, Liveness.DEAD)
    node.sleep(30.0)
    node.sees(HUB_2, Liveness.ALIVE)
    node.sleep(0.4)
    node.sees(HUB_1, Liveness.ALIVE)
    node.sleep(60.0)
    assert [carrier for _, carrier in node.moves] == [HUB_1]


def test_return_waits_for_the_hold_down_and_flaps_double_it() -> None:
    node = settled_node()
    for hold in (HOLD_DOWN, 2 * HOLD_DOWN, 4 * HOLD_DOWN):
        node.sees(HUB_1, Liveness.DEAD)
        node.sleep(10.0)
        assert node.carriers == {HUB_2}
        back = node.now
        node.sees(HUB_1, Liveness.ALIVE)
        node.sleep(hold - 0.1)
        assert node.carriers == {HUB_2}
        node.sleep(0.2)
        assert node.moves[-1] == (back + hold, HUB_1)


def test_flaps_are_forgotten_after_a_quiet_while() -> None:
    node = settled_node()
    for _ in range(3):
        node.sees(HUB_1, Liveness.DEAD)
        node.sleep(10.0)
        node.sees(HUB_1, Liveness.ALIVE)
        back = node.now
        node.sleep(1000.0)
        assert node.moves[-1] == (back + HOLD_DOWN, HUB_1)


def test_an_interrupted_hold_down_starts_anew() -> None:
    node = settled_node()
    node.sees(HUB_1, Liveness.DEAD)
    node.sleep(10.0)
    for _ in range(10):
        node.sees(HUB_1, Liveness.ALIVE)
        node.sleep(HOLD_DOWN - 1.0)
        node.sees(HUB_1, Liveness.DEAD)
        node.sleep(0.1)
        assert node.carriers == {HUB_2}


def test_a_hub_that_is_held_down_is_better_than_a_dead_one() -> None:
    node = settled_node()
    node.sees(HUB_1, Liveness.DEAD)
    node.sleep(10.0)
    node.sees(HUB_1, Liveness.ALIVE)
    node.sleep(2.5)
    node.sees(HUB_2, Liveness.DEAD)
    node.sleep(1.0)
    assert node.carriers == {HUB_1}


def test_the_platforms_new_order_is_obeyed_at_once_in_both_directions() -> None:
    node = settled_node()
    swapped = make_network(
        list(TWO_HUBS.peers.values()),
        [replace(path, candidates=(HUB_2, HUB_1)) for path in TWO_HUBS.paths.values()],
    )
    node.network = swapped
    decision = node.decide()
    assert node.carriers == {HUB_2}
    assert not any(choice.local for choice in decision.carrying.choices)
    node.network = TWO_HUBS
    node.sees(HUB_1, Liveness.DEAD)
    node.sleep(5.0)
    node.network = swapped
    node.decide()
    node.sees(HUB_1, Liveness.ALIVE)
    node.sleep(0.5)
    node.network = TWO_HUBS
    node.decide()
    assert node.carriers == {HUB_1}, "the platform says it is good: no hold-down"


def test_an_order_that_puts_a_dead_hub_first_is_obeyed_for_the_grace() -> None:
    node = settled_node()
    swapped = make_network(
        list(TWO_HUBS.peers.values()),
        [replace(path, candidates=(HUB_2, HUB_1)) for path in TWO_HUBS.paths.values()],
    )
    node.sees(HUB_2, Liveness.DEAD)
    node.sleep(60.0)
    node.network = swapped
    node.decide()
    assert node.carriers == {HUB_2}
    node.sleep(LOCAL_GRACE - 0.01)
    assert node.carriers == {HUB_2}
    node.sleep(0.02)
    assert node.carriers == {HUB_1}


def test_the_second_hub_gets_its_grace_too() -> None:
    node = Node(
        make_network(
            [make_peer(hub, number) for number, hub in enumerate(HUBS, start=1)],
            [make_path("lan", LAN, *HUBS)],
        )
    )
    for hub in HUBS:
        node.sees(hub, Liveness.ALIVE)
    node.sleep(10.0)
    node.sees(HUB_1, Liveness.DEAD)
    node.sleep(10.0)
    node.sees(HUB_2, Liveness.DEAD)
    node.sleep(LOCAL_GRACE - 0.01)
    assert node.carriers == {HUB_2}
    node.sleep(0.02)
    assert node.carriers == {HUB_3}


def test_a_new_path_on_a_dead_hub_goes_where_the_others_are() -> None:
    node = settled_node()
    node.sees(HUB_1, Liveness.DEAD)
    node.sleep(10.0)
    node.network = make_network(
        [*TWO_HUBS.peers.values()],
        [*TWO_HUBS.paths.values(), make_path("new", ip_network("10.20.3.0/24"), HUB_1, HUB_2)],
    )
    node.decide()
    assert node.carriers == {HUB_2}


def device_of(carrying: Carrying) -> WireguardDevice:
    peers = {
        PublicKey(f"key of {peer_id}"): WireguardPeer(
            PublicKey(f"key of {peer_id}"), None, None, 0, 0, 0, owned, False
        )
        for peer_id, owned in carrying.allowed_ips.items()
    }
    return WireguardDevice("wg-sdwan-core", Backend.KERNEL, None, 51820, peers)


def test_a_restart_while_a_hub_is_dead_changes_no_packets_way() -> None:
    node = settled_node()
    node.sees(HUB_1, Liveness.DEAD)
    before = node.sleep(10.0).carrying
    again = Node(TWO_HUBS, memory=recall(TWO_HUBS, device_of(before), 1.0), now=1.0)
    assert again.decide().carrying.allowed_ips == before.allowed_ips
    again.sleep(5.0)
    again.sees(HUB_1, Liveness.DEAD)
    again.sees(HUB_2, Liveness.ALIVE)
    again.sleep(100.0)
    assert [carrier for _, carrier in again.moves] == [HUB_2]


def test_an_avoided_hub_that_is_not_measured_any_more_comes_back() -> None:
    node = settled_node()
    node.sees(HUB_1, Liveness.DEAD)
    node.sleep(10.0)
    del node.readings[HUB_1]
    gone = node.now
    node.sleep(UNMEASURED_RETURN + 1.0)
    assert node.moves[-1] == (gone + UNMEASURED_RETURN, HUB_1)


def test_untouched_peers_keep_their_very_sets() -> None:
    first = decide(TWO_HUBS, {}, PathMemory(), 0.0, False)
    second = decide(TWO_HUBS, {}, first.memory, 1.0, False)
    assert second.carrying.allowed_ips[HUB_2] is first.carrying.allowed_ips[HUB_2]


# Properties. Prefixes nest and repeat across families on purpose.
PREFIXES: list[Prefix] = [
    OVERLAY,
    IPv6Network("fd00:abcd:1::100/128"),
    IPv6Network(OVERLAY[200]),
    IPv6Network("fd00:abcd:1:cafe::/96"),
    ip_network("10.20.0.0/16"),
    ip_network("10.20.3.0/24"),
    OWN_LAN,
    ip_network("10.9.7.0/24"),
    ip_network("10.0.0.0/8"),
    ip_network("203.0.113.0/24"),
    ip_network("0.0.0.0/0"),
]


@st.composite
def networks(draw: st.DrawFn) -> NetworkState:
    peers = [
        make_peer(hub, number, tuple(draw(st.lists(st.sampled_from(PREFIXES), max_size=6))))
        for number, hub in enumerate(HUBS, start=1)
    ]
    chosen = draw(st.lists(st.sampled_from(PREFIXES), unique=True, max_size=6))
    paths = [
        make_path(
            f"path-{n}",
            prefix,
            *draw(st.lists(st.sampled_from(HUBS), min_size=1, max_size=3, unique=True)),
        )
        for n, prefix in enumerate(chosen)
    ]
    return make_network(peers, paths)


histories = st.lists(
    st.tuples(
        st.sampled_from(HUBS),
        st.sampled_from([Liveness.ALIVE, Liveness.DEAD, None]),
        st.floats(min_value=0.01, max_value=20.0),
    ),
    max_size=25,
)


def check_carrying(network: NetworkState, decision: Decision) -> None:
    carrying = decision.carrying
    counted = Counter(prefix for owned in carrying.allowed_ips.values() for prefix in owned)
    assert not [prefix for prefix, times in counted.items() if times > 1]
    own = network.network.interface
    for peer_id, owned in carrying.allowed_ips.items():
        peer = network.peers[peer_id]
        assert owned.issuperset(peer.host_prefixes)
        assert all(peer.may_carry(prefix) for prefix in owned)
    for prefix in [*counted, *carrying.routes]:
        assert prefix not in (IPv6Network(own.address), ip_network("100.64.0.200/32"))
        assert not (
            prefix.version == 4 and prefix.network_address in OWN_LAN and prefix.prefixlen >= 16
        )
        assert IPv4Address("203.0.113.1") not in prefix
    assert set(carrying.allowed_ips) == set(network.peers)


def shuffled(network: NetworkState) -> NetworkState:
    return NetworkState(
        network.network,
        dict(reversed(list(network.peers.items()))),
        dict(reversed(list(network.paths.items()))),
    )


@settings(max_examples=150, deadline=None)
@given(networks(), histories, st.booleans())
def test_what_holds_of_every_decision(
    network: NetworkState,
    history: list[tuple[PeerId, Liveness | None, float]],
    speaks: bool,
) -> None:
    node, mirror = Node(network, speaks), Node(shuffled(network), speaks)
    for peer, state, pause in history:
        for each in (node, mirror):
            if state is None:
                each.readings.pop(peer, None)
            else:
                each.sees(peer, state)
            each.readings = dict(reversed(each.readings.items()))
        decision = node.sleep(pause)
        assert mirror.sleep(pause) == decision, "the order of a mapping decided something"
        check_carrying(network, decision)
        check_no_needlessly_dead_choice(node, decision)


def check_no_needlessly_dead_choice(node: Node, decision: Decision) -> None:
    for choice in decision.carrying.choices:
        carrier = node.readings.get(choice.peer_id) if choice.peer_id is not None else None
        if carrier is None or carrier.state is not Liveness.DEAD:
            continue
        if node.now - carrier.since < PLATFORM_GRACE + SETTLED:
            continue
        path = node.network.paths[choice.path_id]
        for candidate in path.candidates:
            other = node.readings.get(candidate)
            if (
                other is not None
                and other.state is Liveness.ALIVE
                and node.network.peers[candidate].may_carry(path.prefix)
            ):
                assert node.now - other.since < SETTLED + 0.001


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([Liveness.ALIVE, Liveness.DEAD]), st.floats(0.01, 15.0)),
        max_size=40,
    )
)
def test_no_return_sooner_than_the_hold_down(history: list[tuple[Liveness, float]]) -> None:
    """The first hub comes and goes at random; the second stands."""
    node = settled_node()
    for state, pause in history:
        node.sees(HUB_1, state)
        node.sleep(pause)
    for (left, carrier), (returned, _) in zip(node.moves, node.moves[1:], strict=False):
        if carrier == HUB_2:
            assert returned - left >= HOLD_DOWN - 1e-6


def test_a_spokes_address_stays_with_the_spoke() -> None:
    spoke = replace(make_peer("spoke", 9, ()), role=PeerRole.SPOKE, host_ipv4=None)
    network = make_network([make_peer("hub-1", 1), spoke], [make_path("overlay", OVERLAY, HUB_1)])
    carrying = decide(network, {}, PathMemory(), 0.0, False).carrying
    assert carrying.allowed_ips[spoke.id] == {IPv6Network(IPv6Address("fd00:abcd:1::9"))}

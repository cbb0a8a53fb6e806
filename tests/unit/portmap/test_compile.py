"""Port mappings to a fragment of the table: golden text, and what holds for any set of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.firewall.compile import compile_filter
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.ruleset import Hook
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.nftables.composition import whole
from powernode_agent.nftables.script import Key
from powernode_agent.portmap.compile import (
    Flow,
    MappedNetwork,
    compile_mappings,
    intermediate_ports,
)
from powernode_agent.portmap.translator import INSIDE_IPV4, INSIDE_IPV6

NET = NetworkId("net-core")
GOLDEN = Path(__file__).parent / "golden"
TCP, UDP = MappingProtocol.TCP, MappingProtocol.UDP


def mapping(
    id_: str,
    external: str,
    internal: str,
    protocol: MappingProtocol = TCP,
    port: int = 443,
    to: int = 8443,
) -> PortMapping:
    return PortMapping(
        PortMappingId(id_), NET, ip_address(external), port, protocol, ip_address(internal), to
    )


def state_of(mappings: Iterable[PortMapping]) -> NetworkState:
    network = Network(
        id=NET,
        name="core",
        handle="core",
        prefix=IPv6Network("fd00:1::/64"),
        routing_mode=RoutingMode.STATIC,
        interface=Interface(
            peer_id=PeerId("hub"),
            address=IPv6Address("fd00:1::1"),
            role=PeerRole.HUB,
            listen_port=51820,
            key=NodeKey(1),
            overlay_ipv4=IPv4Address("10.77.0.1"),
        ),
        overlay_ipv4_prefix=IPv4Network("10.77.0.0/24"),
    )
    return NetworkState(network, port_mappings={each.id: each for each in mappings})


def compiled(*mappings: PortMapping, refused: Iterable[str] = ()) -> MappedNetwork:
    out = compile_mappings(
        {NET: state_of(mappings)}, frozenset(PortMappingId(each) for each in refused)
    )
    return out[NET]


def text_of(mapped: MappedNetwork) -> str:
    return whole({Key("portmap", NET): mapped.fragment}).text()


@pytest.mark.parametrize(
    ("golden", "mappings"),
    [
        ("6-to-6", [mapping("pm-1", "2001:db8::5", "fd00:1::42")]),
        ("4-to-4", [mapping("pm-1", "203.0.113.5", "10.77.0.42", UDP)]),
        ("4-to-6", [mapping("pm-1", "203.0.113.5", "fd00:1::42")]),
    ],
)
def test_the_whole_table_of_one_mapping(golden: str, mappings: list[PortMapping]) -> None:
    assert text_of(compiled(*mappings)) == (GOLDEN / f"{golden}.nft").read_text()


def test_from_ipv4_to_ipv6_it_is_rewritten_before_and_after_the_nat64() -> None:
    mapped = compiled(mapping("pm-1", "203.0.113.5", "fd00:1::42"))
    assert mapped.translations == {
        Flow(TCP, ip_address("203.0.113.5"), 443): Flow(TCP, INSIDE_IPV4, 443),
        Flow(TCP, INSIDE_IPV6, 443): Flow(TCP, ip_address("fd00:1::42"), 8443),
    }
    assert mapped.by_nat64 == {"pm-1"}
    assert mapped.outside_ipv4 == {IPv4Address("203.0.113.5")}
    lines = {hook: [line.text for line in lines] for hook, lines in mapped.fragment.hooks.items()}
    assert lines[Hook.DNAT] == [
        "ip daddr . tcp dport vmap @n_core_map_tcp4",
        'iifname "pn-nat64" ip6 daddr fdc2:d5cd:4cb6::6 tcp dport vmap @n_core_map_nat64_tcp',
    ]
    assert lines[Hook.DNAT_LOCAL] == ["ip daddr . tcp dport vmap @n_core_map_tcp4"]
    # Its IPv4 side is not sent as the hub's own: the NAT64 has to see the client.
    assert "n_core_map_from_tcp4" not in mapped.fragment.objects
    assert lines[Hook.FORWARD_EGRESS][-1] == 'ip daddr 192.0.0.6 oifname != "pn-nat64" drop'


def test_a_refused_mapping_is_left_out_and_the_last_one_takes_all_along() -> None:
    one, two = mapping("a", "2001:db8::5", "fd00:1::2"), mapping("b", "2001:db8::6", "fd00:1::2")
    assert compiled(one, two, refused=["b"]).fragment == compiled(one).fragment
    assert compile_mappings({NET: state_of([one])}, {PortMappingId("a")}) == {}
    assert compile_mappings({NET: state_of([])}, ()) == {}


def test_names_are_none_of_the_filters() -> None:
    filters = compile_filter(state_of([]), (), 1420).fragment
    mapped = compiled(
        mapping("a", "203.0.113.5", "fd00:1::2"), mapping("b", "203.0.113.6", "10.77.0.2", UDP)
    )
    assert not filters.objects.keys() & mapped.fragment.objects.keys()
    assert all(name.startswith("n_core_map_") for name in mapped.fragment.objects)


outside = st.sampled_from(["203.0.113.5", "203.0.113.6", "203.0.113.7", "2001:db8::5"])
ports = st.sampled_from([1, 53, 443, 65535])


@st.composite
def mapping_sets(draw: st.DrawFn) -> list[PortMapping]:
    sides = draw(st.sets(st.tuples(outside, ports, st.sampled_from(MappingProtocol)), max_size=12))
    made = []
    for number, (external, port, protocol) in enumerate(sorted(sides, key=str)):
        inside = ["fd00:1::2", "fd00:1::3"] + ([] if ":" in external else ["10.77.0.2"])
        to = draw(st.sampled_from(inside))
        # Ids in another order than addresses.
        made.append(mapping(f"pm-{number * 7 % 13}-{number}", external, to, protocol, port))
    return made


@given(mapping_sets(), st.randoms())
def test_the_order_in_which_mappings_come_does_not_matter(
    mappings: list[PortMapping], random: object
) -> None:
    shuffled = list(mappings)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert compile_mappings({NET: state_of(mappings)}, ()) == compile_mappings(
        {NET: state_of(shuffled)}, ()
    )


@given(mapping_sets())
def test_intermediate_ports_are_unique_and_mostly_the_external_one(
    mappings: list[PortMapping],
) -> None:
    found = intermediate_ports(mappings)
    by_id = {each.id: each for each in mappings}
    used = [(by_id[id_].protocol, port) for id_, port in found.items()]
    assert len(set(used)) == len(used)
    assert all(1 <= port <= 65535 for port in found.values())
    for id_, port in found.items():
        mine = by_id[id_]
        rivals = [
            each
            for each in mappings
            if each.id in found
            and each.protocol is mine.protocol
            and each.external_port == mine.external_port
        ]
        if len(rivals) == 1:
            assert port == mine.external_port


@given(mapping_sets())
def test_every_packet_has_one_way_and_each_way_ends_at_its_target(
    mappings: list[PortMapping],
) -> None:
    mapped = compile_mappings({NET: state_of(mappings)}, ())
    translations = mapped[NET].translations if mapped else {}
    for each in mappings:
        at = Flow(each.protocol, each.external_address, each.external_port)
        at = translations[at]
        if at.address == INSIDE_IPV4:
            at = translations[at._replace(address=INSIDE_IPV6)]
        assert at == Flow(each.protocol, each.internal_address, each.internal_port)


def test_networks_share_the_ports_of_the_one_nat64() -> None:
    other = NetworkId("net-other")
    one = state_of([mapping("a", "203.0.113.5", "fd00:1::2")])
    two = NetworkState(
        replace(one.network, id=other, handle="other"),
        port_mappings={
            PortMappingId("b"): replace(mapping("b", "203.0.113.6", "fd00:1::3"), network_id=other)
        },
    )
    out = compile_mappings({NET: one, other: two}, ())
    inner = [
        {sent for sent in each.translations if sent.address == INSIDE_IPV6} for each in out.values()
    ]
    assert len(inner[0] | inner[1]) == 2
    text = whole({Key("portmap", id_): each.fragment for id_, each in out.items()}).text()
    assert text.count("jump n_other_map_") == 2


@pytest.mark.parametrize("count", [2000])
def test_many_mappings_of_one_port_find_a_place(count: int) -> None:
    mappings = [
        mapping(f"pm-{n}", str(IPv4Address("203.0.0.0") + n), "fd00:1::2") for n in range(count)
    ]
    found = intermediate_ports(mappings)
    assert len(set(found.values())) == count

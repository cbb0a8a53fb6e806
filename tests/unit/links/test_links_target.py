"""Targets, MTU and settings: the pure half of the room of links."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.links.mtu import derive_mtu
from powernode_agent.links.settings import Setting, differing, host_settings, link_settings
from powernode_agent.links.target import compile_links
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Revision

V4 = ip_address("203.0.113.5")
V6 = ip_address("2001:db8::5")


@pytest.mark.parametrize(
    ("fixed", "underlay", "default", "expected"),
    [
        (None, [(V6, 1500)], None, 1420),
        (None, [(V4, 1500)], None, 1440),
        (None, [(V4, 1500), (V6, 1480)], 9000, 1400),
        (1333, [(V4, 1500)], 1500, 1333),
        (None, [], 1500, 1420),
        (None, [], 1400, 1320),
        (None, [], None, 1420),
        (None, [(V6, 1280)], None, 1280),
        (None, [(V4, 65536)], None, 9000),
    ],
)
def test_the_mtu(
    fixed: int | None,
    underlay: list[tuple[IPv4Address | IPv6Address, int]],
    default: int | None,
    expected: int,
) -> None:
    assert derive_mtu(fixed, underlay, default) == expected


@given(st.lists(st.tuples(st.sampled_from([V4, V6]), st.integers(68, 65536))))
def test_an_mtu_always_fits_ipv6_and_no_way_is_too_narrow_without_need(
    underlay: list[tuple[IPv4Address | IPv6Address, int]],
) -> None:
    mtu = derive_mtu(None, underlay, None)
    assert 1280 <= mtu <= 9000
    if mtu > 1280:
        assert all(mtu + (80 if a.version == 6 else 60) <= way for a, way in underlay)


def _state(role: PeerRole) -> DesiredState:
    network = Network(
        id=NetworkId("n1"),
        name="core",
        handle="core",
        prefix=IPv6Network("fd00:1::/64"),
        routing_mode=RoutingMode.STATIC,
        interface=Interface(
            PeerId("self"), IPv6Address("fd00:1::1"), role, 51820, NodeKey(1), mtu=None
        ),
    )
    return DesiredState(Revision(1), Node(NodeId("n"), "n"), {network.id: NetworkState(network)})


def test_a_target_says_unknown_where_nothing_was_decided_or_measured() -> None:
    target = compile_links(_state(PeerRole.SPOKE), {}, {})[NetworkId("n1")]
    assert (target.routes, target.mtu) == (None, None)
    assert (target.name, target.alias) == ("wg-sdwan-core", "powernode-sdwan:n1")


def test_a_target_takes_the_routes_that_paths_decided() -> None:
    network_id = NetworkId("n1")
    routes = frozenset({ip_network("fd00:1::/64")})
    targets = compile_links(
        _state(PeerRole.HUB), {network_id: Carrying(network_id, {}, routes)}, {network_id: 1400}
    )
    target = targets[network_id]
    assert (target.routes, target.mtu, target.forwards) == (routes, 1400, True)
    assert target.addresses == {IPv6Address("fd00:1::1")}
    assert Setting("net/ipv4/conf/wg-sdwan-core/forwarding", "1") in target.settings


def test_a_target_leaves_out_the_address_that_paths_withholds() -> None:
    network_id = NetworkId("n1")
    own = IPv6Address("fd00:1::1")
    carrying = Carrying(network_id, {}, frozenset(), withheld=frozenset({own}))
    target = compile_links(_state(PeerRole.HUB), {network_id: carrying}, {})[network_id]
    assert target.addresses == frozenset()


class FakeSysctls:
    """Settings in a dictionary."""

    def __init__(self, values: dict[str, str]) -> None:
        self.values = values

    def read(self, key: str) -> str | None:
        return self.values.get(key)

    def write(self, setting: Setting) -> None:
        self.values[setting.key] = setting.value

    def ipv6_links(self) -> tuple[str, ...]:
        return tuple(sorted({key.split("/")[3] for key in self.values} - {"all", "default"}))


def _conf(link: str, accept_ra: str, forwarding: str) -> dict[str, str]:
    start = f"net/ipv6/conf/{link}"
    return {f"{start}/accept_ra": accept_ra, f"{start}/forwarding": forwarding}


def test_links_that_accept_advertisements_keep_them_and_only_they() -> None:
    sysctls = FakeSysctls(
        {
            **_conf("all", "1", "0"),
            **_conf("eth0.100", "1", "0"),
            **_conf("routed0", "1", "1"),
            **_conf("refuses0", "0", "0"),
            **_conf("already0", "2", "0"),
            **_conf("lo", "1", "0"),
            **_conf("wg-sdwan-core", "1", "0"),
        }
    )
    found = host_settings(
        sysctls,
        lan_links=frozenset(),
        ipv4_overlay=False,
        our_links=frozenset({"wg-sdwan-core"}),
    )
    assert found == (
        Setting("net/ipv6/conf/eth0.100/accept_ra", "2"),
        Setting("net/ipv6/conf/all/forwarding", "1"),
    )


def test_a_host_that_forwards_already_is_left_alone() -> None:
    sysctls = FakeSysctls({**_conf("all", "1", "1"), **_conf("eth0", "1", "0")})
    assert (
        host_settings(sysctls, lan_links=frozenset(), ipv4_overlay=False, our_links=frozenset())
        == ()
    )


def test_settings_that_are_right_are_not_written_again() -> None:
    wanted = link_settings("wg-sdwan-core", forwards=True)
    sysctls = FakeSysctls({})
    assert differing(wanted, sysctls) == wanted
    for setting in wanted:
        sysctls.write(setting)
    assert differing(wanted, sysctls) == ()


@pytest.mark.parametrize("endpoint", ["203.0.113.1", "2001:db8::1", None])
def test_with_pods_every_node_over_ethernet_has_the_same_mtu(endpoint: str | None) -> None:
    underlay = [] if endpoint is None else [(ip_address(endpoint), 1500)]
    assert derive_mtu(None, underlay, 1500, pods=True) == 1420
    assert derive_mtu(1300, underlay, 1500, pods=True) == 1300

"""Endpoint candidates: usable addresses only, public before private."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_address

import pytest

from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Revision
from powernode_agent.report.endpoints import InterfaceAddress, endpoint_candidates, is_private


def network(name: str, prefix: str, port: int) -> tuple[NetworkId, NetworkState]:
    overlay = IPv6Network(prefix)
    interface = Interface(PeerId("self"), overlay[1], PeerRole.HUB, port, NodeKey(1))
    network_id = NetworkId(name)
    return network_id, NetworkState(
        Network(network_id, name, name, overlay, RoutingMode.STATIC, interface)
    )


STATE = DesiredState(
    Revision(1),
    Node(NodeId("n"), "node"),
    dict([network("core", "fd00:1::/64", 51820), network("ops", "fd00:2::/64", 51821)]),
)


def seen(*addresses: InterfaceAddress) -> list[str]:
    return [
        f"{found.network_id} {found.endpoint}" for found in endpoint_candidates(STATE, addresses)
    ]


def at(address: str, interface: str = "eth0", **flags: bool) -> InterfaceAddress:
    return InterfaceAddress(interface, ip_address(address), **flags)


def test_public_first_then_ipv4_then_by_value_for_every_network() -> None:
    addresses = [
        at("fd12::7"),
        at("10.0.0.5"),
        at("2001:db8::5"),
        at("203.0.113.9"),
        at("203.0.113.5"),
        at("203.0.113.5", "eth1"),
    ]
    core = [
        "core 203.0.113.5:51820",
        "core 203.0.113.9:51820",
        "core [2001:db8::5]:51820",
        "core 10.0.0.5:51820",
        "core [fd12::7]:51820",
    ]
    ops = [line.replace("core", "ops").replace("51820", "51821") for line in core]
    assert seen(*addresses) == core + ops
    assert seen(*reversed(addresses)) == core + ops


@pytest.mark.parametrize(
    "unusable",
    [
        at("127.0.0.1", "lo"),
        at("203.0.113.5", "lo"),
        at("::1"),
        at("169.254.3.4"),
        at("fe80::1"),
        at("fd00:1::1", "wg-sdwan-core"),
        at("2001:db8::1", deprecated=True),
        at("2001:db8::1", temporary=True),
        at("2001:db8::1", tentative=True),
        at("::ffff:203.0.113.5"),
    ],
)
def test_addresses_that_nobody_can_use_are_left_out(unusable: InterfaceAddress) -> None:
    assert seen(unusable) == []


def test_without_desired_state_there_are_no_ports_to_offer() -> None:
    assert endpoint_candidates(None, [at("203.0.113.5")]) == ()


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("203.0.113.1", False),
        ("198.51.100.1", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("8.8.8.8", False),
        ("10.1.1.1", True),
        ("172.31.0.1", True),
        ("172.32.0.1", False),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("fd00::1", True),
    ],
)
def test_documentation_ranges_count_as_public(address: str, private: bool) -> None:
    assert is_private(ip_address(address)) is private

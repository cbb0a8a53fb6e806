"""Which mappings are not applied, and whether the error names what an operator needs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

import pytest

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.portmap.clashes import Listener, find_clashes
from powernode_agent.portmap.compile import Flow

NET = NetworkId("net-core")
TCP, UDP = MappingProtocol.TCP, MappingProtocol.UDP
NETWORK = Network(
    id=NET,
    name="core",
    handle="core",
    prefix=IPv6Network("fd00:1::/64"),
    routing_mode=RoutingMode.STATIC,
    interface=Interface(
        peer_id=PeerId("hub"),
        address=IPv6Network("fd00:1::/64")[1],
        role=PeerRole.HUB,
        listen_port=51820,
        key=NodeKey(1),
    ),
)


def mapping(external: str, internal: str = "fd00:1::2") -> PortMapping:
    return PortMapping(
        PortMappingId("pm-1"), NET, ip_address(external), 443, TCP, ip_address(internal), 8443
    )


def clash(one: PortMapping, *listeners: Listener, network: Network = NETWORK) -> str:
    state = NetworkState(network, port_mappings={one.id: one})
    found = find_clashes([state], listeners, ()).refused
    return str(found[one.id]) if one.id in found else ""


@pytest.mark.parametrize(
    ("external", "listener", "held"),
    [
        ("203.0.113.5", "203.0.113.5", True),
        ("203.0.113.5", "203.0.113.6", False),
        ("203.0.113.5", "0.0.0.0", True),  # noqa: S104
        ("203.0.113.5", "::", True),
        ("203.0.113.5", "127.0.0.1", False),
        ("2001:db8::5", "2001:db8::5", True),
        ("2001:db8::5", "2001:db8::6", False),
        ("2001:db8::5", "::", True),
        ("2001:db8::5", "0.0.0.0", False),  # noqa: S104
    ],
)
def test_a_listener_holds_its_address_or_all_of_its_family(
    external: str, listener: str, held: bool
) -> None:
    one = mapping(external)
    assert bool(clash(one, Listener(TCP, ip_address(listener), 443))) is held
    if listener == "::":
        only_ipv6 = Listener(TCP, ip_address(listener), 443, ipv6_only=True)
        assert bool(clash(one, only_ipv6)) is (":" in external)
    assert not clash(one, Listener(UDP, ip_address(listener), 443))
    assert not clash(one, Listener(TCP, ip_address(listener), 444))


@pytest.mark.parametrize("mapped", [443, 444])
def test_who_listens_on_a_port_that_is_mapped_already_does_not_end_the_mapping(mapped: int) -> None:
    """Any local user may listen above 1023."""
    one, listener = mapping("203.0.113.5"), Listener(TCP, ip_address("0.0.0.0"), 443)  # noqa: S104
    in_force = {Flow(TCP, one.external_address, mapped)}
    state = NetworkState(NETWORK, port_mappings={one.id: one})
    found = find_clashes([state], [listener], in_force)
    if mapped == 443:
        assert (found.refused, found.outvoted) == ({}, {one.id: listener})
    else:
        assert (list(found.refused), found.outvoted) == ([one.id], {})
    assert found.same(find_clashes([state], [listener], in_force))
    assert not found.same(find_clashes([state], [], in_force))


def test_the_error_names_mapping_port_listener_and_the_command() -> None:
    text = clash(mapping("2001:db8::5"), Listener(TCP, ip_address("::"), 443))
    assert "pm-1" in text
    assert "tcp [2001:db8::5]:443" in text
    assert "[::]:443" in text
    assert "ss -tlnp 'sport = :443'" in text


def test_ipv4_inside_needs_an_ipv4_address_of_the_hubs_own() -> None:
    network = replace(NETWORK, overlay_ipv4_prefix=IPv4Network("10.77.0.0/24"))
    assert "overlay_ipv4" in clash(mapping("203.0.113.5", "10.77.0.2"), network=network)
    assert not clash(mapping("203.0.113.5"), network=network)
    own = replace(network.interface, overlay_ipv4=IPv4Address("10.77.0.1"))
    network = replace(network, interface=own)
    assert not clash(mapping("203.0.113.5", "10.77.0.2"), network=network)

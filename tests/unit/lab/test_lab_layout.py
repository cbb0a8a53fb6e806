"""Topologies, their wiring, their file, and what the lab writes for a node: all without root."""

from __future__ import annotations

import tomllib
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netns_lab import topology_file, wiring
from netns_lab.agent_config import agent_config
from netns_lab.errors import LabError
from netns_lab.topology import (
    Access,
    Role,
    Site,
    Topology,
    build,
    plain_topology,
    reference_topology,
)

ACCESSES = st.lists(st.sampled_from(Access), max_size=12)


def topology_of(accesses: list[Access], hubs: int = 2) -> Topology:
    sites = tuple(
        Site(f"spoke-{n}", access, "" if access is Access.OPEN else f"gate-{n}")
        for n, access in enumerate(accesses)
    )
    return build(hubs=tuple(f"hub-{n}" for n in range(1, hubs + 1)), spokes=sites)


def test_reference_topology_is_what_the_issue_asks_for() -> None:
    topology = reference_topology()
    roles = {node.name: node.role for node in topology.nodes}
    assert roles == {
        "router": Role.ROUTER,
        "platform": Role.PLATFORM,
        "hub-1": Role.HUB,
        "hub-2": Role.HUB,
        "nat": Role.NAT,
        "spoke-nat": Role.SPOKE,
        "firewall": Role.FIREWALL,
        "spoke-fw": Role.SPOKE,
        "spoke-open": Role.SPOKE,
        "cafe": Role.NAT,
        "laptop": Role.LAPTOP,
    }
    assert [node.name for node in topology.agents()] == [
        "hub-1",
        "hub-2",
        "spoke-nat",
        "spoke-fw",
        "spoke-open",
    ]
    assert topology.underlay_ipv4("platform") == IPv4Address("203.0.113.2")


@given(ACCESSES)
def test_addresses_are_unique_and_from_their_pools(accesses: list[Access]) -> None:
    topology = topology_of(accesses)
    ends = [
        end
        for link in topology.links
        for end in (link.upper_ipv4, link.lower_ipv4, link.upper_ipv6, link.lower_ipv6)
        if end is not None
    ]
    assert len({end.ip for end in ends}) == len(ends)
    pools = ("203.0.113.0/24", "198.51.100.0/24", "192.0.2.0/24", "192.168.0.0/16")
    for link in topology.links:
        assert any(link.lower_ipv4.ip in IPv4Network(pool) for pool in pools)
        assert link.upper_ipv4.network == link.lower_ipv4.network
        assert link.lower_ipv6 is None or str(link.lower_ipv6).startswith("2001:db8:")


@given(ACCESSES)
def test_every_public_address_is_reachable_by_the_routers_routes(accesses: list[Access]) -> None:
    """Connected networks, plus the routes behind firewalls; never a route to a private LAN."""
    topology = topology_of(accesses)
    router = wiring.wire(topology, lambda name: f"ns-{name}")[0]
    connected = [link.upper_ipv4.network for link in topology.links if link.upper == "router"]
    routed = [IPv4Network(line.split()[2]) for line in router.routes if "." in line.split()[2]]
    for node in topology.agents():
        for address in topology.seen_as(node.name):
            if address.version == 4:
                assert any(address in network for network in connected + routed)
    assert not any(network.is_private and str(network).startswith("192.168") for network in routed)


def test_a_node_behind_nat_is_seen_as_its_nat() -> None:
    topology = reference_topology()
    assert topology.seen_as("spoke-nat") == (topology.underlay_ipv4("nat"),)
    assert topology.underlay_ipv6("spoke-nat") is None
    assert ip_address("192.0.2.2") in topology.seen_as("spoke-fw")
    assert topology.router_device("spoke-nat") == "nat"
    assert topology.router_device("hub-1") == "hub-1"


def test_only_gateways_and_the_router_forward() -> None:
    for each in wiring.wire(reference_topology(), lambda name: name):
        gateway = each.node.role in {Role.ROUTER, Role.NAT, Role.FIREWALL}
        assert dict(each.sysctls)["net/ipv4/ip_forward"] == ("1" if gateway else "0")
        assert dict(each.sysctls)["net/ipv6/conf/all/forwarding"] == ("1" if gateway else "0")


@pytest.mark.parametrize(
    ("hubs", "spokes", "message"),
    [
        (("Hub",), (), "bad name"),
        (("a" * 15,), (), "bad name"),
        (("hub", "hub"), (), "taken"),
        (("router",), (), "taken"),
        (("eth0",), (), "taken"),
        (("hub",), (Site("spoke", Access.NAT),), "does not fit"),
        (("hub",), (Site("spoke", Access.OPEN, "nat"),), "does not fit"),
        (tuple(f"h{n}" for n in range(64)), (), "no addresses left"),
    ],
)
def test_what_cannot_be_built_is_refused(
    hubs: tuple[str, ...], spokes: tuple[Site, ...], message: str
) -> None:
    with pytest.raises(LabError, match=message):
        build(hubs=hubs, spokes=spokes)


def test_leaving_the_platform_out_renumbers_nobody() -> None:
    with_platform = plain_topology(hubs=2)
    without = plain_topology(hubs=2, platform=False)
    assert with_platform.underlay_ipv4("hub-2") == without.underlay_ipv4("hub-2")


def test_an_unknown_node_is_named_with_those_that_exist() -> None:
    with pytest.raises(LabError, match=r"hub-9.*hub-1"):
        plain_topology().node("hub-9")


@given(accesses=ACCESSES)
def test_a_topology_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, accesses: list[Access]
) -> None:
    path = tmp_path_factory.mktemp("lab") / "lab.json"
    topology_file.write(path, topology_of(accesses))
    assert topology_file.read(path) == topology_of(accesses)


def test_a_half_written_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lab.json"
    topology_file.write(path, plain_topology())
    path.write_text(path.read_text()[:100])
    with pytest.raises(LabError, match="half made"):
        topology_file.read(path)


def test_the_nodes_config_is_toml_with_the_agents_keys() -> None:
    text = agent_config(name="hub-1", platform=("203.0.113.2:8443", "203.0.113.2:8444"))
    assert tomllib.loads(text) == {
        "platform": {
            "address": "203.0.113.2:8443",
            "enrolment_address": "203.0.113.2:8444",
            "ca_file": "/etc/powernode-agent/platform-ca.pem",
            "token_file": "/etc/powernode-agent/enrolment-token",
        },
        "k3s": {"restart_program": "/etc/rancher/restart-k3s"},
        "node": {"name": "hub-1"},
        "wireguard": {"backend": "auto"},
        "health": {"patience": 0.2},
        "log": {"level": "info"},
        "metrics": {"listen": "[::1]:9547"},
    }
    assert "platform" not in tomllib.loads(agent_config(name="hub-1", platform=None))

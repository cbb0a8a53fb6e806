"""Worlds that several of these tests start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from firewall_world import Json, call, rule_row
from platform_world import Lab
from sqlalchemy import insert

from netns_lab.platform.core import open_platform
from netns_lab.platform.tables import (
    Account,
    FirewallRuleRow,
    Network,
    NodeInstance,
    VirtualIp,
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    clock = [1_000.0]
    platform = open_platform(tmp_path, lambda: clock[0], 3600.0)
    made = Lab(platform, clock)
    network = platform.call("system_sdwan_create_network", {"name": "core"})["network"]
    assert isinstance(network, dict)
    made.network_id = network["id"]
    yield made
    platform.close()


@pytest.fixture
def star(lab: Lab) -> Lab:
    for number in (1, 2):
        lab.attach(f"hub-{number}", publicly_reachable=True, endpoint_address=f"203.0.113.{number}")
    for name in ("a", "b"):
        lab.attach(name)
    lab.online("hub-1", "hub-2", "a", "b")
    return lab


@pytest.fixture
def ibgp(lab: Lab) -> Lab:
    """As `star`, on an iBGP network with IPv4."""
    made = call(
        lab,
        "system_sdwan_create_network",
        name="bgp",
        routing_mode="ibgp",
        overlay_ipv4_prefix="100.64.0.0/24",
    )["network"]
    lab.network_id = str(cast(Json, made)["id"])
    for number in (1, 2):
        lab.attach(f"hub-{number}", publicly_reachable=True, endpoint_address=f"203.0.113.{number}")
    for name in ("a", "b"):
        lab.attach(name)
    lab.online("hub-1", "hub-2", "a", "b")
    return lab


@pytest.fixture
def other(star: Lab) -> Lab:
    """`star` with a second network that has a peer, a virtual IP and a rule; and another account's."""
    made = call(star, "system_sdwan_create_network", name="ops")["network"]
    ops = str(cast(Json, made)["id"])
    node = cast(Json, call(star, "lab_create_node_instance", name="far")["node_instance"])
    peer = call(star, "system_sdwan_attach_peer", network_id=ops, node_instance_id=str(node["id"]))[
        "peer"
    ]
    star.nodes["far"], star.peers["far"] = str(node["id"]), str(cast(Json, peer)["id"])
    foreign = {
        "id": "net-foreign",
        "account_id": "acct-foreign",
        "name": "foreign",
        "description": "",
        "handle": "frgn",
        "prefix": "fd77::/64",
        "overlay_ipv4_prefix": "",
        "pod_subnet_prefix": "",
        "routing_mode": "static",
        "topology": "hub_spoke",
        "current_hub_id": "",
        "created_at": 1.0,
    }
    with star.platform.sessions.begin() as session:
        session.add(VirtualIp(id="vip-ops", network_id=ops, name="api", address="fd99::1"))
        session.add(
            VirtualIp(id="vip-core", network_id=star.network_id, name="db", address="fd98::1")
        )
        session.add(Account(id="acct-foreign", name="foreign", ula_pool="fd77::/48"))
        session.flush()
        session.add(Network(**foreign))
        session.add(NodeInstance(id="node-x", account_id="acct-foreign", name="x", created_at=1.0))
        session.flush()
        session.execute(insert(FirewallRuleRow), [rule_row("fwr-foreign", "net-foreign")])
    return star

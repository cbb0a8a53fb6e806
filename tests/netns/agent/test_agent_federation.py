"""Networks of two accounts with real agents on both sides: iBGP with IPv4 on both, so that FRR carries
what lies beyond; and a second network on our hub, which is nobody else's.

Failover, a key rotation and forged routes under traffic are played by `make lab`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from agent_world import await_ping

from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, plain_topology

OUR_HUB, OUR_SPOKE, THEIR_HUB, THEIR_SPOKE = "hub-1", "spoke-1", "hub-2", "spoke-2"
GLOBEX = "globex"


class Bridge:
    """Two accounts, the first one's `core` and `ops`, the second one's `core`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.instances = lab.start(without=(THEIR_HUB, THEIR_SPOKE))
        lab.call("lab_create_account", {"name": GLOBEX})
        for name in (THEIR_HUB, THEIR_SPOKE):
            self.instances[name] = lab.enrol(lab.node(name), account=GLOBEX)
            lab.node(name).start_agent()
            lab.node(name).await_agent()
        self.hosts: dict[tuple[str, str], str] = {}
        self.hosts_ipv4: dict[tuple[str, str], str] = {}
        self.core = self.network("", "core", "ibgp", "10.77.0.0/24", OUR_HUB, OUR_SPOKE)
        self.ops = self.network("", "ops", "static", "10.78.0.0/24", OUR_HUB)
        self.theirs = self.network(GLOBEX, "core", "ibgp", "10.79.0.0/24", THEIR_HUB, THEIR_SPOKE)

    def call(self, account: str, action: str, /, **arguments: object) -> Mapping[str, Any]:
        return self.lab.call(action, dict(arguments), account=account)

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def network(
        self, account: str, name: str, mode: str, ipv4: str, *nodes: str
    ) -> Mapping[str, Any]:
        made: Mapping[str, Any] = self.call(
            account,
            "system_sdwan_create_network",
            name=name,
            routing_mode=mode,
            overlay_ipv4_prefix=ipv4,
        )["network"]
        for node in nodes:
            peer = self.call(
                account,
                "system_sdwan_attach_peer",
                network_id=made["id"],
                node_instance_id=self.instances[node],
                publicly_reachable=node in (OUR_HUB, THEIR_HUB),
            )["peer"]
            self.hosts[name, node] = peer["host_address"]
            self.hosts_ipv4[name, node] = peer["host_ipv4"]
        return made

    def agree(self) -> str:
        own, other = self.core, self.theirs
        accounts = self.call(GLOBEX, "lab_list_accounts")
        proposed = self.call(
            "",
            "system_sdwan_propose_federation_peer",
            attributes={
                "network_id": own["id"],
                "remote_account_id": accounts["acting_for"],
                "remote_network_id": other["id"],
                "peer_kind": "sdwan_only",
            },
        )["federation_peer"]
        self.call(GLOBEX, "system_sdwan_accept_federation_peer", id=proposed["id"])
        return str(proposed["id"])

    def by_bgp(self, node: str, prefix: str) -> bool:
        family = "-6" if ":" in prefix else "-4"
        done = self.node(node).run(["ip", family, "route", "show", prefix, "proto", "bgp"])
        return bool(done.stdout.strip())


@pytest.fixture(scope="module")
def bridge(module_lab: Callable[[Topology], Lab]) -> Bridge:
    return Bridge(module_lab(plain_topology(hubs=2, spokes=2)))


def test_two_ibgp_networks_of_two_accounts(bridge: Bridge) -> None:
    id_ = bridge.agree()
    # Both families, over both hubs, both ways; what is beyond is BGP's news on either side.
    for node, host, ipv4, prefixes in (
        (OUR_SPOKE, ("core", THEIR_SPOKE), "10.79.0.0/24", bridge.theirs),
        (THEIR_SPOKE, ("core", OUR_SPOKE), "10.77.0.0/24", bridge.core),
    ):
        await_ping(bridge.node(node), bridge.hosts[host], timeout=60)
        await_ping(bridge.node(node), bridge.hosts_ipv4[host], timeout=20)
        assert bridge.by_bgp(node, str(prefixes["prefix"]))
        assert bridge.by_bgp(node, ipv4)
    # Their agents know nothing of ours but hubs, and spokes not even these.
    assert _keys(bridge, OUR_SPOKE, bridge.core) == {_own_key(bridge, OUR_HUB, bridge.core)}
    assert _own_key(bridge, THEIR_HUB, bridge.theirs) in _keys(bridge, OUR_HUB, bridge.core)

    # The hub's other network is not a part of it: no way there, and none by force.
    there = bridge.hosts["ops", OUR_HUB]
    assert not bridge.node(THEIR_SPOKE).answers(there, timeout=0.5)
    hub, link = bridge.node(THEIR_HUB), str(bridge.theirs["link"])
    hub.stop_agent()
    key = _own_key(bridge, OUR_HUB, bridge.core)
    allowed = f"{bridge.core['prefix']},10.77.0.0/24,{bridge.ops['prefix']}"
    hub.run(["wg", "set", link, "peer", key, "allowed-ips", allowed])
    hub.run(["ip", "-6", "route", "replace", str(bridge.ops["prefix"]), "dev", link])
    assert hub.answers(bridge.hosts["core", OUR_HUB], timeout=2.0), "the forged device still works"
    assert not hub.answers(there, timeout=1.0)
    hub.run(["ip", "-6", "route", "del", str(bridge.ops["prefix"]), "dev", link])
    hub.start_agent()
    hub.await_agent()
    await_ping(bridge.node(THEIR_SPOKE), bridge.hosts["core", OUR_SPOKE], timeout=60)

    bridge.call("", "system_sdwan_revoke_federation_peer", id=id_)
    bridge.lab.wait_until(
        lambda: (
            _own_key(bridge, THEIR_HUB, bridge.theirs) not in _keys(bridge, OUR_HUB, bridge.core)
            and key not in _keys(bridge, THEIR_HUB, bridge.theirs)
            and not bridge.by_bgp(OUR_SPOKE, str(bridge.theirs["prefix"]))
            and not bridge.by_bgp(THEIR_SPOKE, "10.77.0.0/24")
        ),
        what="nothing to be left of a revoked federation",
        timeout=30,
    )
    for name in (OUR_HUB, THEIR_HUB):
        table = bridge.node(name).run(["nft", "list", "ruleset"]).stdout
        assert str(bridge.theirs["prefix" if name == OUR_HUB else "id"]) not in table


def _own_key(bridge: Bridge, name: str, network: Mapping[str, Any]) -> str:
    command = ["wg", "show", str(network["link"]), "public-key"]
    return bridge.node(name).run(command).stdout.strip()


def _keys(bridge: Bridge, name: str, network: Mapping[str, Any]) -> set[str]:
    return set(bridge.node(name).run(["wg", "show", str(network["link"]), "peers"]).stdout.split())

"""What stands where a network's rules were refused and nothing stood before: a shut door."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network

import pytest

from powernode_agent.firewall.compile import compile_filter
from powernode_agent.model.firewall import FirewallAction, FirewallPolicy
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.ruleset import Hook
from powernode_agent.model.values import NetworkId, PeerId


@pytest.mark.parametrize("ingress", list(FirewallAction))
def test_only_what_guards_is_shut_and_then_in_every_direction(ingress: FirewallAction) -> None:
    interface = Interface(PeerId("p"), IPv6Address("fd00:1::1"), PeerRole.HUB, 51820, NodeKey(1))
    network = Network(
        NetworkId("n"),
        "core",
        "core",
        IPv6Network("fd00:1::/64"),
        RoutingMode.STATIC,
        interface,
        firewall_policy=FirewallPolicy(ingress=ingress),
    )
    fragment = compile_filter(NetworkState(network), (), 1420).fragment
    assert fragment.guards is (ingress is not FirewallAction.ACCEPT)
    arriving, leaving = 'iifname "wg-sdwan-core" drop', 'oifname "wg-sdwan-core" drop'
    wanted = {
        Hook.INPUT: arriving,
        Hook.OUTPUT: leaving,
        Hook.FORWARD_INGRESS: arriving,
        Hook.FORWARD_EGRESS: leaving,
    }
    found = {hook: line.text for hook, (line,) in fragment.shut.items()}
    assert found == (wanted if fragment.guards else {})

"""What operators are told about single connections is what the filter does with them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Network

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.firewall.firewall_reference import TCP, UDP, decide, deciding
from tests.unit.firewall.firewall_strategies import NETWORK, filterings, packets

from powernode_agent.firewall.compile import compile_filter
from powernode_agent.firewall.verdict import Leaving
from powernode_agent.model.firewall import FirewallDirection, FirewallProtocol
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.ruleset import Hook
from powernode_agent.model.values import PeerId

PROTOCOLS = {TCP: FirewallProtocol.TCP, UDP: FirewallProtocol.UDP}
PREFIX = IPv6Network("fd00:1::/64")
CORE = Network(
    NETWORK,
    "core",
    "core",
    PREFIX,
    RoutingMode.STATIC,
    Interface(PeerId("me"), PREFIX[1], PeerRole.HUB, 51820, NodeKey(1)),
)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_it_is_what_the_rules_say(data: st.DataObject) -> None:
    filtering = data.draw(filterings(max_rules=20))
    network = replace(CORE, firewall_policy=filtering.policy)
    state = NetworkState(
        network,
        firewall_rules={rule.id: rule for rule in filtering.rules},
        firewall_tags=filtering.tags,
    )
    egress = Leaving(state)
    for packet in data.draw(st.lists(packets(filtering, FirewallDirection.EGRESS), min_size=20)):
        if packet.port is None:
            continue
        found = egress.verdict(state, packet.destination, PROTOCOLS[packet.protocol], packet.port)
        assert found.rule == deciding(filtering.rules, filtering.tags, packet)
        assert found.action is decide(filtering.rules, filtering.tags, filtering.policy, packet)


def test_towards_the_link_tcp_is_clamped_although_its_mtu_is_not_known() -> None:
    unknown = compile_filter(NetworkState(CORE), (), None).fragment.hooks[Hook.CLAMP]
    known = compile_filter(NetworkState(CORE), (), 1420).fragment.hooks[Hook.CLAMP]
    assert [line.text for line in unknown] == [known[0].text]
    assert "maxseg size set rt mtu" in unknown[0].text
    assert len(known) == 3

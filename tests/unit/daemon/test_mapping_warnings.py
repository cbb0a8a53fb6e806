"""Mappings that stand and serve nobody, and services that a mapping leaves without connections."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address, IPv6Network, ip_address

from powernode_agent.daemon.mappings import CUT, OUTVOTED, MappingConditions
from powernode_agent.model.desired_state import DesiredState, Node
from powernode_agent.model.firewall import (
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    PortRange,
)
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Revision
from powernode_agent.model.virtual_ip import VirtualIp, VirtualIpId
from powernode_agent.portmap.clashes import Clashes, Listener

NET = NetworkId("net-core")
PREFIX = IPv6Network("fd00:1::/64")
DENY = FirewallPolicy(FirewallAction.ACCEPT, FirewallAction.DROP)
NETWORK = Network(
    id=NET,
    name="core",
    handle="core",
    prefix=PREFIX,
    routing_mode=RoutingMode.STATIC,
    interface=Interface(PeerId("hub"), PREFIX[1], PeerRole.HUB, 51820, NodeKey(1)),
)
MAPPING = PortMapping(
    PortMappingId("pm-1"),
    NET,
    ip_address("203.0.113.5"),
    443,
    MappingProtocol.TCP,
    PREFIX[2],
    8443,
)


def allow(port: int) -> FirewallRule:
    return FirewallRule(
        FirewallRuleId(f"fr-{port}"),
        NET,
        FirewallDirection.EGRESS,
        FirewallAction.ACCEPT,
        CidrSelector(IPv6Network((int(PREFIX[2]), 128))),
        FirewallProtocol.TCP,
        1,
        PortRange(port, port),
    )


def found(
    policy: FirewallPolicy = DENY,
    rules: tuple[FirewallRule, ...] = (),
    listener: Listener | None = None,
    target: IPv6Address = PREFIX[2],
    held: tuple[IPv6Address, ...] = (),
    conditions: MappingConditions | None = None,
) -> list[tuple[str, str]]:
    entry = NetworkState(
        replace(NETWORK, firewall_policy=policy),
        firewall_rules={rule.id: rule for rule in rules},
        port_mappings={MAPPING.id: replace(MAPPING, internal_address=target)},
        virtual_ips={
            VirtualIpId(str(each)): VirtualIp(VirtualIpId(str(each)), NET, "v", each, hold=True)
            for each in held
        },
    )
    state = DesiredState(Revision(1), Node(NodeId("n"), "n"), {NET: entry})
    outvoted = {} if listener is None else {MAPPING.id: listener}
    told = (conditions or MappingConditions()).conditions(state, Clashes({}, outvoted))
    return [(each.code, f"{each.evidence} {each.fix}") for each in told]


def test_a_mapping_that_the_hubs_own_filter_cuts_is_told() -> None:
    ((code, text),) = found()
    assert code == CUT
    for part in ("pm-1", "egress policy", "[fd00:1::2]:8443", "port 8443"):
        assert part in text
    assert [code for code, _ in found(rules=(allow(443),))] == [CUT]
    assert found(rules=(allow(8443),)) == []
    assert found(FirewallPolicy(FirewallAction.ACCEPT, FirewallAction.ACCEPT)) == []
    assert found(target=PREFIX[1]) == [], "what is for the hub itself does not leave"
    assert found(target=PREFIX[9], held=(PREFIX[9],)) == [], "nor what is for its virtual IPs"


def test_a_service_without_connections_is_told() -> None:
    accept = FirewallPolicy(FirewallAction.ACCEPT, FirewallAction.ACCEPT)
    listener = Listener(MappingProtocol.TCP, ip_address("0.0.0.0"), 443)  # noqa: S104
    conditions = MappingConditions()
    for _ in range(2):
        ((code, text),) = found(accept, listener=listener, conditions=conditions)
        assert code == OUTVOTED
        assert "0.0.0.0:443" in text
        assert "ss -tlnp" in text
    assert found(accept, conditions=conditions) == []

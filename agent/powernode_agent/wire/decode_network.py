"""Networks and this node's interface on them, from protobuf.

When a field cannot be read, the model is still made with something harmless in its place, so that its
other rules are checked in the same pass and the operator sees everything at once; what was made is
thrown away then.
"""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network
from typing import Final

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode_agent.model.desired_state import Node
from powernode_agent.model.network import (
    Interface,
    KeySource,
    Network,
    NodeKey,
    PeerRole,
    PlatformKey,
    RoutingMode,
)
from powernode_agent.model.values import NetworkId, NodeId, PeerId
from powernode_agent.model.violation import HIDDEN, ModelError, Violation
from powernode_agent.wire.decode_firewall import decode_policy
from powernode_agent.wire.texts import KEY_EXPECTED, FieldReader

PEER_ROLES: Final = {
    int(pb.PEER_ROLE_HUB): PeerRole.HUB,
    int(pb.PEER_ROLE_SPOKE): PeerRole.SPOKE,
}
PEER_ROLE_NAMES: Final = {int(number): name for name, number in pb.PeerRole.items()}

_ROUTING_MODES: Final = {
    int(pb.ROUTING_MODE_STATIC): RoutingMode.STATIC,
    int(pb.ROUTING_MODE_IBGP): RoutingMode.IBGP,
}
_ROUTING_MODE_NAMES: Final = {int(number): name for name, number in pb.RoutingMode.items()}

_KEY_SOURCE_EXPECTED: Final = "platform or node"
_KEY_SOURCE_NAMES: Final = {int(number): name for name, number in pb.KeySource.items()}


def decode_node(message: pb.Node, found: list[Violation]) -> Node | None:
    """The node, or None with at least one violation added to `found`."""
    try:
        return Node(NodeId(message.id), message.name, message.account_id)
    except ModelError as error:
        found.extend(error.violations)
        return None


def decode_network(message: pb.Network, found: list[Violation]) -> Network | None:
    """One network, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"network {message.name} ({message.id})", found)
    prefix = reader.ipv6_prefix("prefix", message.prefix)
    overlay_ipv4_prefix = reader.ipv4_prefix("overlay_ipv4_prefix", message.overlay_ipv4_prefix)
    pod_subnet_prefix = reader.prefix("pod_subnet_prefix", message.pod_subnet_prefix)
    routing_mode = reader.choice(
        "routing_mode", message.routing_mode, _ROUTING_MODES, _ROUTING_MODE_NAMES
    )
    policy = decode_policy(message.firewall_policy, reader)
    interface = _decode_interface(message, prefix, reader)
    try:
        network = Network(
            id=NetworkId(message.id),
            name=message.name,
            handle=message.handle,
            prefix=prefix or IPv6Network((int(interface.address) >> 64 << 64, 64)),
            routing_mode=routing_mode or RoutingMode.STATIC,
            interface=interface,
            overlay_ipv4_prefix=overlay_ipv4_prefix,
            pod_subnet_prefix=pod_subnet_prefix,
            firewall_policy=policy,
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return network if len(found) == before else None


def _decode_interface(
    network: pb.Network, prefix: IPv6Network | None, reader: FieldReader
) -> Interface:
    """The interface. After a violation, one that breaks no rule that was not reported already."""
    harmless = IPv6Address(int(prefix.network_address) + 1 if prefix else 1 << 64)
    if not network.HasField("interface"):
        reader.refuse("interface", "", "this node's own interface")
        return Interface(PeerId("unknown"), harmless, PeerRole.SPOKE, 1, NodeKey(1))
    message = network.interface
    address = reader.ipv6("interface.address", message.address, need=True)
    if address is None:
        address = harmless
    overlay_ipv4 = reader.ipv4("interface.overlay_ipv4", message.overlay_ipv4)
    role = reader.choice("interface.role", message.role, PEER_ROLES, PEER_ROLE_NAMES)
    lan_subnets = reader.prefixes("interface.lan_subnets", message.lan_subnets)
    key = _decode_key(message, reader)
    try:
        return Interface(
            peer_id=PeerId(message.peer_id),
            address=address,
            role=role or PeerRole.SPOKE,
            listen_port=message.listen_port,
            key=key or NodeKey(1),
            overlay_ipv4=overlay_ipv4,
            mtu=message.mtu or None,
            lan_subnets=lan_subnets,
        )
    except ModelError as error:
        for v in error.violations:
            reader.found.append(
                Violation(reader.resource, f"interface.{v.field}", v.value, v.expected)
            )
        return Interface(
            PeerId("unknown"), address, PeerRole.SPOKE, 1, NodeKey(1), overlay_ipv4=overlay_ipv4
        )


def _decode_key(message: pb.Interface, reader: FieldReader) -> KeySource | None:
    """The key source; fields that belong to the other source are refused, not ignored."""
    number = int(message.key_source)
    if number == pb.KEY_SOURCE_PLATFORM:
        for field, generation in (
            ("interface.key_generation", message.key_generation),
            ("interface.next_key_generation", message.next_key_generation),
        ):
            if generation:
                reader.refuse(field, generation, "0 with key_source platform")
        if not message.private_key:
            reader.refuse("interface.private_key", "", KEY_EXPECTED)
        key = reader.private_key("interface.private_key", message.private_key)
        return None if key is None else PlatformKey(key)
    if number == pb.KEY_SOURCE_NODE:
        if message.private_key:
            reader.refuse("interface.private_key", HIDDEN, "none with key_source node")
        # Generations are checked by `Interface`.
        return NodeKey(message.key_generation, message.next_key_generation or None)
    name = _KEY_SOURCE_NAMES.get(number, "unknown")
    reader.refuse("interface.key_source", f"{name} ({number})", _KEY_SOURCE_EXPECTED)
    return None

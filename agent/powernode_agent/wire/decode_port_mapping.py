"""Port mappings, from protobuf. As in `decode_peer`, all that is wrong is reported in one pass."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from powernode.sdwan.v1 import port_mapping_pb2 as pb
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import NetworkId
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.wire.texts import FieldReader

_PROTOCOLS: Final = {
    int(pb.PORT_MAPPING_PROTOCOL_TCP): MappingProtocol.TCP,
    int(pb.PORT_MAPPING_PROTOCOL_UDP): MappingProtocol.UDP,
}
_PROTOCOL_NAMES: Final = {int(number): name for name, number in pb.PortMappingProtocol.items()}

_SOME_EXTERNAL: Final = IPv4Address("192.0.2.1")
_SOME_INTERNAL: Final = IPv6Address(1 << 64)
"""Each goes with either family on the other side."""


def decode_port_mapping(message: pb.PortMapping, found: list[Violation]) -> PortMapping | None:
    """One mapping, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"port mapping {message.id}", found)
    protocol = reader.choice("protocol", message.protocol, _PROTOCOLS, _PROTOCOL_NAMES)
    external = reader.address("external_address", message.external_address)
    internal = reader.address("internal_address", message.internal_address)
    try:
        mapping = PortMapping(
            id=PortMappingId(message.id),
            network_id=NetworkId(message.network_id),
            external_address=external or _SOME_EXTERNAL,
            external_port=message.external_port,
            protocol=protocol or MappingProtocol.TCP,
            internal_address=internal or _SOME_INTERNAL,
            internal_port=message.internal_port,
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return mapping if len(found) == before else None

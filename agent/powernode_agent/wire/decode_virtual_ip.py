"""Virtual IPs, from protobuf. As in `decode_peer`, all that is wrong is reported in one pass."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

from powernode.sdwan.v1 import virtual_ip_pb2 as pb
from powernode_agent.model.values import NetworkId
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.model.virtual_ip import DEFAULT_LOCAL_PREFERENCE, VirtualIp, VirtualIpId
from powernode_agent.wire.texts import FieldReader

_SOME_ADDRESS: Final = IPv6Address(1 << 64)


def decode_virtual_ip(message: pb.VirtualIp, found: list[Violation]) -> VirtualIp | None:
    """One virtual IP, or None with at least one violation added to `found`."""
    before = len(found)
    reader = FieldReader(f"virtual IP {message.name} ({message.id})", found)
    address = reader.ipv6("address", message.address, need=True)
    try:
        virtual_ip = VirtualIp(
            id=VirtualIpId(message.id),
            network_id=NetworkId(message.network_id),
            name=message.name,
            address=address or _SOME_ADDRESS,
            hold=message.hold,
            anycast=message.anycast,
            local_preference=message.local_preference or DEFAULT_LOCAL_PREFERENCE,
        )
    except ModelError as error:
        found.extend(error.violations)
        return None
    return virtual_ip if len(found) == before else None

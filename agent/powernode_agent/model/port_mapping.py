"""Port mappings: one external port of a hub that leads to a peer or a virtual IP (runbook, phase 4)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NewType

from powernode_agent.model.checks import check_id, raise_if
from powernode_agent.model.values import Address, Endpoint, NetworkId
from powernode_agent.model.violation import Violation, violation

PortMappingId = NewType("PortMappingId", str)


class MappingProtocol(Enum):
    TCP = "tcp"
    UDP = "udp"


ExternalSide = tuple[Address, int, MappingProtocol]
"""What outsiders address; a host has each only once."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """One mapping. IPv4 outside may lead to IPv6 inside (NAT64); the reverse is refused."""

    id: PortMappingId
    network_id: NetworkId
    external_address: Address
    external_port: int
    protocol: MappingProtocol
    internal_address: Address
    internal_port: int

    def __post_init__(self) -> None:
        found: list[Violation] = []
        which = str(self)
        check_id(found, which, "id", self.id)
        check_id(found, which, "network_id", self.network_id)
        for field, address in (
            ("external_address", self.external_address),
            ("internal_address", self.internal_address),
        ):
            if (
                address.is_unspecified
                or address.is_multicast
                or address.is_link_local
                or address.is_loopback
            ):
                found.append(
                    violation(which, field, address, "a unicast address that others can reach")
                )
        for field, port in (
            ("external_port", self.external_port),
            ("internal_port", self.internal_port),
        ):
            if not 1 <= port <= 65535:
                found.append(violation(which, field, port, "1 to 65535"))
        if self.external_address.version == 6 and self.internal_address.version == 4:
            found.append(
                violation(
                    which,
                    "internal_address",
                    self.internal_address,
                    "an IPv6 address with an IPv6 external_address",
                )
            )
        raise_if(found)

    def __str__(self) -> str:
        return f"port mapping {self.id}"

    @property
    def external_side(self) -> ExternalSide:
        """What outsiders address."""
        return (self.external_address, self.external_port, self.protocol)

    @property
    def external(self) -> str:
        """`tcp 203.0.113.5:443`, in an operator's words."""
        return f"{self.protocol.value} {Endpoint(self.external_address, self.external_port)}"

    @property
    def internal(self) -> str:
        """`[fd00:abcd:1::42]:8443`."""
        return str(Endpoint(self.internal_address, self.internal_port))

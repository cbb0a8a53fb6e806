"""Which mappings are not applied, and why: each an error of its own; the others are applied. Pure.

A service of the host keeps its port: a mapping on the address and port of a listener would take its
traffic away. But a port that is mapped already has been taken away from services: whoever listens on
it later, which any local user may do above 1023, must not end the mapping, and is only told of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from powernode_agent.errors import AgentError
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import Address, Endpoint
from powernode_agent.portmap.compile import Flow
from powernode_agent.portmap.errors import PortMapError


@dataclass(frozen=True, slots=True)
class Listener:
    """A local socket that takes what comes: TCP that listens, UDP that is bound and not connected."""

    protocol: MappingProtocol
    address: Address
    port: int
    ipv6_only: bool = False
    """Of an IPv6 socket: that it takes no IPv4. False also where that is not known."""

    def __str__(self) -> str:
        return str(Endpoint(self.address, self.port))

    @property
    def command(self) -> str:
        """What an operator types to see whose it is."""
        flag = "t" if self.protocol is MappingProtocol.TCP else "u"
        return f"ss -{flag}lnp 'sport = :{self.port}'"

    def holds(self, mapping: PortMapping) -> bool:
        """Whether packets to the mapping's external side are this socket's."""
        if (self.protocol, self.port) != (mapping.protocol, mapping.external_port):
            return False
        if self.address.is_unspecified:
            same = self.address.version == mapping.external_address.version
            return same or (self.address.version == 6 and not self.ipv6_only)
        return self.address == mapping.external_address


@dataclass(frozen=True, slots=True)
class Clashes:
    """`refused`: mappings that are not to be applied, and why. `outvoted`: listeners that get nothing,
    because the mapping was there first."""

    refused: Mapping[PortMappingId, AgentError] = field(default_factory=dict)
    outvoted: Mapping[PortMappingId, Listener] = field(default_factory=dict)

    def same(self, other: Clashes) -> bool:
        """Whether `other` says the same."""
        return self.outvoted == other.outvoted and _told(self.refused) == _told(other.refused)


def find_clashes(
    states: Iterable[NetworkState], listeners: Collection[Listener], in_force: Collection[Flow]
) -> Clashes:
    """What clashes with what. `in_force`: external sides that are mapped already."""
    found: dict[PortMappingId, AgentError] = {}
    outvoted: dict[PortMappingId, Listener] = {}
    by_port: dict[int, list[Listener]] = {}
    for listener in listeners:
        by_port.setdefault(listener.port, []).append(listener)
    for state in states:
        for mapping in state.port_mappings.values():
            error = _unfit(state.network, mapping)
            side = Flow(mapping.protocol, mapping.external_address, mapping.external_port)
            for listener in by_port.get(mapping.external_port, ()):
                if error is None and listener.holds(mapping):
                    if side in in_force:
                        outvoted[mapping.id] = listener
                    else:
                        error = _held(mapping, listener)
            if error is not None:
                found[mapping.id] = error
    return Clashes(found, outvoted)


def _unfit(network: Network, mapping: PortMapping) -> AgentError | None:
    """Why this node cannot map it at all."""
    if isinstance(mapping.internal_address, IPv4Address) and network.interface.overlay_ipv4 is None:
        return PortMapError(
            "this hub has no IPv4 address in the overlay to send from",
            which=str(mapping),
            value=f"{network} without overlay_ipv4 for this hub",
            action="give this hub an overlay_ipv4, or the mapping an IPv6 internal_address",
        )
    return None


def _held(mapping: PortMapping, listener: Listener) -> AgentError:
    return PortMapError(
        "a service of this host has the external port",
        which=f"{mapping}, {mapping.external}",
        value=f"a listener on {listener}",
        expected="a port that nothing on this host listens on",
        action=f"see whose it is: {listener.command}",
    )


def _told(errors: Mapping[PortMappingId, AgentError]) -> dict[PortMappingId, str]:
    return {id_: str(error) for id_, error in errors.items()}

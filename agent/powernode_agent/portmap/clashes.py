"""Which mappings are not applied, and why: each an error of its own; the others are applied. Pure.

A service of the host keeps its port: a mapping on the address and port of a listener would take its
traffic away. A wildcard IPv6 listener counts for IPv4 as well, which it is unless it asked for IPv6
only; what it asked for is not to be read in /proc.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from powernode_agent.errors import AgentError
from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Network
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import Address
from powernode_agent.portmap.errors import PortMapError


@dataclass(frozen=True, slots=True)
class Listener:
    """A local socket that takes what comes: TCP that listens, UDP that is bound and not connected."""

    protocol: MappingProtocol
    address: Address
    port: int

    def holds(self, mapping: PortMapping) -> bool:
        """Whether packets to the mapping's external side are this socket's."""
        if (self.protocol, self.port) != (mapping.protocol, mapping.external_port):
            return False
        if self.address.is_unspecified:
            return self.address.version >= mapping.external_address.version
        return self.address == mapping.external_address


def find_clashes(
    states: Iterable[NetworkState], listeners: Collection[Listener]
) -> Mapping[PortMappingId, AgentError]:
    """The mappings that are not to be applied."""
    found: dict[PortMappingId, AgentError] = {}
    by_port: dict[int, list[Listener]] = {}
    for listener in listeners:
        by_port.setdefault(listener.port, []).append(listener)
    for state in states:
        for mapping in state.port_mappings.values():
            error = _unfit(state.network, mapping)
            for listener in by_port.get(mapping.external_port, ()):
                if error is None and listener.holds(mapping):
                    error = _held(mapping, listener)
            if error is not None:
                found[mapping.id] = error
    return found


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
    flag = "t" if mapping.protocol is MappingProtocol.TCP else "u"
    where = f"[{listener.address}]" if listener.address.version == 6 else str(listener.address)
    return PortMapError(
        "a service of this host has the external port",
        which=f"{mapping}, {mapping.external}",
        value=f"a listener on {where}:{listener.port}",
        expected="a port that nothing on this host listens on",
        action=f"see whose it is: ss -{flag}lnp 'sport = :{listener.port}'",
    )

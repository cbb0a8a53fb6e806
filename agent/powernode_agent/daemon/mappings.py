"""What is wrong with port mappings that work as told, and yet not as somebody expects.

A local service that listens on a port mapped before it gets no connection; and a mapping whose packets
the network's own filter drops at the hub serves nobody, although every part of it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from powernode_agent.firewall.verdict import Leaving
from powernode_agent.health.condition import Condition
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.firewall import FirewallAction, FirewallProtocol
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.values import NetworkId
from powernode_agent.portmap.clashes import Clashes, Listener

OUTVOTED: Final = "PM-001"
"""Health code of a local service whose port is mapped."""
CUT: Final = "PM-002"
"""Health code of a mapping that the hub's own filter cuts."""

_PROTOCOLS: Final = {
    MappingProtocol.TCP: FirewallProtocol.TCP,
    MappingProtocol.UDP: FirewallProtocol.UDP,
}


@dataclass(frozen=True)
class _Looked:
    """What was found on one network, and what it was drawn from: compared by identity."""

    entry: NetworkState
    listeners: Mapping[PortMappingId, Listener]
    refused: frozenset[PortMappingId]
    leaving: Leaving
    found: tuple[Condition, ...]


class MappingConditions:
    """Looks again only where something changed: a status is asked for after each pass, and 10,000 rules
    take a while to read."""

    def __init__(self) -> None:
        self._looked: dict[NetworkId, _Looked] = {}

    def conditions(self, state: DesiredState | None, clashes: Clashes) -> Iterator[Condition]:
        """Those of all mappings."""
        networks = {} if state is None else state.networks
        self._looked = {
            id_: self._look(id_, entry, clashes)
            for id_, entry in networks.items()
            if entry.port_mappings
        }
        for looked in self._looked.values():
            yield from looked.found

    def _look(self, id_: NetworkId, entry: NetworkState, clashes: Clashes) -> _Looked:
        before = self._looked.get(id_)
        mappings = entry.port_mappings
        listeners = {each: clashes.outvoted[each] for each in mappings if each in clashes.outvoted}
        refused = frozenset(each for each in mappings if each in clashes.refused)
        if before is not None and _same(before.entry, entry):
            leaving = before.leaving
            if (before.listeners, before.refused) == (listeners, refused):
                return before
        elif before is not None and before.entry.firewall_rules is entry.firewall_rules:
            leaving = before.leaving
        else:
            leaving = Leaving(entry)
        found = tuple(
            finding
            for mapping in mappings.values()
            # What is refused is an error, and says why.
            if mapping.id not in refused
            for finding in _of_mapping(entry, mapping, listeners.get(mapping.id), leaving)
        )
        return _Looked(entry, listeners, refused, leaving, found)


def _same(one: NetworkState, two: NetworkState) -> bool:
    """Whether nothing changed that a finding depends on; a peer more is no reason to look."""
    return (
        one.network is two.network
        and one.firewall_rules is two.firewall_rules
        and one.firewall_tags is two.firewall_tags
        and one.port_mappings is two.port_mappings
        and one.virtual_ips is two.virtual_ips
    )


def _of_mapping(
    entry: NetworkState,
    mapping: PortMapping,
    listener: Listener | None,
    leaving: Leaving,
) -> Iterator[Condition]:
    if listener is not None:
        yield Condition(
            OUTVOTED,
            mapping.network_id,
            mapping.id,
            f"port mapping {mapping.id}",
            f"a service of this host listens on {listener}, which {mapping} maps:"
            " it gets no connection",
            listener.command,
            fix=f"see whose it is: {listener.command}; give it another port, or delete {mapping}",
        )
    target = mapping.internal_address
    own = {entry.network.interface.address, entry.network.interface.overlay_ipv4}
    own |= {each.address for each in entry.virtual_ips.values() if each.hold}
    if target in own:
        return  # it does not leave
    verdict = leaving.verdict(entry, target, _PROTOCOLS[mapping.protocol], mapping.internal_port)
    if verdict.action is not FirewallAction.ACCEPT:
        by = f"{verdict.rule}" if verdict.rule else f"the egress policy of {entry.network}"
        yield Condition(
            CUT,
            mapping.network_id,
            mapping.id,
            f"port mapping {mapping.id}",
            f"what {mapping} sends to {mapping.internal} is stopped at this hub by {by}",
            cause=f"{verdict.action.value} holds for what leaves by {entry.network.link}",
            fix=f"allow egress to {target}, {mapping.protocol.value} port {mapping.internal_port},"
            " by a rule of a narrower selector or a lower priority number",
        )

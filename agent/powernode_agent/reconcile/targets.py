"""What the rooms should bring about, compiled from all it depends on, and only when that changed.

Compiling 5,000 peers takes milliseconds, and an idle pass must take none: as long as the inputs are
the same, the targets are the very same objects. That also tells drift from intent: a change planned
against targets that are not new repairs something that somebody else did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from powernode_agent.firewall.compile import Filter, compile_filter
from powernode_agent.flannel.compile import DropIn, compile_drop_in
from powernode_agent.links.target import LinkTarget, compile_links
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.port_mapping import PortMappingId
from powernode_agent.model.values import NetworkId, PeerId
from powernode_agent.portmap.compile import MappedNetwork, compile_mappings
from powernode_agent.reconcile.keys import Keys
from powernode_agent.virtual_ip.target import VirtualIpTarget, compile_virtual_ips
from powernode_agent.wireguard.target import DeviceTarget, compile_devices


@dataclass(frozen=True)
class Inputs:
    """All that targets depend on. `mtus` in bytes, from the underlay."""

    state: DesiredState
    carrying: Mapping[NetworkId, Carrying]
    keys: Keys
    switched: frozenset[PeerId]
    mtus: Mapping[NetworkId, int]
    refused_mappings: Mapping[PortMappingId, object]
    """Port mappings that must not be applied, with what keeps each from it."""

    def same(self, other: Inputs | None) -> bool:
        """Whether `other` gives the same targets, judged by identity where that is enough."""
        return (
            other is not None
            and self.state is other.state
            and self.carrying is other.carrying
            and self.keys is other.keys
            and self.switched == other.switched
            and self.mtus == other.mtus
            and self.refused_mappings is other.refused_mappings
        )


@dataclass(frozen=True, slots=True)
class Targets:
    """The targets of all rooms."""

    devices: Mapping[NetworkId, DeviceTarget]
    links: Mapping[NetworkId, LinkTarget]
    filters: Mapping[NetworkId, Filter]
    mapped: Mapping[NetworkId, MappedNetwork]
    virtual_ips: Mapping[NetworkId, VirtualIpTarget] = field(default_factory=dict)
    drop_in: DropIn | None = None

    def of(self, network_id: NetworkId) -> tuple[object, ...]:
        """All that is wanted for one network, to tell by equality whether it changed."""
        filter_, mapped = self.filters.get(network_id), self.mapped.get(network_id)
        drop_in = self.drop_in
        return (
            self.devices.get(network_id),
            self.links.get(network_id),
            None if filter_ is None else filter_.fragment,
            None if mapped is None else mapped.fragment,
            self.virtual_ips.get(network_id),
            drop_in if drop_in is not None and drop_in.network_id == network_id else None,
        )


MANY_RULES: Final = 500
"""Rules of one network whose compilation takes longer than the event loop should be kept waiting."""


def takes_long(inputs: Inputs, before: Inputs | None) -> bool:
    """Whether compiling `inputs` after `before` is work for a thread: 10,000 rules take most of a
    second, in which no probe would be answered. They are compiled anew when they, their network, a
    network beside it or an MTU changed."""
    networks = inputs.state.networks
    if all(len(entry.firewall_rules) <= MANY_RULES for entry in networks.values()):
        return False
    if before is None or inputs.mtus != before.mtus:
        return True
    known = before.state.networks
    return networks.keys() != known.keys() or any(
        known[id_].network is not entry.network
        or known[id_].firewall_rules is not entry.firewall_rules
        for id_, entry in networks.items()
    )


def compile_targets(inputs: Inputs, before: Targets | None = None) -> Targets:
    """Pure: the targets of these inputs. `before` is any earlier result; what cannot have changed since
    is taken from it, so that one more member of a tag does not compile 10,000 rules."""
    links = compile_links(inputs.state, inputs.carrying, inputs.mtus)
    networks = inputs.state.networks
    return Targets(
        compile_devices(inputs.state, inputs.carrying, inputs.keys.in_use, inputs.switched),
        links,
        {
            network_id: compile_filter(
                entry,
                tuple(other.network for id_, other in networks.items() if id_ != network_id),
                links[network_id].mtu,
                None if before is None else before.filters.get(network_id),
            )
            for network_id, entry in networks.items()
        },
        _same_if_equal(
            None if before is None else before.mapped,
            compile_mappings(networks, inputs.refused_mappings.keys()),
        ),
        compile_virtual_ips(inputs.state, inputs.carrying),
        compile_drop_in(inputs.state),
    )


def _same_if_equal(
    before: Mapping[NetworkId, MappedNetwork] | None, now: Mapping[NetworkId, MappedNetwork]
) -> Mapping[NetworkId, MappedNetwork]:
    """What did not change keeps its identity, by which later stages know it."""
    if before is None:
        return now
    return {id_: before[id_] if before.get(id_) == each else each for id_, each in now.items()}

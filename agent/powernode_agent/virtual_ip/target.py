"""What each network's link should have of virtual IPs, and the steps to there from what it has. Pure.

All virtual IPs of desired state are this room's, held or not, with everything about their addresses;
those that desired state no longer has are foreign addresses on our link, which `links` takes away.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.values import NetworkId
from powernode_agent.model.virtual_ip import VirtualIp, address_metric
from powernode_agent.netlink.records import InterfaceAddress


@dataclass(frozen=True, slots=True)
class HeldAddress:
    """One address as it should stand."""

    name: str
    address: IPv6Address
    metric: int

    def stands_as(self, found: InterfaceAddress) -> bool:
        """Whether `found` is it: alone, for ever, never a source, and of the right preference."""
        return (
            found.address == self.address
            and found.prefix_length == self.address.max_prefixlen
            and found.never_source
            and not found.valid_ends
            and found.metric == self.metric
        )


@dataclass(frozen=True, slots=True)
class VirtualIpTarget:
    """The virtual IPs of one network that has any. `released` by address: their names."""

    network_id: NetworkId
    link: str
    alias: str
    held: tuple[HeldAddress, ...]
    released: Mapping[IPv6Address, str]


@dataclass(frozen=True, slots=True)
class VirtualIpSteps:
    """`remade`: what has to go before it can come as it should. zebra takes no notice of an address
    whose metric changes where it stands (measured with FRR 8.4), only of one that comes anew."""

    added: tuple[HeldAddress, ...] = ()
    remade: tuple[tuple[HeldAddress, InterfaceAddress], ...] = ()
    removed: tuple[InterfaceAddress, ...] = ()


def compile_virtual_ips(
    state: DesiredState, carrying: Mapping[NetworkId, Carrying]
) -> Mapping[NetworkId, VirtualIpTarget]:
    """The target of every network with virtual IPs. One whose prefix `paths` refuses holds none: the
    address may be that of an endpoint. A network without a decision is left as it is."""
    targets: dict[NetworkId, VirtualIpTarget] = {}
    for network_id, entry in state.networks.items():
        carried = carrying.get(network_id)
        if not entry.virtual_ips or carried is None:
            continue
        allowed = entry.network.prefix in carried.routes
        each = sorted(entry.virtual_ips.values(), key=lambda virtual_ip: virtual_ip.address)
        targets[network_id] = VirtualIpTarget(
            network_id,
            entry.network.link,
            entry.network.alias,
            tuple(_held(virtual_ip) for virtual_ip in each if virtual_ip.hold and allowed),
            {v.address: v.name for v in each if not (v.hold and allowed)},
        )
    return targets


def virtual_ip_steps(
    target: VirtualIpTarget, addresses: Collection[InterfaceAddress]
) -> VirtualIpSteps:
    """What is to be done on a link with these addresses."""
    present = {each.address: each for each in addresses if isinstance(each.address, IPv6Address)}
    added: list[HeldAddress] = []
    remade: list[tuple[HeldAddress, InterfaceAddress]] = []
    for wanted in target.held:
        found = present.get(wanted.address)
        if found is None:
            added.append(wanted)
        elif not wanted.stands_as(found):
            remade.append((wanted, found))
    removed = (present[address] for address in target.released if address in present)
    return VirtualIpSteps(tuple(added), tuple(remade), tuple(removed))


def _held(virtual_ip: VirtualIp) -> HeldAddress:
    metric = address_metric(virtual_ip.local_preference)
    return HeldAddress(virtual_ip.name, virtual_ip.address, metric)

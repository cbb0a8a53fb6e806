"""What our links should be, compiled from desired state. Pure.

Overlay addresses are always host addresses (/128, /32), never a connected /64: with a connected /64
and no link-local address iBGP does not establish, and the kernel would look for neighbours on a link
that has none. What leaves by the link are explicit routes, and those are `paths`' decision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from powernode_agent.links.settings import Setting, link_settings
from powernode_agent.model.carrying import Carrying
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.network import RoutingMode
from powernode_agent.model.values import Address, NetworkId, Prefix


@dataclass(frozen=True, slots=True)
class LinkTarget:
    """One link as it should be.

    `mtu` None: the underlay could not be measured; `routes` None: `paths` has not decided. Either is
    then left as it is: not known is not "none".
    """

    network_id: NetworkId
    name: str
    alias: str
    mtu: int | None
    addresses: frozenset[Address]
    routes: frozenset[Prefix] | None
    settings: tuple[Setting, ...]
    forwards: bool
    lan_subnets: tuple[Prefix, ...] = ()
    virtual_ips: frozenset[Address] = frozenset()
    """Addresses that are another room's to hold and to let go of, whether they stand or not."""
    host_routes: Mapping[Prefix, int | None] = field(default_factory=dict)
    """Routes beside `routes`, with their metrics, as in `Carrying.host_routes`."""

    @property
    def ipv4(self) -> bool:
        """Whether the overlay carries IPv4."""
        return any(address.version == 4 for address in self.addresses)


def compile_links(
    state: DesiredState,
    carrying: Mapping[NetworkId, Carrying],
    mtus: Mapping[NetworkId, int],
) -> Mapping[NetworkId, LinkTarget]:
    """The target of every network's link. `mtus` are those of `Links.underlay_mtus`.

    An address that `paths` withholds is as if it were not desired: one that stands is taken away.
    """
    targets: dict[NetworkId, LinkTarget] = {}
    for network_id, network_state in state.networks.items():
        network = network_state.network
        own = network.interface
        carried = carrying.get(network_id)
        addresses: set[Address] = {own.address}
        if own.overlay_ipv4 is not None:
            addresses.add(own.overlay_ipv4)
        if carried is not None:
            addresses -= carried.withheld
        targets[network_id] = LinkTarget(
            network_id=network_id,
            name=network.link,
            alias=network.alias,
            mtu=own.mtu if own.mtu is not None else mtus.get(network_id),
            addresses=frozenset(addresses),
            routes=None if carried is None else carried.routes,
            settings=link_settings(
                network.link,
                forwards=network_state.forwards,
                ibgp=network.routing_mode is RoutingMode.IBGP,
            ),
            forwards=network_state.forwards,
            lan_subnets=own.lan_subnets,
            virtual_ips=frozenset(each.address for each in network_state.virtual_ips.values()),
            host_routes={} if carried is None else carried.host_routes,
        )
    return targets

"""The ways to the endpoints below our tunnels, measured by asking the kernel, and remembered.

A network of 5,000 peers has as many endpoints, and asking for each of them at every reconcile would
cost more than the reconcile; so an answer stands until something of the underlay changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Protocol

from powernode_agent.links.mtu import derive_mtu
from powernode_agent.model.desired_state import DesiredState, NetworkState
from powernode_agent.model.values import LINK_PREFIX, Address, NetworkId
from powernode_agent.netlink.records import (
    AddressChanged,
    Event,
    Link,
    LinkChanged,
    Resynced,
    Route,
    UnderlayChanged,
)

_OUTSIDE: Final[tuple[Address, ...]] = (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849): only a default route leads there."""


class UnderlayKernel(Protocol):
    """What is asked of the kernel."""

    def links(self) -> Mapping[int, Link]: ...

    async def route_to(self, address: Address) -> Route | None: ...


class Underlay:
    """Derives the MTU of every network's link. `forget` on events; the rest is remembered."""

    def __init__(self, kernel: UnderlayKernel) -> None:
        self._kernel = kernel
        self._measured: dict[Address, int | None] = {}
        self._derived: dict[NetworkId, tuple[NetworkState, int]] = {}
        self._last: dict[NetworkId, int] = {}
        """What was derived last from a way that there was."""
        self._age = 0

    def on_event(self, event: Event) -> None:
        """Forget what an event may have changed. Routes over our own links are not underlay."""
        if isinstance(event, AddressChanged | LinkChanged) and event.link.startswith(LINK_PREFIX):
            return
        if isinstance(event, UnderlayChanged | Resynced | AddressChanged | LinkChanged):
            self._age += 1
            self._measured.clear()
            self._derived.clear()

    async def mtus(self, state: DesiredState) -> Mapping[NetworkId, int]:
        """MTU in bytes of each network's link. Raises NetlinkError."""
        return {
            network_id: await self._mtu(network_id, network)
            for network_id, network in state.networks.items()
        }

    def keep(self, networks: Collection[NetworkId]) -> None:
        """Forget all networks but these."""
        for known in (self._derived, self._last):
            for network_id in known.keys() - set(networks):
                del known[network_id]

    async def _mtu(self, network_id: NetworkId, network: NetworkState) -> int:
        age = self._age
        known = self._derived.get(network_id)
        if known is not None and known[0] is network:
            return known[1]
        ways = [
            (peer.endpoint.address, mtu)
            for peer in network.peers.values()
            if peer.endpoint is not None
            and (mtu := await self._way(peer.endpoint.address)) is not None
        ]
        outside = None
        if not ways:
            defaults = [mtu for a in _OUTSIDE if (mtu := await self._way(a)) is not None]
            outside = min(defaults, default=None)
        fixed = network.network.interface.mtu
        pods = network.network.pod_subnet_prefix is not None
        mtu = derive_mtu(fixed, ways, outside, pods=pods)
        if ways or outside is not None or fixed is not None:
            self._last[network_id] = mtu
        else:
            # The underlay is away: not known is not none, and a link is not changed for it.
            mtu = self._last.get(network_id, mtu)
        if age == self._age:
            self._derived[network_id] = (network, mtu)
        return mtu

    async def _way(self, address: Address) -> int | None:
        """MTU on the way to an address; None: no way, or one through a tunnel of ours.

        A way through our own link would make its MTU follow from itself, 80 bytes less each time.
        """
        if address in self._measured:
            return self._measured[address]
        age = self._age
        # The lookup itself never waits; a thousand of them must still let others have their turn.
        await asyncio.sleep(0)
        route = await self._kernel.route_to(address)
        mtu: int | None = None
        if route is not None and route.oif is not None:
            link = self._kernel.links().get(route.oif)
            if link is not None and not link.ours_by_name:
                mtu = link.mtu if route.mtu is None else min(link.mtu, route.mtu)
        if age == self._age:
            self._measured[address] = mtu
        return mtu

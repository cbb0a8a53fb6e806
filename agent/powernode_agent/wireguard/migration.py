"""From wireguard-go to the kernel, with the shortest gap there can be.

A node whose kernel has got WireGuard, by an upgrade or a setting, finds its links with wireguard-go.
Sessions cannot be carried over, so a gap there is: from the moment the old device lets go of the UDP
port to the first handshake of the new one. All that can be done before it is done before it, on a
kernel device under a name of its own that stays down meanwhile: keys, peers, learned endpoints,
allowed IPs, addresses, MTU, alias. In the gap remain: the port, the old link's end, the new one's name
and start, the routes.

What stood on the old link stands on the new one, no more and no less: whatever else the state wants
follows as ordinary changes. Cut off half-way, the device under its other name carries our alias and so
is a leftover, which the next pass removes.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Collection
from typing import Final, Protocol

from powernode_agent.model.values import LINK_PREFIX, ROUTE_PROTOCOL, Address, Prefix, PublicKey
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.records import TABLE_MAIN, InterfaceAddress, Link, Route
from powernode_agent.wireguard.difference import RECENT_HANDSHAKE
from powernode_agent.wireguard.errors import WireguardError
from powernode_agent.wireguard.kernel import KIND, Kernel
from powernode_agent.wireguard.port import Device, DeviceWrite, PeerWrite
from powernode_agent.wireguard.userspace import Userspace

STARTING_KEEPALIVE: Final = 25
"""Seconds. A peer with any keepalive is greeted when its device comes up (wg_open in the kernel's
drivers/net/wireguard/device.c), which makes the new session at once."""


class LinkRequests(Protocol):
    """What is needed of rtnetlink; see `netlink.dispatcher.Netlink`."""

    async def settle(self) -> None: ...

    def link_by_name(self, name: str) -> Link | None: ...

    def addresses(self, index: int) -> Collection[InterfaceAddress]: ...

    def routes(self, index: int) -> Collection[Route]: ...

    async def create_link(self, name: str, kind: str) -> Link: ...

    async def set_link(
        self,
        index: int,
        *,
        name: str | None = None,
        up: bool | None = None,
        mtu: int | None = None,
        alias: str | None = None,
        no_link_local: bool = False,
    ) -> None: ...

    async def delete_link(self, index: int) -> None: ...

    async def add_address(self, index: int, address: Address, prefix_length: int) -> None: ...

    async def add_routes(
        self, index: int, prefixes: Collection[Prefix], *, replace: bool = False
    ) -> None: ...


class Migration:
    """Moves links of wireguard-go to the kernel. `now`: seconds since the epoch."""

    def __init__(
        self,
        kernel: Kernel,
        userspace: Userspace,
        links: LinkRequests,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._kernel = kernel
        self._userspace = userspace
        self._links = links
        self._now = now

    async def read(self, link: str) -> Device | None:
        """See `port.Predecessor`."""
        return await self._userspace.read(link) if self._userspace.runs(link) else None

    async def move(self, link: str, device: Device) -> None:
        """See `port.Predecessor`."""
        try:
            await self._links.settle()
            old = self._links.link_by_name(link)
            if old is None:
                raise WireguardError("the link to move is gone", which=f"link {link}")
            new = await self._prepare(old, device)
            await self._switch(old, new)
        except NetlinkError as error:
            raise WireguardError(
                "cannot move the link from wireguard-go to the kernel",
                which=f"link {link}",
                value=f"{error.what}: {error.value}",
                action=error.action,
            ) from error
        live = self._live(device)
        kept = tuple(PeerWrite(key, keepalive=device.peers[key].keepalive) for key in live)
        if kept:
            await self._kernel.write(link, DeviceWrite(peers=kept))

    async def delete(self, link: str) -> None:
        """See `port.Predecessor`."""
        await self._userspace.delete(link)

    async def _prepare(self, old: Link, device: Device) -> Link:
        """The new device beside the old one: down, under another name, and like it in all else."""
        name = temporary_name(old.name)
        await self._kernel.delete(name)  # of a move that was cut off
        new = await self._links.create_link(name, KIND)
        await self._links.set_link(
            new.index, mtu=old.mtu, alias=old.alias, no_link_local=old.link_local is False
        )
        for one in self._links.addresses(old.index):
            if not one.link_local:
                await self._links.add_address(new.index, one.address, one.prefix_length)
        await self._kernel.write(name, copy_of(device, self._live(device)))
        return new

    async def _switch(self, old: Link, new: Link) -> None:
        """The gap."""
        prefixes = [
            route.prefix
            for route in self._links.routes(old.index)
            if route.protocol == ROUTE_PROTOCOL and route.table == TABLE_MAIN
        ]
        # It frees the port while it answers. Its end, which follows that of its link, comes later.
        await self._userspace.write(old.name, DeviceWrite(listen_port=0))
        await self._links.delete_link(old.index)
        await self._links.set_link(new.index, name=old.name, up=old.up)
        if old.up:
            await self._links.add_routes(new.index, prefixes, replace=True)

    def _live(self, device: Device) -> list[PublicKey]:
        """Peers in session that would wait for traffic to make a new one."""
        oldest = self._now() - RECENT_HANDSHAKE
        return [
            key
            for key, peer in device.peers.items()
            if not peer.keepalive
            and peer.last_handshake is not None
            and peer.last_handshake > oldest
        ]


def temporary_name(link: str) -> str:
    """The name of a new device until it can have its own: always the same for a link, of 15 characters,
    and no network's, since no handle has a capital letter."""
    return f"{LINK_PREFIX}M{zlib.crc32(link.encode()) & 0xFFFFF:05x}"


def copy_of(device: Device, live: Collection[PublicKey]) -> DeviceWrite:
    """All of a device, for another one. The peers in `live` get a keepalive to start with."""
    starting = frozenset(live)
    return DeviceWrite(
        private_key=device.private_key,
        listen_port=device.listen_port or None,
        peers=tuple(
            PeerWrite(
                public_key=key,
                preshared_key=peer.preshared_key,
                endpoint=peer.endpoint,
                keepalive=STARTING_KEEPALIVE if key in starting else peer.keepalive or None,
                allowed_ips=peer.allowed_ips,
            )
            for key, peer in device.peers.items()
        ),
    )

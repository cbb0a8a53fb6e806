"""The kernel backend: WireGuard by generic netlink, its links by rtnetlink.

Messages are packed and read in `kernel_encode` and `kernel_decode`, and go over a socket of their own
for each operation (`generic_netlink`). Between messages the event loop gets its turn. Errors say what
an operator can do: a missing right, a missing module and a link that is gone are told apart.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Final, Protocol

from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.model.values import PublicKey
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.framing import Message
from powernode_agent.netlink.records import Link
from powernode_agent.wireguard.errors import ForeignLinkError, ListenPortInUseError, WireguardError
from powernode_agent.wireguard.generic_netlink import GenericNetlink, InterruptedDumpError
from powernode_agent.wireguard.host import link_driver
from powernode_agent.wireguard.kernel_decode import (
    DevicePart,
    KernelFormatError,
    ParsedCache,
    decode_handshakes,
    decode_part,
    merge,
    raw_keys,
)
from powernode_agent.wireguard.kernel_encode import get_device, set_device
from powernode_agent.wireguard.kernel_header import GENL_NAME
from powernode_agent.wireguard.port import Device, DeviceWrite, PeerWrite

KIND: Final = "wireguard"
"""The kernel's name for links of this kind, and for their driver."""
READS: Final = 5
"""How often a dump is begun anew because somebody changed the device during it."""

_NO_WIREGUARD: Final = (
    "load the module (modprobe wireguard; dmesg says why it does not load), or set backend = "
    '"userspace" under [wireguard]'
)
_ACTIONS: Final = {
    errno.EPERM: "give the agent CAP_NET_ADMIN (AmbientCapabilities= in its unit)",
    errno.EOPNOTSUPP: _NO_WIREGUARD,
    errno.ENOENT: _NO_WIREGUARD,
    errno.ENODEV: "the link is gone, or names one that is; the next reconcile makes ours again",
}


class Channel(Protocol):
    """One open socket to the family; see `generic_netlink.GenericNetlink`."""

    def command(self, body: bytes) -> None: ...

    def dump(self, body: bytes) -> Iterator[list[Message]]: ...


class LinkRequests(Protocol):
    """What is needed of rtnetlink; see `netlink.dispatcher.Netlink`."""

    async def settle(self) -> None: ...

    def link_by_name(self, name: str) -> Link | None: ...

    async def create_link(self, name: str, kind: str) -> Link: ...

    async def delete_link(self, index: int) -> None: ...


OpenChannel = Callable[[], AbstractContextManager[Channel]]


def open_channel() -> GenericNetlink:
    """A socket to the kernel's WireGuard. Raises `NetlinkError`."""
    return GenericNetlink(GENL_NAME)


class Kernel:
    """Devices of the kernel. `driver_of` tells the driver of a link (None: no such link)."""

    kind: Final = BackendKind.KERNEL

    def __init__(
        self,
        links: LinkRequests,
        *,
        open_channel: OpenChannel = open_channel,
        driver_of: Callable[[str], str | None] = link_driver,
    ) -> None:
        self._links = links
        self._open = open_channel
        self._driver_of = driver_of
        self._cache = ParsedCache(socket.if_indextoname)

    async def create(self, link: str) -> None:
        """See `port.Backend`. The kernel loads the module where it has one."""
        if self._check_ours(link):
            return
        try:
            await self._links.create_link(link, KIND)
        except NetlinkError as error:
            raise _failure("cannot create the link", link, error) from error

    async def read(self, link: str) -> Device | None:
        """See `port.Backend`."""
        if not self._check_ours(link):
            return None
        parts: list[DevicePart] = []

        def take(messages: list[Message]) -> None:
            parts.extend(decode_part(one, self._cache) for one in messages)

        return merge(parts) if await self._dump(link, parts.clear, take) else None

    async def handshakes(
        self, link: str, keys: Collection[PublicKey]
    ) -> Mapping[PublicKey, float | None]:
        """See `port.Backend`. The kernel tells all peers or none: all are read, little is decoded."""
        wanted = raw_keys(keys)
        found: dict[PublicKey, float | None] = {}

        def take(messages: list[Message]) -> None:
            for one in messages:
                found.update(decode_handshakes(one, wanted))

        await self._dump(link, found.clear, take)
        return found

    async def write(self, link: str, write: DeviceWrite) -> None:
        """See `port.Backend`. Each message is carried out as a whole or up to the part refused.

        Removals go by a thread: the kernel waits for its readers for each peer, and many peers of a
        large device would keep the event loop for seconds.
        """
        try:
            if any(peer.remove for peer in write.peers):
                await self._write_in_thread(link, write)
                return
            with self._open() as channel:
                for number, body in enumerate(set_device(link, write, _scope_id)):
                    if number:
                        await asyncio.sleep(0)
                    channel.command(body)
        except NetlinkError as error:
            if error.number == errno.EADDRINUSE and write.listen_port is not None:
                raise ListenPortInUseError(f"link {link}", write.listen_port) from error
            raise _failure("the kernel refused a write", link, error) from error

    async def delete(self, link: str) -> None:
        """See `port.Backend`. Its peers go first, in messages and by a thread: with them the end of a
        link of 5,000 peers would be one call of a minute, an RCU grace period for each."""
        device = await self.read(link)
        if device is None:
            return
        gone = tuple(PeerWrite(key, remove=True) for key in device.peers)
        await self.write(link, DeviceWrite(peers=gone))
        try:
            await self._links.settle()
            found = self._links.link_by_name(link)
            if found is not None:
                await self._links.delete_link(found.index)
        except NetlinkError as error:
            raise _failure("cannot remove the link", link, error) from error

    async def _write_in_thread(self, link: str, write: DeviceWrite) -> None:
        """Cancelled, it ends with the message that is under way, and not before: whoever holds the
        device for this write must not let it go while a thread still writes."""
        stop = threading.Event()

        def run() -> None:
            with self._open() as channel:
                for body in set_device(link, write, _scope_id):
                    if stop.is_set():
                        return
                    channel.command(body)

        writing = asyncio.ensure_future(asyncio.to_thread(run))
        cancelled: asyncio.CancelledError | None = None
        while not writing.done():
            try:
                await asyncio.wait([writing])
            except asyncio.CancelledError as error:
                cancelled = error
                stop.set()
        if cancelled is not None:
            writing.exception()  # looked at: it is not the news any more
            raise cancelled
        writing.result()

    async def _dump(
        self, link: str, start: Callable[[], None], take: Callable[[list[Message]], None]
    ) -> bool:
        """Dump the device: `start` before it, and again before it is begun anew; `take` what comes.
        False when there is no such device."""
        for reads_left in reversed(range(READS)):
            start()
            try:
                with self._open() as channel:
                    for messages in channel.dump(get_device(link)):
                        take(messages)
                        await asyncio.sleep(0)
                return True
            except InterruptedDumpError as error:
                if not reads_left:
                    raise _failure("the device does not stand still", link, error) from error
            except NetlinkError as error:
                if error.number == errno.ENODEV:
                    return False
                raise _failure("cannot read the device", link, error) from error
            except KernelFormatError as error:
                raise WireguardError(
                    "cannot understand the kernel", which=f"link {link}", value=str(error)
                ) from None
        return False

    def _check_ours(self, link: str) -> bool:
        """Whether the link exists; raises `ForeignLinkError` if it is no WireGuard of the kernel."""
        driver = self._driver_of(link)
        if driver is not None and driver != KIND:
            raise ForeignLinkError(
                link, f"a link of kind {driver or '(unknown)'}", "a WireGuard link of the kernel"
            )
        return driver is not None


def _scope_id(link: str) -> int:
    try:
        return socket.if_nametoindex(link)
    except OSError:
        raise NetlinkError(
            "no link for a link-local endpoint", which=f"link {link}", number=errno.ENODEV
        ) from None


def _failure(what: str, link: str, error: NetlinkError) -> WireguardError:
    return WireguardError(
        what,
        which=f"link {link}",
        value=error.value or error.what,
        action=_ACTIONS.get(error.number, f"see what the device has: wg show {link}"),
    )

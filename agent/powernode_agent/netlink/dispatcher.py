"""One object for all that goes between this agent and rtnetlink: a live mirror, and requests.

Rooms read the mirror (`follower` keeps it whole), hear of changes by events, and change things by
requests that raise `NetlinkError` when the kernel refuses. Whoever plans from the mirror calls `settle`
first: then it has every write done before, and no partial read is ever taken for the truth.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from powernode_agent.model.values import Address, Prefix
from powernode_agent.netlink import encode
from powernode_agent.netlink.decode import RawRoute
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.follower import Follower
from powernode_agent.netlink.records import Event, InterfaceAddress, Link, Route
from powernode_agent.netlink.requests import Requester
from powernode_agent.netlink.subscription import RECEIVE_BUFFER

_NO_ROUTE: Final = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENOENT,
    errno.EINVAL,
    errno.EACCES,
)
"""What no route, and blackhole (EINVAL), unreachable and prohibit (EACCES) routes, answer."""
_GONE: Final = (errno.ENODEV, errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL)
"""What deleting answers when there is nothing to delete."""


class Netlink:
    """The dispatcher, for the network namespace of the thread that runs it. `receive_buffer` is the
    room for unread notifications, in bytes of kernel memory."""

    def __init__(self, *, receive_buffer: int = RECEIVE_BUFFER) -> None:
        self._callbacks: list[Callable[[Event], None]] = []
        self._follower = Follower(self._tell, receive_buffer)
        self._requester: Requester | None = None

    async def start(self) -> None:
        """Subscribe, dump, and return with a complete mirror. Raises NetlinkError."""
        self._requester = Requester()
        try:
            await self._follower.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening and close the sockets. Changes nothing in the kernel."""
        await self._follower.close()
        if self._requester is not None:
            self._requester.close()
            self._requester = None

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with every event from now on, after the mirror has it; it must not block.
        Gives a function that ends it."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback)

    async def settle(self) -> None:
        """Return when the mirror has the notifications of all writes done before this call, whoever did
        them. What this object wrote itself is in it in any case: it is read again where the kernel
        notifies late or not at all (`mirror` says where). Raises NetlinkError when notifications
        come faster than they can be read."""
        await self._follower.settle()

    async def resync(self, reason: str) -> None:
        """Read everything anew, although nothing seems lost: for the safety net of a slow timer."""
        await self._follower.resync(reason)

    def links(self) -> Mapping[int, Link]:
        """All links by ifindex; a live view."""
        return self._follower.mirror.links

    def link_by_name(self, name: str) -> Link | None:
        """The link of this name."""
        for link in self.links().values():
            if link.name == name:
                return link
        return None

    def addresses(self, index: int) -> Collection[InterfaceAddress]:
        """Addresses of a link; empty for a link that is not there."""
        return self._follower.mirror.addresses(index)

    def routes(self, index: int) -> Collection[Route]:
        """Routes over a link named like ours, of any protocol and table; of other links only those of
        our protocol."""
        return self._follower.mirror.routes(index)

    def routes_version(self, index: int) -> int:
        """A number that is another one whenever `routes` of a link may be others."""
        return self._follower.mirror.routes_version(index)

    async def route_to(self, address: Address) -> Route | None:
        """The route that leads to an address now; None when there is none. Its `mtu` is the route's
        own metric, its `source` the route's own preference: None where the route has none. Of
        several next hops it is the first. Raises NetlinkError, as everything below does."""
        answer = await self._asking().ask(encode.get_route(address))
        if answer.number in _NO_ROUTE:
            return None
        if answer.number or not answer.messages:
            raise NetlinkError(
                "cannot look up the route",
                which=f"to {address}",
                number=answer.number,
                detail=answer.detail or "no answer",
            )
        found = RawRoute(answer.messages[0]).routes()
        return found[0] if found else None

    async def create_link(self, name: str, kind: str) -> Link:
        """Make a link of this kind, down, and give it. EEXIST when the name is taken."""
        await self._asking().demand([encode.create_link(name, kind)])
        await self.settle()
        link = self.link_by_name(name)
        if link is None:
            raise NetlinkError("the new link is gone already", which=f"link {name}")
        return link

    async def set_link(
        self,
        index: int,
        *,
        name: str | None = None,
        up: bool | None = None,
        mtu: int | None = None,
        alias: str | None = None,
        no_link_local: bool = False,
    ) -> None:
        """Set what is given of a link, and nothing else. `name`: its new one, for a link that is down.
        `no_link_local`: the kernel is to give it no IPv6 link-local address by itself."""
        request = encode.set_link(
            index, name=name, up=up, mtu=mtu, alias=alias, no_link_local=no_link_local
        )
        await self._asking().demand([request])
        self._follower.doubt(index)

    async def delete_link(self, index: int) -> None:
        """Delete a link, and with it all that is on it. What is gone already is no error, here and
        in the other deletions: the aim is reached."""
        await self._asking().demand([encode.delete_link(index)], fine=_GONE)

    async def add_address(
        self,
        index: int,
        address: Address,
        prefix_length: int,
        *,
        replace: bool = False,
        never_source: bool = False,
        metric: int = 0,
    ) -> None:
        """Add an address that lasts, IPv6 without duplicate address detection. With `replace` one that
        stands is made to last; without, the error is EEXIST. `never_source` and `metric` as in
        `encode.add_address`."""
        request = encode.add_address(
            index,
            address,
            prefix_length,
            replace=replace,
            never_source=never_source,
            metric=metric,
        )
        await self._asking().demand([request])
        self._follower.doubt(index)

    async def delete_address(self, index: int, address: Address, prefix_length: int) -> None:
        """Delete exactly this address."""
        await self._asking().demand(
            [encode.delete_address(index, address, prefix_length)], fine=_GONE
        )

    async def add_routes(
        self,
        index: int,
        prefixes: Iterable[Prefix],
        *,
        replace: bool = False,
        metrics: Mapping[Prefix, int] | None = None,
    ) -> None:
        """Add routes of ours (protocol 241, table main) over a link; `metrics` of those that have one
        of their own. With `replace` whatever stands in their place is replaced; without, it is left and
        the error is EEXIST."""
        await self._asking().demand(
            [
                encode.add_route(index, prefix, replace=replace, metric=(metrics or {}).get(prefix))
                for prefix in prefixes
            ]
        )

    async def delete_routes(self, routes: Iterable[Route]) -> None:
        """Delete exactly these routes; one of another protocol is never hit instead."""
        await self._asking().demand([encode.delete_route(route) for route in routes], fine=_GONE)

    def _tell(self, event: Event) -> None:
        for callback in tuple(self._callbacks):
            callback(event)

    def _asking(self) -> Requester:
        if self._requester is None:
            raise NetlinkError("cannot ask the kernel", detail="netlink is not started")
        return self._requester

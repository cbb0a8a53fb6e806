"""What this room needs of the kernel: `netlink.dispatcher.Netlink`, or a test's stand-in."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

from powernode_agent.model.values import Address, Prefix
from powernode_agent.netlink.records import Event, InterfaceAddress, Link, Route


class LinkKernel(Protocol):
    """The mirror and the requests; what each does is said in `netlink.dispatcher`."""

    def on_event(self, callback: Callable[[Event], None]) -> Callable[[], None]: ...

    def links(self) -> Mapping[int, Link]: ...

    def link_by_name(self, name: str) -> Link | None: ...

    def addresses(self, index: int) -> Collection[InterfaceAddress]: ...

    def routes(self, index: int) -> Collection[Route]: ...

    async def settle(self) -> None: ...

    async def route_to(self, address: Address) -> Route | None: ...

    async def set_link(
        self,
        index: int,
        *,
        up: bool | None = None,
        mtu: int | None = None,
        alias: str | None = None,
        no_link_local: bool = False,
    ) -> None: ...

    async def delete_link(self, index: int) -> None: ...

    async def add_address(
        self, index: int, address: Address, prefix_length: int, *, replace: bool = False
    ) -> None: ...

    async def delete_address(self, index: int, address: Address, prefix_length: int) -> None: ...

    async def add_routes(
        self,
        index: int,
        prefixes: Iterable[Prefix],
        *,
        replace: bool = False,
        metrics: Mapping[Prefix, int] | None = None,
    ) -> None: ...

    async def delete_routes(self, routes: Iterable[Route]) -> None: ...

"""What this room needs of the kernel: `netlink.dispatcher.Netlink`, and /proc/sys below `net`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from powernode_agent.model.values import Address, Prefix
from powernode_agent.netlink.records import InterfaceAddress, Link, Route


class Kernel(Protocol):
    """The mirror and the requests; what each does is said in `netlink.dispatcher`."""

    def links(self) -> Mapping[int, Link]: ...

    def link_by_name(self, name: str) -> Link | None: ...

    def addresses(self, index: int) -> Collection[InterfaceAddress]: ...

    def routes(self, index: int) -> Collection[Route]: ...

    async def settle(self) -> None: ...

    async def route_to(self, address: Address) -> Route | None: ...

    async def set_link(
        self, index: int, *, up: bool | None = None, no_link_local: bool = False
    ) -> None: ...

    async def add_routes(
        self, index: int, prefixes: Iterable[Prefix], *, replace: bool = False
    ) -> None: ...


class Sysctls(Protocol):
    """Settings by their path below /proc/sys. Both raise `AgentError`."""

    def read(self, key: str) -> str | None:
        """The value; None when there is no such setting."""

    def set(self, key: str, value: str) -> None:
        """Set it."""

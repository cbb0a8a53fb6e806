"""The values this room speaks in: links, addresses, routes, and what changed about them.

All frozen; a record that compares equal to an earlier one means that nothing happened, which is how
the kernel's many repeated notifications are told from news.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from powernode_agent.model.values import LINK_PREFIX, Address, Prefix

TABLE_MAIN: Final = 254
"""RT_TABLE_MAIN of linux/rtnetlink.h."""
TABLE_LOCAL: Final = 255
"""RT_TABLE_LOCAL of linux/rtnetlink.h."""
IPV6_METRIC: Final = 1024
"""What the kernel gives an IPv6 route that names no metric (IP6_RT_PRIO_USER); IPv4 gives 0."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link. `kind` is the driver's word ("wireguard", "tun", "veth"; empty for hardware), `up`
    the administrator's wish (IFF_UP), `running` whether it can carry packets (IFF_RUNNING).
    `link_local`: whether the kernel gives it an IPv6 link-local address by itself (addr_gen_mode other
    than none); None without IPv6."""

    index: int
    name: str
    alias: str
    kind: str
    mtu: int
    up: bool
    running: bool
    link_local: bool | None = None

    @property
    def ours_by_name(self) -> bool:
        """Whether the name is one of ours; the alias and kind decide whether the link is."""
        return self.name.startswith(LINK_PREFIX)


@dataclass(frozen=True, slots=True)
class InterfaceAddress:
    """One address of a link. `flags` are IFA_F_* of linux/if_addr.h. `expires`: whether its valid or
    preferred lifetime ends; not when, because each refresh by a router would then be news.
    `valid_ends`: whether the valid one does; `never_source`: whether the preferred one is over, so that
    nothing new is sent from it. `made_at`: when it was added, in seconds of the monotonic clock; None:
    the kernel does not say. `metric` of its own route (IFA_RT_PRIORITY), 0: the kernel's choice."""

    address: Address
    prefix_length: int
    flags: int = 0
    expires: bool = False
    valid_ends: bool = False
    never_source: bool = False
    metric: int = 0
    made_at: float | None = None

    def __str__(self) -> str:
        return f"{self.address}/{self.prefix_length}"

    @property
    def link_local(self) -> bool:
        """Whether it is one that the kernel makes by itself (fe80::/10)."""
        return isinstance(self.address, IPv6Address) and self.address.is_link_local


@dataclass(frozen=True, slots=True)
class Route:
    """One route, or one next hop of a route that has several: each of them is a record of its own.

    `mtu` and `source` are None where the route itself says nothing; `oif` None for a route that leads
    nowhere (blackhole). `kind` is RTN_* and `scope` RT_SCOPE_* of rtnetlink.h. `nexthop_id`: of the
    nexthop object it was made with (zebra's are), 0: none.
    """

    prefix: Prefix
    oif: int | None
    table: int = TABLE_MAIN
    protocol: int = 0
    scope: int = 0
    kind: int = 1
    metric: int = 0
    tos: int = 0
    gateway: Address | None = None
    source: Address | None = None
    mtu: int | None = None
    nexthop_id: int = 0

    @property
    def place(self) -> tuple[Prefix, int, int, int]:
        """What the kernel lets only one route hold (unless appended): replacing goes by it."""
        return (self.prefix, self.table, self.metric, self.tos)


@dataclass(frozen=True, slots=True)
class LinkChanged:
    """A link came, went, or changed one of the fields of `Link`."""

    link: str


@dataclass(frozen=True, slots=True)
class AddressChanged:
    """An address came to, went from or changed on this link."""

    link: str


@dataclass(frozen=True, slots=True)
class RouteChanged:
    """A route over one of our links changed."""

    link: str


@dataclass(frozen=True, slots=True)
class UnderlayChanged:
    """A route or link that is not ours changed: the ways to endpoints may be others now."""


@dataclass(frozen=True, slots=True)
class Resynced:
    """Notifications were lost, and the mirror was read anew. `reason` in words."""

    reason: str


Event = LinkChanged | AddressChanged | RouteChanged | UnderlayChanged | Resynced

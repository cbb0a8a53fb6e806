"""A link's target against what the kernel has: the steps between, and nothing when they agree. Pure.

Ours on our link are: its alias, MTU and state, whether it makes itself a link-local address, every
address that the kernel did not make by itself and that is no virtual IP, with a lifetime that does not
end, and the routes of protocol 241. Routes of other protocols (the kernel's own, FRR's, an operator's)
are never part of any step.

It makes none: a TUN link would and kernel WireGuard does not, so both behave alike this way; nothing
could be sent to it, since it is in nobody's allowed IPs; and a hub without one sends no ICMPv6
redirects, for which there is no other switch (ndisc_send_redirect).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from powernode_agent.links.errors import ForeignLinkError
from powernode_agent.links.target import LinkTarget
from powernode_agent.model.carrying import FURTHEST_METRIC
from powernode_agent.model.network import MIN_MTU
from powernode_agent.model.values import ALIAS_PREFIX, ROUTE_PROTOCOL, Prefix
from powernode_agent.netlink.records import (
    IPV6_METRIC,
    TABLE_MAIN,
    InterfaceAddress,
    Link,
    Route,
)

OUR_KINDS: Final = frozenset({"wireguard", "tun"})
"""Kernel WireGuard, and wireguard-go's TUN device."""
_RTN_UNICAST: Final = 1


@dataclass(frozen=True, slots=True)
class LinkSteps:
    """What the link itself needs. `replaced` are addresses that stand with another prefix length: the
    kernel holds an IPv6 address once on a link, so they have to go before they can come. `kept` stand
    as they should, but with a lifetime that ends."""

    alias: str | None = None
    mtu: int | None = None
    no_link_local: bool = False
    replaced: tuple[InterfaceAddress, ...] = ()
    added: tuple[InterfaceAddress, ...] = ()
    kept: tuple[InterfaceAddress, ...] = ()
    up: bool = False

    def __bool__(self) -> bool:
        return self != LinkSteps()


@dataclass(frozen=True, slots=True)
class RouteSteps:
    """What our routes over the link need. `replaced` stand in the right place, wrongly made. `metrics`
    are those of host routes among `added` and `replaced`; the others have the usual one."""

    added: tuple[Prefix, ...] = ()
    replaced: tuple[Prefix, ...] = ()
    removed: tuple[Route, ...] = ()
    metrics: Mapping[Prefix, int] = field(default_factory=dict)

    @property
    def removable(self) -> tuple[Route, ...]:
        """`removed` without the host routes whose successors do not stand yet: without any, the peer
        would be reached by the route for the overlay, and be nearer than all others."""
        return tuple(
            route
            for route in self.removed
            if route.prefix not in self.metrics or route.prefix not in self.added
        )


def check_ours(name: str, alias: str, link: Link) -> None:
    """Raises ForeignLinkError for a link that has our name and is not ours: another kind of link, or
    one marked as somebody else's. A link without alias is ours: WireGuard has just made it."""
    if link.kind in OUR_KINDS and link.alias in ("", alias):
        return
    found = f"kind {link.kind or '(none)'}, alias {link.alias!r}"
    if link.alias.startswith(ALIAS_PREFIX):
        found += " (a network that this node has left; its link goes first)"
    raise ForeignLinkError(name, found, f"kind wireguard or tun, alias {alias!r}")


def renamed_links(target: LinkTarget, links: Collection[Link]) -> tuple[Link, ...]:
    """The target's link under a name that is none of ours, while there is none of its own name.

    It holds the port that a new one needs. Beside a link of the right name, one with its alias is
    somebody's copy, and no business of ours.
    """
    if any(link.name == target.name for link in links):
        return ()
    return tuple(
        link
        for link in links
        if link.alias == target.alias and link.kind in OUR_KINDS and not link.ours_by_name
    )


def link_steps(
    target: LinkTarget, link: Link | None, addresses: Collection[InterfaceAddress]
) -> LinkSteps:
    """Steps for alias, MTU, addresses and state; `link` None: it is about to be made."""
    wanted = {address: address.max_prefixlen for address in target.addresses}
    present = {(a.address, a.prefix_length) for a in addresses}
    missing = sorted(
        (item for item in wanted.items() if item not in present),
        key=lambda item: (item[0].version, int(item[0])),
    )
    return LinkSteps(
        alias=target.alias if link is None or link.alias != target.alias else None,
        mtu=target.mtu if link is None or link.mtu != target.mtu else None,
        # Below 1280 the kernel takes IPv6 off a link, and gives it back with defaults.
        no_link_local=link is None or link.link_local is not False or link.mtu < MIN_MTU,
        replaced=tuple(
            a
            for a in addresses
            if isinstance(a.address, IPv6Address)
            and a.address in wanted
            and a.prefix_length != wanted[a.address]
        ),
        added=tuple(InterfaceAddress(address, length) for address, length in missing),
        kept=tuple(
            sorted(
                (a for a in addresses if a.expires and wanted.get(a.address) == a.prefix_length),
                key=str,
            )
        ),
        up=link is None or not link.up,
    )


def unwanted_addresses(
    target: LinkTarget, addresses: Collection[InterfaceAddress]
) -> tuple[InterfaceAddress, ...]:
    """Addresses on our link that nobody asked for. Link-local ones are the kernel's own affair, and
    those that only have the wrong length are `LinkSteps.replaced`. A virtual IP of desired state is
    another room's; one that desired state has no more is unwanted like any other address, so that an
    agent without memory finds it."""
    return tuple(
        sorted(
            (
                a
                for a in addresses
                if not a.link_local
                and a.address not in target.virtual_ips
                and (
                    a.address not in target.addresses
                    # IPv4 may hold an address twice, with different lengths; IPv6 may not.
                    or (a.address.version == 4 and a.prefix_length != 32)
                )
            ),
            key=str,
        )
    )


def route_steps(target: LinkTarget, routes: Collection[Route]) -> RouteSteps:
    """Steps for our routes over the link."""
    if target.routes is None:
        return RouteSteps()
    ours = [route for route in routes if route.protocol == ROUTE_PROTOCOL]
    hosts = _host_metrics(target.host_routes, ours)
    wanted = {**{prefix: _metric(prefix) for prefix in target.routes}, **hosts}
    right = {route.prefix for route in ours if _as_we_make_it(route, wanted)}
    wrong = [route for route in ours if not _as_we_make_it(route, wanted)]
    misplaced = {
        route.prefix
        for route in wrong
        if route.prefix in wanted
        and route.prefix not in right
        and (route.table, route.metric, route.tos) == (TABLE_MAIN, wanted[route.prefix], 0)
    }
    missing = wanted.keys() - right
    return RouteSteps(
        added=tuple(sorted(missing - misplaced, key=_order)),
        replaced=tuple(sorted(misplaced, key=_order)),
        removed=tuple(
            sorted((r for r in wrong if r.prefix not in misplaced), key=lambda r: _order(r.prefix))
        ),
        metrics={prefix: metric for prefix, metric in hosts.items() if prefix in missing},
    )


def _host_metrics(
    wanted: Mapping[Prefix, int | None], ours: Collection[Route]
) -> dict[Prefix, int]:
    """The metrics of host routes; where none is known, that of the nearest that stands."""
    if not wanted:
        return {}
    standing: dict[Prefix, int] = {}
    for route in ours:
        if _metric(route.prefix) < route.metric <= FURTHEST_METRIC and _ordinary(route):
            standing[route.prefix] = min(route.metric, standing.get(route.prefix, FURTHEST_METRIC))
    return {
        prefix: standing.get(prefix, FURTHEST_METRIC) if metric is None else metric
        for prefix, metric in wanted.items()
    }


def _as_we_make_it(route: Route, wanted: Mapping[Prefix, int]) -> bool:
    return route.metric == wanted.get(route.prefix) and _ordinary(route)


def _ordinary(route: Route) -> bool:
    return (
        route.table == TABLE_MAIN
        and route.kind == _RTN_UNICAST
        and route.tos == 0
        and route.gateway is None
    )


def _metric(prefix: Prefix) -> int:
    return IPV6_METRIC if isinstance(prefix, IPv6Network) else 0


def _order(prefix: Prefix) -> tuple[int, int, int]:
    return (prefix.version, int(prefix.network_address), prefix.prefixlen)

"""What the kernel has, as far as it was told: a pure state machine over rtnetlink messages.

Dumps and notifications go through the same handler, so that there is one idea of what a message
means. A dump is bracketed by `begin` and `finish`: what it covers and neither it nor a notification
meanwhile confirmed is swept, so that nothing deleted while we were blind lives on. It holds all links
and addresses, but only those routes that leave by a link named like ours or carry our protocol; of
the others it says no more than that the underlay changed.

Not everything is announced. The kernel drops the IPv4 routes of a link that goes down, or loses its
last IPv4 address, without a word (fib_disable_ip), and IPv6 ones too where
net.ipv6.route.skip_notify_on_dev_down is set; IPv4 routes made with a nexthop object go with it in
silence, and a route made with a group does not say that a member left: `stale_routes` names links whose
routes must be read again. A link that is down changes its alias in silence (netdev_state_change), and a
new IPv6 address is announced only when a work queue gets to it (addrconf_dad_work): `stale_links` names
links that must be read again with their addresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from socket import AF_INET, AF_INET6
from types import MappingProxyType
from typing import Final

from powernode_agent.model.values import ROUTE_PROTOCOL, Address
from powernode_agent.netlink.decode import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEXTHOP,
    RTM_DELROUTE,
    RTM_F_CLONED,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
    RTN_UNICAST,
    RawRoute,
    decode_address,
    decode_link,
    decode_nexthop,
)
from powernode_agent.netlink.framing import NLM_F_MULTI, NLM_F_REPLACE, Message
from powernode_agent.netlink.records import (
    TABLE_LOCAL,
    AddressChanged,
    Event,
    InterfaceAddress,
    Link,
    LinkChanged,
    Route,
    RouteChanged,
    UnderlayChanged,
)

_NOTHING: Final[tuple[Event, ...]] = ()
_UNREACHABLE_KINDS: Final = frozenset({RTN_UNICAST, 6, 7, 8})
"""Unicast, blackhole, unreachable, prohibit: those that can move the way to an endpoint."""

_AddressKey = tuple[int, Address, int]
_Place = tuple[int, bytes, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Links:
    """Scope of a dump: all links."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Scope of a dump: addresses of a family; `index` 0: on all links."""

    family: int
    index: int = 0


@dataclass(frozen=True, slots=True)
class Routes:
    """Scope of a dump: routes of a family over one link; `oif` 0: those of our protocol anywhere."""

    family: int
    oif: int


Scope = Links | Addresses | Routes


class Mirror:
    """The state. `apply` takes one message and gives the events it means, in order."""

    def __init__(self) -> None:
        self._links: dict[int, Link] = {}
        self._addresses: dict[int, dict[tuple[Address, int], InterfaceAddress]] = {}
        self._places: dict[_Place, tuple[Route, ...]] = {}
        self._routes: dict[int | None, set[Route]] = {}
        self._route_changes = 0
        self._changed_at: dict[int | None, int] = {}
        self._unseen: set[int | _AddressKey | tuple[_Place, Route]] = set()
        self.stale_routes: set[int] = set()
        """Indexes of links of ours whose routes may be fewer than we think."""
        self.stale_links: set[int] = set()
        """Indexes of links that may be other than we think, and their addresses too."""

    @property
    def links(self) -> Mapping[int, Link]:
        return MappingProxyType(self._links)

    def addresses(self, index: int) -> frozenset[InterfaceAddress]:
        return frozenset(self._addresses.get(index, {}).values())

    def routes(self, index: int) -> frozenset[Route]:
        return frozenset(self._routes.get(index, ()))

    def routes_version(self, index: int) -> int:
        """Another number after each change of the routes over a link."""
        return self._changed_at.get(index, 0)

    def begin(self, scope: Scope) -> None:
        """A dump of `scope` starts: all it covers is in doubt."""
        self._unseen = set()
        match scope:
            case Links():
                self._unseen.update(self._links)
            case Addresses(family, only):
                self._unseen.update(
                    (index, *key)
                    for index, held in self._addresses.items()
                    for key in held
                    if (key[0].version == 4) == (family == AF_INET) and only in (0, index)
                )
            case Routes(family, oif):
                self._unseen.update(
                    (place, route)
                    for place, held in self._places.items()
                    for route in held
                    if place[0] == family
                    and (route.oif == oif if oif else route.protocol == ROUTE_PROTOCOL)
                )

    def finish(self) -> tuple[Event, ...]:
        """The dump is complete: what is still in doubt is gone."""
        doubtful, self._unseen = self._unseen, set()
        events: list[Event] = []
        for key in doubtful:
            if isinstance(key, int):
                events += self._forget_link(key)
            elif len(key) == 3:
                events += self._forget_address(*key)
            else:
                events += self._forget_route(*key)
        return tuple(events)

    def apply(self, message: Message) -> tuple[Event, ...]:
        """Take in one message, of a dump or a notification. Kinds not known are nothing."""
        kind = message.kind
        if kind in (RTM_NEWROUTE, RTM_DELROUTE):
            return self._route(message, gone=kind == RTM_DELROUTE)
        if kind in (RTM_NEWLINK, RTM_DELLINK):
            link = decode_link(message)
            if link is None:
                return _NOTHING
            return self._forget_link(link.index) if kind == RTM_DELLINK else self._link(link)
        if kind in (RTM_NEWADDR, RTM_DELADDR):
            found = decode_address(message)
            if found is None:
                return _NOTHING
            index, address = found
            if kind == RTM_DELADDR:
                return self._forget_address(index, address.address, address.prefix_length)
            return self._address(index, address)
        if kind in (RTM_NEWNEXTHOP, RTM_DELNEXTHOP):
            self._doubt_routes_by(decode_nexthop(message))
        return _NOTHING

    def _doubt_routes_by(self, nexthop_id: int | None) -> None:
        """A nexthop object changed: links of ours with a route made with it are to be read again."""
        for index, routes in self._routes.items():
            link = None if index is None else self._links.get(index)
            if link is None or not link.ours_by_name:
                continue
            if any(route.nexthop_id == nexthop_id for route in routes):
                self.stale_routes.add(link.index)

    def _link(self, link: Link) -> tuple[Event, ...]:
        self._unseen.discard(link.index)
        before = self._links.get(link.index)
        if before == link:
            return _NOTHING
        self._links[link.index] = link
        if link.ours_by_name:
            was_ours = before is not None and before.ours_by_name
            if not was_ours or (before is not None and before.up and not link.up):
                self.stale_routes.add(link.index)
        names = [link.name]
        if before is not None and before.name != link.name:
            names.append(before.name)
        events: list[Event] = [LinkChanged(name) for name in names]
        if not link.ours_by_name:
            events.append(UnderlayChanged())
        return tuple(events)

    def _forget_link(self, index: int) -> tuple[Event, ...]:
        """With all that was on it: the index may come back as another link's."""
        self.stale_routes.discard(index)
        self.stale_links.discard(index)
        self._addresses.pop(index, None)
        gone = self._routes.pop(index, set())
        self._changed_at.pop(index, None)
        if gone:
            for place, held in list(self._places.items()):
                kept = tuple(route for route in held if route.oif != index)
                if kept:
                    self._places[place] = kept
                else:
                    del self._places[place]
        link = self._links.pop(index, None)
        if link is None:
            return _NOTHING
        if link.ours_by_name:
            return (LinkChanged(link.name),)
        return (LinkChanged(link.name), UnderlayChanged())

    def _address(self, index: int, address: InterfaceAddress) -> tuple[Event, ...]:
        self._unseen.discard((index, address.address, address.prefix_length))
        held = self._addresses.setdefault(index, {})
        key = (address.address, address.prefix_length)
        if held.get(key) == address:
            return _NOTHING
        held[key] = address
        return self._address_changed(index)

    def _forget_address(self, index: int, address: Address, length: int) -> tuple[Event, ...]:
        if self._addresses.get(index, {}).pop((address, length), None) is None:
            return _NOTHING
        link = self._links.get(index)
        if isinstance(address, IPv4Address) and link is not None and link.ours_by_name:
            self.stale_routes.add(index)
        return self._address_changed(index)

    def _address_changed(self, index: int) -> tuple[Event, ...]:
        link = self._links.get(index)
        return _NOTHING if link is None else (AddressChanged(link.name),)

    def _route(self, message: Message, *, gone: bool) -> tuple[Event, ...]:
        try:
            raw = RawRoute(message)
        except ValueError:
            return _NOTHING
        if raw.flags & RTM_F_CLONED or raw.family not in (AF_INET, AF_INET6):
            return _NOTHING
        ours = any(
            link.ours_by_name for oif in raw.oifs if (link := self._links.get(oif)) is not None
        )
        notified = not message.flags & NLM_F_MULTI
        replacing = notified and not gone and bool(message.flags & NLM_F_REPLACE)
        held = self._places.get(raw.place, ())
        if not ours and raw.protocol != ROUTE_PROTOCOL:
            events: list[Event] = []
            if replacing and held:
                # A foreign route took the place of one of ours; there is no RTM_DELROUTE for that.
                events += self._store(raw.place, held, ())
            if raw.table != TABLE_LOCAL and raw.kind in _UNREACHABLE_KINDS:
                events.append(UnderlayChanged())
            return tuple(events)
        routes = raw.routes()
        if not routes:
            return _NOTHING
        self._unseen.difference_update((raw.place, route) for route in routes)
        if gone or not replacing:
            hops = {_hop(route) for route in routes}
            others = tuple(r for r in held if _hop(r) not in hops) if held else ()
        else:
            others = ()
        return self._store(raw.place, held, others if gone else (*others, *routes))

    def _forget_route(self, place: _Place, route: Route) -> tuple[Event, ...]:
        held = self._places.get(place, ())
        return self._store(place, held, tuple(r for r in held if r != route))

    def _store(
        self, place: _Place, before: tuple[Route, ...], after: tuple[Route, ...]
    ) -> tuple[Event, ...]:
        removed = [route for route in before if route not in after]
        added = [route for route in after if route not in before]
        if after:
            self._places[place] = after
        else:
            self._places.pop(place, None)
        self._route_changes += 1
        for route in (*removed, *added):
            self._changed_at[route.oif] = self._route_changes
        for route in removed:
            self._routes.get(route.oif, set()).discard(route)
        for route in added:
            self._routes.setdefault(route.oif, set()).add(route)
        names = {
            link.name
            for route in (*removed, *added)
            if route.oif is not None and (link := self._links.get(route.oif)) is not None
        }
        return tuple(RouteChanged(name) for name in sorted(names))


def _hop(route: Route) -> tuple[int | None, Address | None, int]:
    """What tells routes in one place apart (appended IPv4 routes, IPv6 multipath siblings)."""
    return (route.oif, route.gateway, route.protocol)

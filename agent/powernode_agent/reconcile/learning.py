"""What the kernel has learned on the links of networks, as `paths` wants to hear of it.

On an iBGP network that is every route that somebody else put there. On a static one it is flannel's:
routes inside of the network's pod_subnet_prefix. All else there is the platform's to say, by paths.

zebra replaces an IPv6 route by deleting it and adding another some 80 us later. Whoever looks in
between must not take the prefix from its peer: packets would be lost for a route that was there all
along. A prefix whose route is gone therefore stays learned for a moment (`LINGER`); one that only
changed its next hop is followed at once.

The mirror says by a number whether anything changed, so that an idle pass does not look through
thousands of routes. What could not be observed is not looked at: what was learned before stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.network import Network, RoutingMode
from powernode_agent.model.values import ROUTE_PROTOCOL, Address, NetworkId, Prefix
from powernode_agent.netlink.records import TABLE_MAIN, Link, Route
from powernode_agent.paths.learned import Learned
from powernode_agent.paths.permits import covers

LINGER: Final = 0.01
"""Seconds. Many times what zebra takes on a busy machine, and little beside the time in which BGP
finds another way."""

_NOT_LEARNED: Final = frozenset({1, 2, 9, ROUTE_PROTOCOL})
"""RTPROT_REDIRECT, RTPROT_KERNEL and RTPROT_RA of linux/rtnetlink.h, and ourselves."""
_RTN_UNICAST: Final = 1


class RouteSource(Protocol):
    """What this needs of `netlink.dispatcher.Netlink`."""

    def link_by_name(self, name: str) -> Link | None: ...

    def routes(self, index: int) -> Collection[Route]: ...

    def routes_version(self, index: int) -> int: ...


_Version = tuple[int, int, Prefix | None]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One network at the last look. `version`: (ifindex, the mirror's number, where routes count)."""

    version: _Version
    found: Learned
    leaving: Mapping[Prefix, float] = field(default_factory=dict)
    """Routes that are gone, and until when their prefixes stay learned."""
    learned: Learned = field(default_factory=dict)


class Learning:
    """Remembers what was seen last; `look` keeps identity while nothing changed."""

    def __init__(self, kernel: RouteSource) -> None:
        self._kernel = kernel
        self._seen: dict[NetworkId, _Seen] = {}

    def look(
        self, state: DesiredState, now: float, unseen: Collection[NetworkId] = ()
    ) -> Mapping[NetworkId, Learned]:
        """What was learned, by network. `unseen` are those whose link could not be observed."""
        seen: dict[NetworkId, _Seen] = {}
        for network_id, entry in state.networks.items():
            if not learns(entry.network):
                continue
            before = self._seen.get(network_id)
            if before is not None and network_id in unseen:
                seen[network_id] = before
            else:
                # Also one that was never seen: the mirror was whole when the agent started.
                seen[network_id] = self._look_at(entry.network, before, now)
        self._seen = seen
        return {network_id: each.learned for network_id, each in seen.items()}

    def peek(self, state: DesiredState) -> Mapping[NetworkId, Learned]:
        """What would be learned in another state, for `plan`; remembers nothing."""
        return Learning(self._kernel).look(state, 0.0)

    def next_due(self) -> float | None:
        """When a prefix whose route is gone is to be let go, by the clock given to `look`."""
        times = (min(each.leaving.values()) for each in self._seen.values() if each.leaving)
        return min(times, default=None)

    def _look_at(self, network: Network, before: _Seen | None, now: float) -> _Seen:
        link = self._kernel.link_by_name(network.link)
        within = None if network.routing_mode is RoutingMode.IBGP else network.pod_subnet_prefix
        version: _Version = (0, 0, within)
        if link is not None:
            version = (link.index, self._kernel.routes_version(link.index), within)
        if before is not None and before.version == version:
            if all(now < until for until in before.leaving.values()):
                return before
            found = before.found
        else:
            found = {} if link is None else learned_of(self._kernel.routes(link.index), within)
        if before is None:
            return _Seen(version, found, {}, found)
        leaving = {
            prefix: before.leaving.get(prefix, now + LINGER)
            for prefix in before.learned
            if prefix not in found
        }
        leaving = {prefix: until for prefix, until in leaving.items() if now < until}
        learned = found
        if leaving:
            learned = {**{prefix: before.learned[prefix] for prefix in leaving}, **found}
        if learned == before.learned:
            learned = before.learned
        return _Seen(version, found, leaving, learned)


def learns(network: Network) -> bool:
    """Whether anything is learned on a network at all."""
    return network.routing_mode is RoutingMode.IBGP or network.pod_subnet_prefix is not None


def learned_of(routes: Iterable[Route], within: Prefix | None = None) -> Learned:
    """The next hops of each prefix that somebody else routes over the link: by metric, then by address,
    so that of several equal ones all nodes follow the same. One without a next hop names no peer.
    `within`: only parts of that prefix; None: all."""
    ways: dict[Prefix, list[tuple[int, Address]]] = {}
    for route in routes:
        gateway = route.gateway
        if gateway is None or not _is_learned(route):
            continue
        if within is None or covers(within, route.prefix):
            ways.setdefault(route.prefix, []).append((route.metric, gateway))
    return {prefix: _best_first(found) for prefix, found in ways.items()}


def _is_learned(route: Route) -> bool:
    return (
        route.protocol not in _NOT_LEARNED
        and route.table == TABLE_MAIN
        and route.kind == _RTN_UNICAST
        and not route.tos
    )


def _best_first(found: list[tuple[int, Address]]) -> tuple[Address, ...]:
    if len(found) > 1:
        found.sort(key=lambda way: (way[0], way[1].version, int(way[1])))
    return tuple(gateway for _, gateway in found)

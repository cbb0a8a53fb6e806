"""Requests to rtnetlink as bytes: the few that this agent makes.

Each function gives a `Request`: what to send, less the sequence number, and in words what it asks, for
the error that may come back. Sources as in `decode`; flags are those that `ip` uses for the same verb.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from socket import AF_INET, AF_INET6
from typing import Final

from powernode_agent.model.values import ROUTE_PROTOCOL, Address, Prefix
from powernode_agent.netlink.framing import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    NLM_F_REQUEST,
    attribute,
    message,
)
from powernode_agent.netlink.records import IPV6_METRIC, TABLE_MAIN, Route

_RTM_NEWLINK: Final = 16
_RTM_DELLINK: Final = 17
_RTM_GETLINK: Final = 18
_RTM_SETLINK: Final = 19
_RTM_NEWADDR: Final = 20
_RTM_DELADDR: Final = 21
_RTM_GETADDR: Final = 22
_RTM_NEWROUTE: Final = 24
_RTM_DELROUTE: Final = 25
_RTM_GETROUTE: Final = 26

_IFF_UP: Final = 1
_IFA_F_NODAD: Final = 0x02
_RTM_F_FIB_MATCH: Final = 0x2000
_RTEXT_FILTER_SKIP_STATS: Final = 1 << 3
_RT_SCOPE_UNIVERSE: Final = 0
_RT_SCOPE_LINK: Final = 253
_RT_SCOPE_NOWHERE: Final = 255
_RTN_UNSPEC: Final = 0
_RTN_UNICAST: Final = 1

_IFINFOMSG: Final = struct.Struct("=BxHiII")
_IFADDRMSG: Final = struct.Struct("=BBBBI")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_ACKNOWLEDGED: Final = NLM_F_REQUEST | NLM_F_ACK


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `what` is a phrase for "cannot ...", `which` the thing it is about."""

    kind: int
    flags: int
    body: bytes
    what: str
    which: str

    def packed(self, sequence: int) -> bytes:
        """The message with its sequence number."""
        return message(self.kind, self.flags, sequence, self.body)


def create_link(name: str, kind: str) -> Request:
    """Make a link of this kind, down; the kernel loads the kind's module where it can. EEXIST when the
    name is taken."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + attribute(3, name.encode() + b"\0")  # IFLA_IFNAME
    body += attribute(18, attribute(1, kind.encode()))  # IFLA_LINKINFO, IFLA_INFO_KIND
    flags = _ACKNOWLEDGED | NLM_F_CREATE | NLM_F_EXCL
    return Request(_RTM_NEWLINK, flags, body, f"create {kind} link", f"link {name}")


def set_link(
    index: int,
    *,
    name: str | None = None,
    up: bool | None = None,
    mtu: int | None = None,
    alias: str | None = None,
    no_link_local: bool = False,
) -> Request:
    """Change what is given, and nothing else of the link. `name`: its new one, for a link that is down.
    `no_link_local`: the kernel is to give it no IPv6 link-local address by itself when it comes up."""
    body = b""
    asked = []
    if name is not None:
        body += attribute(3, name.encode() + b"\0")  # IFLA_IFNAME
        asked.append(f"name {name}")
    if mtu is not None:
        body += attribute(4, struct.pack("=I", mtu))  # IFLA_MTU
        asked.append(f"MTU {mtu}")
    if alias is not None:
        body += attribute(20, alias.encode())  # IFLA_IFALIAS; empty takes it away
        asked.append(f"alias {alias!r}")
    if no_link_local:
        mode = attribute(8, b"\x01")  # IFLA_INET6_ADDR_GEN_MODE, none
        body += attribute(26, attribute(AF_INET6, mode))  # IFLA_AF_SPEC
        asked.append("addr_gen_mode none")
    flags = change = 0
    if up is not None:
        change, flags = _IFF_UP, _IFF_UP if up else 0
        asked.append("up" if up else "down")
    header = _IFINFOMSG.pack(0, 0, index, flags, change)
    return Request(
        _RTM_SETLINK, _ACKNOWLEDGED, header + body, f"set link {', '.join(asked)}", f"link {index}"
    )


def delete_link(index: int) -> Request:
    """Delete a link by its index: a name may be another link's by now."""
    header = _IFINFOMSG.pack(0, 0, index, 0, 0)
    return Request(_RTM_DELLINK, _ACKNOWLEDGED, header, "delete link", f"link {index}")


def add_address(
    index: int,
    address: Address,
    prefix_length: int,
    *,
    replace: bool = False,
    never_source: bool = False,
    metric: int = 0,
) -> Request:
    """Add an address; IPv6 without duplicate address detection, which over WireGuard reaches nobody
    and would keep the address from being bound for a second. It lasts for ever, as it does where no
    lifetimes (IFA_CACHEINFO) are given; with `replace` one that stands is made to. `never_source`: the
    preferred lifetime is over from the start, so that the kernel never chooses it to send from.
    `metric` of its own route, 0: the kernel's choice."""
    more = b""
    if never_source:
        more += attribute(6, struct.pack("=IIII", 0, 0xFFFFFFFF, 0, 0))  # IFA_CACHEINFO
    if metric:
        more += attribute(9, struct.pack("=I", metric))  # IFA_RT_PRIORITY
    return _address_request(
        _RTM_NEWADDR,
        _ACKNOWLEDGED | NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL),
        (index, address, prefix_length),
        "add address",
        more,
    )


def delete_address(index: int, address: Address, prefix_length: int) -> Request:
    """Delete exactly this address from this link."""
    return _address_request(
        _RTM_DELADDR, _ACKNOWLEDGED, (index, address, prefix_length), "delete address"
    )


def _address_request(
    kind: int, flags: int, subject: tuple[int, Address, int], what: str, more: bytes = b""
) -> Request:
    index, address, length = subject
    ipv6 = isinstance(address, IPv6Address)
    header = _IFADDRMSG.pack(
        AF_INET6 if ipv6 else AF_INET, length, _IFA_F_NODAD if ipv6 else 0, 0, index
    )
    body = header + attribute(2, address.packed) + attribute(1, address.packed)  # LOCAL, ADDRESS
    body += more
    return Request(kind, flags, body, what, f"{address}/{length}, link {index}")


def add_route(
    index: int, prefix: Prefix, *, replace: bool = False, metric: int | None = None
) -> Request:
    """Add a route of ours over a link: protocol 241, table main, no gateway.

    Without `replace` a route that already stands in this place makes it fail (EEXIST) instead of being
    overwritten: whose it is, is the caller's to know. IPv4 gets scope link, so that others may use
    the prefix's addresses as next hops without `onlink` (flannel's host-gw does). `metric` None: what
    the kernel gives one that names none.
    """
    ipv6 = isinstance(prefix, IPv6Network)
    flags = _ACKNOWLEDGED | NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    body = _RTMSG.pack(
        AF_INET6 if ipv6 else AF_INET,
        prefix.prefixlen,
        0,
        0,
        TABLE_MAIN,
        ROUTE_PROTOCOL,
        _RT_SCOPE_UNIVERSE if ipv6 else _RT_SCOPE_LINK,
        _RTN_UNICAST,
        0,
    )
    body += attribute(1, prefix.network_address.packed) + attribute(4, struct.pack("=i", index))
    if metric is None:
        metric = IPV6_METRIC if ipv6 else 0
    if metric:
        body += attribute(6, struct.pack("=I", metric))  # RTA_PRIORITY
    return Request(_RTM_NEWROUTE, flags, body, "add route", f"{prefix}, link {index}")


def delete_route(route: Route) -> Request:
    """Delete exactly this route. The protocol is part of the request, so that the kernel refuses
    (ESRCH) if somebody else's route stands there by now."""
    ipv6 = isinstance(route.prefix, IPv6Network)
    body = _RTMSG.pack(
        AF_INET6 if ipv6 else AF_INET,
        route.prefix.prefixlen,
        0,
        route.tos,
        route.table if route.table < 256 else 0,
        route.protocol,
        _RT_SCOPE_UNIVERSE if ipv6 else _RT_SCOPE_NOWHERE,
        _RTN_UNSPEC,
        0,
    )
    body += attribute(1, route.prefix.network_address.packed)
    body += attribute(15, struct.pack("=I", route.table))
    if route.oif is not None:
        body += attribute(4, struct.pack("=i", route.oif))
    if route.metric:
        body += attribute(6, struct.pack("=I", route.metric))
    return Request(
        _RTM_DELROUTE, _ACKNOWLEDGED, body, "delete route", f"{route.prefix}, link {route.oif}"
    )


def get_route(address: Address) -> Request:
    """Which route leads to an address.

    RTM_F_FIB_MATCH asks for the route itself: without it the answer carries what path MTU discovery
    has learned, which expires again, and an MTU derived from it would flap.
    """
    ipv6 = isinstance(address, IPv6Address)
    body = _RTMSG.pack(
        AF_INET6 if ipv6 else AF_INET, address.max_prefixlen, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH
    )
    body += attribute(1, address.packed)
    return Request(_RTM_GETROUTE, NLM_F_REQUEST, body, "look up the route", f"to {address}")


def dump_links() -> Request:
    """All links, without their counters."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0)
    body += attribute(29, struct.pack("=I", _RTEXT_FILTER_SKIP_STATS))  # IFLA_EXT_MASK
    return Request(_RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, body, "list links", "")


def read_link(index: int) -> Request:
    """One link. Acknowledged, so that its answer has an end like that of a dump."""
    body = _IFINFOMSG.pack(0, 0, index, 0, 0)
    return Request(_RTM_GETLINK, _ACKNOWLEDGED, body, "read link", f"link {index}")


def dump_addresses(family: int, *, index: int = 0) -> Request:
    """All addresses of a family, or those of one link."""
    body = _IFADDRMSG.pack(family, 0, 0, 0, index)
    which = f"link {index}" if index else ""
    return Request(_RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, body, "list addresses", which)


def dump_routes(family: int, *, oif: int = 0, protocol: int = 0) -> Request:
    """Routes of a family over one link or of one protocol; the kernel does the filtering, which takes
    NETLINK_GET_STRICT_CHK on the socket (Linux 4.20): a full table never crosses to us."""
    body = _RTMSG.pack(family, 0, 0, 0, 0, protocol, 0, 0, 0)
    if oif:
        body += attribute(4, struct.pack("=i", oif))
    which = f"link {oif}" if oif else f"protocol {protocol}"
    return Request(_RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, body, "list routes", which)

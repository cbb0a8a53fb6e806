"""rtnetlink messages to records: only the fields that this agent looks at.

Sources: ifinfomsg and IFLA_* (linux/if_link.h), ifaddrmsg and IFA_* (linux/if_addr.h), rtmsg, RTA_*
and RTAX_* (linux/rtnetlink.h). A message too short for its fixed header, or for a field, is not
decoded at all: None, never a half-filled record.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from socket import AF_INET, AF_INET6
from typing import Final

from powernode_agent.model.values import Address, Prefix
from powernode_agent.netlink.framing import Message, attributes
from powernode_agent.netlink.records import InterfaceAddress, Link, Route

RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_NEWNEXTHOP: Final = 104
RTM_DELNEXTHOP: Final = 105

RTN_UNICAST: Final = 1
RTM_F_CLONED: Final = 0x200

_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_IFLA_IFNAME: Final = 3
_IFLA_MTU: Final = 4
_IFLA_LINKINFO: Final = 18
_IFLA_IFALIAS: Final = 20
_IFLA_INFO_KIND: Final = 1
_IFLA_AF_SPEC: Final = 26
_IFLA_INET6_ADDR_GEN_MODE: Final = 8
IN6_ADDR_GEN_MODE_NONE: Final = 1
_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_CACHEINFO: Final = 6
_IFA_FLAGS: Final = 8
_IFA_RT_PRIORITY: Final = 9
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_PRIORITY: Final = 6
_RTA_PREFSRC: Final = 7
_RTA_METRICS: Final = 8
_RTA_MULTIPATH: Final = 9
_RTA_TABLE: Final = 15
_RTA_VIA: Final = 18
_RTA_NH_ID: Final = 30
_NHA_ID: Final = 1
_RTAX_MTU: Final = 2

_IFINFOMSG: Final = struct.Struct("=BxHiII")
_IFADDRMSG: Final = struct.Struct("=BBBBI")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_LIFETIMES: Final = struct.Struct("=III")
"""How struct ifa_cacheinfo (linux/if_addr.h) begins: preferred and valid, in seconds, and when it was
made, in hundredths of a second since the start of the machine (cstamp_delta)."""
_FOREVER: Final = 0xFFFFFFFF
_U16: Final = struct.Struct("=H")
_U32: Final = struct.Struct("=I")
_I32: Final = struct.Struct("=i")
_NEXT_HOP: Final = struct.Struct("=HBBi")
"""struct rtnexthop (linux/rtnetlink.h): length, flags, hops, ifindex; attributes follow."""
_NHMSG_SIZE: Final = 8
"""struct nhmsg of linux/nexthop.h."""


def decode_link(message: Message) -> Link | None:
    """The link of an RTM_NEWLINK or RTM_DELLINK.

    None for messages of a family: a bridge announces the end of a *port* as RTM_DELLINK with
    AF_BRIDGE, and taking that for the end of the link would forget a link that is there.
    """
    if message.end - message.start < _IFINFOMSG.size:
        return None
    family, _, index, flags, _ = _IFINFOMSG.unpack_from(message.data, message.start)
    if family != 0:
        return None
    found = attributes(message.data, message.start + _IFINFOMSG.size, message.end)
    info = found.get(_IFLA_LINKINFO, b"")
    families = found.get(_IFLA_AF_SPEC, b"")
    ipv6 = attributes(families, 0, len(families)).get(AF_INET6, b"")
    raw_mode = attributes(ipv6, 0, len(ipv6)).get(_IFLA_INET6_ADDR_GEN_MODE)
    mode = raw_mode[0] if raw_mode else None
    return Link(
        index=index,
        name=_text(found.get(_IFLA_IFNAME, b"")),
        alias=_text(found.get(_IFLA_IFALIAS, b"")),
        kind=_text(attributes(info, 0, len(info)).get(_IFLA_INFO_KIND, b"")),
        mtu=_number(found.get(_IFLA_MTU)) or 0,
        up=bool(flags & _IFF_UP),
        running=bool(flags & _IFF_RUNNING),
        link_local=None if mode is None else mode != IN6_ADDR_GEN_MODE_NONE,
    )


def decode_address(message: Message) -> tuple[int, InterfaceAddress] | None:
    """(ifindex, address) of an RTM_NEWADDR or RTM_DELADDR."""
    if message.end - message.start < _IFADDRMSG.size:
        return None
    family, length, flags, _, index = _IFADDRMSG.unpack_from(message.data, message.start)
    found = attributes(message.data, message.start + _IFADDRMSG.size, message.end)
    # IFA_LOCAL is our end where there is a remote one; IFA_ADDRESS is then the remote one.
    address = _address(family, found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS))
    if address is None:
        return None
    wide = _number(found.get(_IFA_FLAGS))
    lifetimes = found.get(_IFA_CACHEINFO, b"")
    preferred, valid, made_at = _FOREVER, _FOREVER, None
    if len(lifetimes) >= _LIFETIMES.size:
        preferred, valid, stamp = _LIFETIMES.unpack_from(lifetimes)
        made_at = stamp / 100
    return index, InterfaceAddress(
        address,
        length,
        flags if wide is None else wide,
        expires=min(preferred, valid) < _FOREVER,
        valid_ends=valid < _FOREVER,
        never_source=preferred == 0,
        metric=_number(found.get(_IFA_RT_PRIORITY)) or 0,
        made_at=made_at,
    )


def decode_nexthop(message: Message) -> int | None:
    """The id of the nexthop object of an RTM_NEWNEXTHOP or RTM_DELNEXTHOP."""
    if message.end - message.start < _NHMSG_SIZE:
        return None
    found = attributes(message.data, message.start + _NHMSG_SIZE, message.end)
    return _number(found.get(_NHA_ID))


class RawRoute:
    """A route message looked at just far enough to see whether anybody here cares.

    Most route notifications of a busy host are foreign, so this makes no addresses and no record.
    """

    __slots__ = (
        "_attributes", "_hops", "_scope", "_tos", "destination", "family", "flags", "kind", "length",
        "metric", "oifs", "protocol", "table",
    )  # fmt: skip

    def __init__(self, message: Message) -> None:
        """Raises ValueError for a message shorter than an rtmsg."""
        if message.end - message.start < _RTMSG.size:
            raise ValueError("short route message")
        (
            self.family, self.length, _, self._tos, table, self.protocol, self._scope, self.kind,
            self.flags,
        ) = _RTMSG.unpack_from(message.data, message.start)  # fmt: skip
        found = attributes(message.data, message.start + 12, message.end)
        self._attributes = found
        self.destination = found.get(_RTA_DST, b"")
        oif = found.get(_RTA_OIF)
        if oif is None:
            hops = _hops(found.get(_RTA_MULTIPATH, b""))
            self.oifs = tuple(index for index, _ in hops)
        else:
            hops = ()
            self.oifs = (_I32.unpack(oif)[0],) if len(oif) == 4 else ()
        self._hops = hops
        self.table = _number(found.get(_RTA_TABLE)) or table
        self.metric = _number(found.get(_RTA_PRIORITY)) or 0

    @property
    def place(self) -> tuple[int, bytes, int, int, int, int]:
        """The same as `Route.place`, from the bytes."""
        return (self.family, self.destination, self.length, self.table, self.metric, self._tos)

    def routes(self) -> tuple[Route, ...]:
        """A record for each next hop, in the kernel's order; none for families other than IPv4 and
        IPv6."""
        prefix = _prefix(self.family, self.destination, self.length)
        if prefix is None:
            return ()
        if self._hops:
            return tuple(self._record(prefix, index, found) for index, found in self._hops)
        oif = self.oifs[0] if self.oifs else None
        return (self._record(prefix, oif, self._attributes),)

    def _record(self, prefix: Prefix, oif: int | None, hop: Mapping[int, bytes]) -> Route:
        found = self._attributes
        metrics = found.get(_RTA_METRICS, b"")
        return Route(
            prefix=prefix,
            oif=oif,
            table=self.table,
            protocol=self.protocol,
            scope=self._scope,
            kind=self.kind,
            metric=self.metric,
            tos=self._tos,
            gateway=_gateway(self.family, hop),
            source=_address(self.family, found.get(_RTA_PREFSRC)),
            mtu=_number(attributes(metrics, 0, len(metrics)).get(_RTAX_MTU)),
            nexthop_id=_number(found.get(_RTA_NH_ID)) or 0,
        )


def _hops(raw: bytes) -> tuple[tuple[int, Mapping[int, bytes]], ...]:
    """(ifindex, attributes) of each next hop of an RTA_MULTIPATH."""
    found: list[tuple[int, Mapping[int, bytes]]] = []
    start = 0
    while start + _NEXT_HOP.size <= len(raw):
        length, _, _, index = _NEXT_HOP.unpack_from(raw, start)
        if length < _NEXT_HOP.size or start + length > len(raw):
            break
        found.append((index, attributes(raw, start + _NEXT_HOP.size, start + length)))
        start += (length + 3) & ~3
    return tuple(found)


def _gateway(family: int, hop: Mapping[int, bytes]) -> Address | None:
    gateway = _address(family, hop.get(_RTA_GATEWAY))
    via = hop.get(_RTA_VIA)
    if gateway is None and via is not None and len(via) > 2:
        # RFC 8950 routes: an IPv4 prefix by an IPv6 next hop (struct rtvia).
        gateway = _address(_U16.unpack_from(via)[0], via[2:])
    return gateway


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode("utf-8", "replace")


def _number(raw: bytes | None) -> int | None:
    if raw is None or len(raw) != 4:
        return None
    number: int = _U32.unpack(raw)[0]
    return number


def _address(family: int, raw: bytes | None) -> Address | None:
    if raw is None:
        return None
    if family == AF_INET and len(raw) == 4:
        return IPv4Address(raw)
    if family == AF_INET6 and len(raw) == 16:
        return IPv6Address(raw)
    return None


def _prefix(family: int, raw: bytes, length: int) -> Prefix | None:
    if family == AF_INET and length <= 32:
        return IPv4Network((raw or bytes(4), length), strict=False)
    if family == AF_INET6 and length <= 128:
        return IPv6Network((raw or bytes(16), length), strict=False)
    return None

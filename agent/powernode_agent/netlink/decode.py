"""rtnetlink messages to records: only the fields that this agent looks at.

Sources: ifinfomsg and IFLA_* (linux/if_link.h), ifaddrmsg and IFA_* (linux/if_addr.h), rtmsg, RTA_*
and RTAX_* (linux/rtnetlink.h). A message too short for its fixed header, or for a field, is not
decoded at all: None, never a half-filled record.
"""

from __future__ import annotations

import struct
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
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_GATEWAY: Final = 5
_RTA_PRIORITY: Final = 6
_RTA_PREFSRC: Final = 7
_RTA_METRICS: Final = 8
_RTA_MULTIPATH: Final = 9
_RTA_TABLE: Final = 15
_RTA_VIA: Final = 18
_RTAX_MTU: Final = 2

_IFINFOMSG: Final = struct.Struct("=BxHiII")
_IFADDRMSG: Final = struct.Struct("=BBBBI")
_RTMSG: Final = struct.Struct("=BBBBBBBBI")
_LIFETIMES: Final = struct.Struct("=II")
"""How struct ifa_cacheinfo (linux/if_addr.h) begins: preferred and valid, in seconds."""
_FOREVER: Final = 0xFFFFFFFF
_U16: Final = struct.Struct("=H")
_U32: Final = struct.Struct("=I")
_I32: Final = struct.Struct("=i")
_NEXT_HOP: Final = struct.Struct("=HBBi")


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
    expires = (
        len(lifetimes) >= _LIFETIMES.size and min(_LIFETIMES.unpack_from(lifetimes)) < _FOREVER
    )
    return index, InterfaceAddress(address, length, flags if wide is None else wide, expires)


class RawRoute:
    """A route message looked at just far enough to see whether anybody here cares.

    Most route notifications of a busy host are foreign, so this makes no addresses and no record.
    """

    __slots__ = (
        "_attributes", "_scope", "_tos", "destination", "family", "flags", "kind", "length",
        "metric", "oif", "protocol", "table",
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
            hops = found.get(_RTA_MULTIPATH)
            self.oif = None if hops is None or len(hops) < 8 else _NEXT_HOP.unpack_from(hops)[3]
        else:
            self.oif = _I32.unpack(oif)[0] if len(oif) == 4 else None
        self.table = _number(found.get(_RTA_TABLE)) or table
        self.metric = _number(found.get(_RTA_PRIORITY)) or 0

    @property
    def place(self) -> tuple[int, bytes, int, int, int, int]:
        """The same as `Route.place`, from the bytes."""
        return (self.family, self.destination, self.length, self.table, self.metric, self._tos)

    def route(self) -> Route | None:
        """The whole record; None for families other than IPv4 and IPv6."""
        prefix = _prefix(self.family, self.destination, self.length)
        if prefix is None:
            return None
        found = self._attributes
        gateway = _address(self.family, found.get(_RTA_GATEWAY))
        via = found.get(_RTA_VIA)
        if gateway is None and via is not None and len(via) > 2:
            # RFC 8950 routes: an IPv4 prefix by an IPv6 next hop (struct rtvia).
            gateway = _address(_U16.unpack_from(via)[0], via[2:])
        metrics = found.get(_RTA_METRICS, b"")
        return Route(
            prefix=prefix,
            oif=self.oif,
            table=self.table,
            protocol=self.protocol,
            scope=self._scope,
            kind=self.kind,
            metric=self.metric,
            tos=self._tos,
            gateway=gateway,
            source=_address(self.family, found.get(_RTA_PREFSRC)),
            mtu=_number(attributes(metrics, 0, len(metrics)).get(_RTAX_MTU)),
        )


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

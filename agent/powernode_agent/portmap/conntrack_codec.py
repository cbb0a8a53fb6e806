"""The conntrack messages that we pack and read: dump what was sent to one place, delete an entry. Pure.

Our own and not the program `conntrack`: that one reads the whole table, twice for each mapping, and
cannot say "unless it is translated as it should be". Here the kernel filters (CTA_FILTER, since Linux
5.8; an older one gives everything, and what does not fit is passed over).

Layouts: linux/netfilter/nfnetlink_conntrack.h. Numbers inside attributes are in network order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP
from typing import Final

from powernode_agent.model.port_mapping import MappingProtocol
from powernode_agent.netlink.framing import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_REQUEST,
    Message,
    attribute,
    attributes,
    message,
)
from powernode_agent.portmap.compile import Flow

NETLINK_NETFILTER: Final = 12
_SUBSYSTEM: Final = 1 << 8
"""NFNL_SUBSYS_CTNETLINK."""
_NEW, _GET, _DELETE = _SUBSYSTEM, _SUBSYSTEM | 1, _SUBSYSTEM | 2
_GENMSG: Final = struct.Struct("!BBH")
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY = 1, 2
_CTA_ID, _CTA_ZONE, _CTA_FILTER = 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_V4_SRC, _IP_V4_DST, _IP_V6_SRC, _IP_V6_DST = 1, 2, 3, 4
_PROTO_NUM, _PROTO_SRC_PORT, _PROTO_DST_PORT = 1, 2, 3
_FILTER_ORIG_FLAGS: Final = 1
_BY_PORT: Final = 1 << 3 | 1 << 5
"""Of the original tuple protocol and port of the destination: CTA_FILTER_FLAG_CTA_PROTO_NUM and
_PROTO_DST_PORT (net/netfilter/nf_internals.h). Not the address: asked for an IPv6 one, the kernel gives
all the others (measured on 6.18)."""
_NUMBERS: Final = {MappingProtocol.TCP: IPPROTO_TCP, MappingProtocol.UDP: IPPROTO_UDP}
_PROTOCOLS: Final = {number: protocol for protocol, number in _NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One connection: where its packets were `sent`, and who answers (`answered_by`: another place
    if its destination is rewritten). `handle` is what deletes it."""

    sent: Flow
    answered_by: Flow
    handle: bytes


def get_entries(version: int, sequence: int, sent: Flow | None = None) -> bytes:
    """Asks for the connections of an IP version; with `sent` only for those whose packets were sent to
    its protocol and port, of whatever address (see `_BY_PORT`)."""
    body = _GENMSG.pack(AF_INET if version == 4 else AF_INET6, 0, 0)
    if sent is not None:
        protocol = attribute(_PROTO_NUM, bytes([_NUMBERS[sent.protocol]]))
        protocol += attribute(_PROTO_DST_PORT, struct.pack("!H", sent.port))
        body += _nested(_CTA_TUPLE_ORIG, _nested(_TUPLE_PROTO, protocol))
        # These flags are in the host's order, unlike all else.
        flags = attribute(_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PORT))
        body += _nested(_CTA_FILTER, flags)
    return message(_GET, NLM_F_REQUEST | NLM_F_DUMP, sequence, body)


def delete_entry(entry: Entry, sequence: int) -> bytes:
    """Deletes exactly this connection: its id tells it from a later one of the same addresses."""
    body = _GENMSG.pack(AF_INET if entry.sent.address.version == 4 else AF_INET6, 0, 0)
    return message(_DELETE, NLM_F_REQUEST | NLM_F_ACK, sequence, body + entry.handle)


def decode_entry(answer: Message) -> Entry | None:
    """One connection; None: the message is something else, or a protocol without ports."""
    if answer.kind != _NEW:
        return None
    found = attributes(answer.data, answer.start + _GENMSG.size, answer.end)
    original = found.get(_CTA_TUPLE_ORIG)
    reply = found.get(_CTA_TUPLE_REPLY)
    if original is None or reply is None:
        return None
    sent = _end(original, (_IP_V4_DST, _IP_V6_DST), _PROTO_DST_PORT)
    answered_by = _end(reply, (_IP_V4_SRC, _IP_V6_SRC), _PROTO_SRC_PORT)
    if sent is None or answered_by is None:
        return None
    handle = attribute(_CTA_TUPLE_ORIG | NLA_F_NESTED, original)
    for kind in (_CTA_ID, _CTA_ZONE):
        if kind in found:
            handle += attribute(kind, found[kind])
    return Entry(sent, answered_by, handle)


def _end(tuple_: bytes, address_kinds: tuple[int, int], port_kind: int) -> Flow | None:
    """One end of a tuple."""
    parts = attributes(tuple_, 0, len(tuple_))
    ip, proto = parts.get(_TUPLE_IP, b""), parts.get(_TUPLE_PROTO, b"")
    addresses, protocol = attributes(ip, 0, len(ip)), attributes(proto, 0, len(proto))
    number, port = protocol.get(_PROTO_NUM), protocol.get(port_kind)
    if not number or number[0] not in _PROTOCOLS or port is None:
        return None
    version4, version6 = (addresses.get(kind) for kind in address_kinds)
    if version4 is not None:
        address: IPv4Address | IPv6Address = IPv4Address(version4)
    elif version6 is not None:
        address = IPv6Address(version6)
    else:
        return None
    return Flow(_PROTOCOLS[number[0]], address, struct.unpack("!H", port)[0])


def _nested(kind: int, payload: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, payload)

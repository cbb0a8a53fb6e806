"""Packets made and read by hand. Each carries a number that tells it from all others of its batch: as
IPv4 identification or IPv6 flow label, and as source port."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from tests.unit.firewall.firewall_reference import ICMP, ICMP6, TCP, UDP, Packet

from powernode_agent.model.values import Address

_SYN, _RST = 0x02, 0x04
DESTINATION_OPTIONS = 60


@dataclass(frozen=True)
class Answer:
    """What came back or came through: the number of the packet it is, or is about."""

    number: int
    is_refusal: bool


def build(packet: Packet, number: int, tos: int = 0, *, options: bool = False) -> bytes:
    """A whole IP packet. `options`: with an IPv6 header for the destination before the upper layer."""
    return ip(packet, number, _upper(packet, number), tos, options=options)


def echo(packet: Packet, number: int, data: bytes, tos: int = 0) -> bytes:
    """An echo request that carries `data`."""
    kind = 128 if packet.protocol == ICMP6 else 8
    return ip(packet, number, _icmp(packet, kind, number, data), tos)


def icmp_error(packet: Packet, number: int, kind: int, code: int, rest: int) -> bytes:
    """An ICMP message of this kind that quotes nothing anybody knows."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + bytes(40)
    return ip(packet, number, _summed(packet, body, 2), 0)


def ip(packet: Packet, number: int, upper: bytes, tos: int, *, options: bool = False) -> bytes:
    source, destination = packet.source.packed, packet.destination.packed
    protocol = packet.protocol
    if packet.source.version == 4:
        header = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(upper), number, 0, 64, protocol, 0)
        summed = checksum(header + source + destination)
        return header[:10] + struct.pack("!H", summed) + source + destination + upper
    if options:
        upper = struct.pack("!BBBB4x", protocol, 0, 1, 4) + upper
        protocol = DESTINATION_OPTIONS
    word = 6 << 28 | tos << 20 | number
    return struct.pack("!IHBB", word, len(upper), protocol, 64) + source + destination + upper


def read(raw: bytes) -> Answer:
    """What a packet is: one of ours, or a refusal of one."""
    if raw[0] >> 4 == 4:
        start, protocol, number = 20, raw[9], struct.unpack_from("!H", raw, 4)[0]
        errors, inner = {3}, 4
    else:
        start, protocol = 40, raw[6]
        number = struct.unpack_from("!I", raw, 0)[0] & 0xFFFFF
        errors, inner = {1}, 0
    if protocol == TCP and raw[start + 13] & _RST:
        return Answer(int(struct.unpack_from("!H", raw, start + 2)[0]), True)
    if protocol == (ICMP if raw[0] >> 4 == 4 else ICMP6) and raw[start] in errors:
        quoted = start + 8 + inner
        if raw[0] >> 4 == 4:
            return Answer(int(struct.unpack_from("!H", raw, quoted)[0]), True)
        return Answer(int(struct.unpack_from("!I", raw, quoted)[0]) & 0xFFFFF, True)
    return Answer(int(number), False)


def ends(raw: bytes) -> tuple[Address, Address]:
    """Source and destination."""
    if raw[0] >> 4 == 4:
        return ip_address(raw[12:16]), ip_address(raw[16:20])
    return ip_address(raw[8:24]), ip_address(raw[24:40])


def _upper(packet: Packet, number: int) -> bytes:
    match packet.protocol:
        case 6:
            assert packet.port is not None
            ports = struct.pack("!HH", number, packet.port)
            segment = ports + struct.pack("!IIBBHHH", 1, 0, 5 << 4, _SYN, 1024, 0, 0)
            return _summed(packet, segment, 16)
        case 17:
            assert packet.port is not None
            return _summed(packet, struct.pack("!HHHH", number, packet.port, 12, 0) + b"data", 6)
        case 58:
            # Of IPv4 too, where it is nothing but a number.
            return _icmp(packet, 128, number, b"")
        case 1:
            return _icmp(packet, 8, number, b"")
        case _:
            return struct.pack("!HHII", 0, 0, 0, number)


def _icmp(packet: Packet, kind: int, number: int, data: bytes) -> bytes:
    return _summed(packet, struct.pack("!BBHHH", kind, 0, 0, number, 0) + data, 2)


def _summed(packet: Packet, body: bytes, at: int) -> bytes:
    covered = body
    if packet.protocol in (TCP, UDP) or packet.source.version == 6:
        ends = packet.source.packed + packet.destination.packed
        covered = ends + struct.pack("!II", len(body), packet.protocol) + body
    value = checksum(covered) or 0xFFFF
    return body[:at] + struct.pack("!H", value) + body[at + 2 :]


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

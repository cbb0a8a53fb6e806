"""A dump of WireGuard's generic netlink family as a device. Pure.

The kernel splits a device that does not fit into one message, and a peer with many allowed IPs; by
public key they are one again. What does not have the shape of the header file is an error, never half
a device.
"""

from __future__ import annotations

import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from powernode_agent.model.values import Endpoint, Prefix, PresharedKey, PrivateKey, PublicKey
from powernode_agent.netlink.framing import NLA_TYPE_MASK, Message
from powernode_agent.wireguard.kernel_header import (
    AF_INET,
    ALLOWED_IP_ADDRESS,
    ALLOWED_IP_MASK,
    ATTRIBUTE,
    DEVICE_LISTEN_PORT,
    DEVICE_PEERS,
    DEVICE_PRIVATE_KEY,
    GENLMSGHDR,
    NO_KEY,
    PEER_ALLOWED_IPS,
    PEER_ENDPOINT,
    PEER_KEEPALIVE,
    PEER_LAST_HANDSHAKE,
    PEER_PRESHARED_KEY,
    PEER_PUBLIC_KEY,
    PEER_RX_BYTES,
    PEER_TX_BYTES,
    SOCKADDR_IN,
    SOCKADDR_IN6,
    TIMESPEC,
    U16,
    U32,
    U64,
)
from powernode_agent.wireguard.port import NO_PREFIXES, Device, DevicePeer

_T = TypeVar("_T")


class KernelFormatError(ValueError):
    """An answer that does not have the shape of the header file; says what, never a value."""


class ParsedCache:
    """Prefixes and endpoints by their bytes: a device of thousands of peers is read often, and most of
    it never changes. Bounded: it starts anew when it holds too many. `scope_name` gives the name of the
    link with an index, or raises OSError.
    """

    __slots__ = ("_endpoints", "_limit", "_lists", "_prefixes", "_scope_name")

    def __init__(self, scope_name: Callable[[int], str], limit: int = 50_000) -> None:
        self._scope_name = scope_name
        self._limit = limit
        self._lists: dict[bytes, frozenset[Prefix]] = {}
        self._prefixes: dict[bytes, Prefix] = {}
        self._endpoints: dict[bytes, Endpoint] = {}

    def allowed_ips(self, raw: bytes) -> frozenset[Prefix]:
        """The prefixes of a WGPEER_A_ALLOWEDIPS."""
        found = self._lists.get(raw)
        if found is None:
            found = frozenset(self._prefix(one) for one in _nested(raw))
            if len(raw) < 400:
                # Long lists change by one prefix at a time: kept whole they would fill the memory.
                _keep(self._lists, raw, found, self._limit)
        return found

    def _prefix(self, raw: bytes) -> Prefix:
        found = self._prefixes.get(raw)
        if found is None:
            found = _keep(self._prefixes, raw, _decode_allowed_ip(raw), self._limit)
        return found

    def endpoint(self, raw: bytes) -> Endpoint:
        """The endpoint of a WGPEER_A_ENDPOINT. One with a scope is not kept: links may be renamed."""
        found = self._endpoints.get(raw)
        if found is None:
            found = _decode_endpoint(raw, self._scope_name)
            if isinstance(found.address, IPv4Address) or found.address.scope_id is None:
                _keep(self._endpoints, raw, found, self._limit)
        return found


def _keep(cache: dict[bytes, _T], raw: bytes, value: _T, limit: int) -> _T:
    if len(cache) >= limit:
        cache.clear()
    cache[raw] = value
    return value


@dataclass(frozen=True, slots=True)
class DevicePart:
    """What one message of a dump tells."""

    private_key: PrivateKey | None = field(default=None, repr=False)
    listen_port: int = 0
    peers: tuple[DevicePeer, ...] = ()


def decode_part(message: Message, cache: ParsedCache) -> DevicePart:
    """One message of a dump; unknown attributes are passed over. Raises `KernelFormatError`."""
    private_key: PrivateKey | None = None
    listen_port = 0
    peers: list[DevicePeer] = []
    data = message.data
    try:
        for kind, start, end in _attributes(data, message.start + GENLMSGHDR.size, message.end):
            if kind == DEVICE_PEERS:
                peers += [
                    _decode_peer(data, first, last, cache)
                    for _, first, last in _attributes(data, start, end)
                ]
            elif kind == DEVICE_LISTEN_PORT:
                (listen_port,) = U16.unpack_from(data, start)
            elif kind == DEVICE_PRIVATE_KEY and data[start:end] != NO_KEY:
                private_key = PrivateKey(_base64(data[start:end]))
    except (struct.error, ValueError, OverflowError):
        # From None: what could not be understood may be a key.
        raise KernelFormatError("an attribute of the answer is malformed") from None
    return DevicePart(private_key, listen_port, tuple(peers))


def _decode_peer(data: bytes, start: int, end: int, cache: ParsedCache) -> DevicePeer:
    key = b""
    psk: PresharedKey | None = None
    endpoint: Endpoint | None = None
    keepalive = rx_bytes = tx_bytes = 0
    handshake: float | None = None
    allowed_ips = NO_PREFIXES
    for kind, first, last in _attributes(data, start, end):
        if kind == PEER_PUBLIC_KEY:
            key = data[first:last]
        elif kind == PEER_ALLOWED_IPS:
            allowed_ips = cache.allowed_ips(data[first:last])
        elif kind == PEER_ENDPOINT:
            endpoint = cache.endpoint(data[first:last])
        elif kind == PEER_LAST_HANDSHAKE:
            seconds, nanoseconds = TIMESPEC.unpack_from(data, first)
            # Never is told as 0.
            handshake = seconds + nanoseconds / 1e9 if seconds or nanoseconds else None
        elif kind == PEER_RX_BYTES:
            (rx_bytes,) = U64.unpack_from(data, first)
        elif kind == PEER_TX_BYTES:
            (tx_bytes,) = U64.unpack_from(data, first)
        elif kind == PEER_KEEPALIVE:
            (keepalive,) = U16.unpack_from(data, first)
        elif kind == PEER_PRESHARED_KEY and data[first:last] != NO_KEY:
            psk = PresharedKey(_base64(data[first:last]))
    if len(key) != 32:
        raise KernelFormatError("a peer of the answer has no public key")
    return DevicePeer(
        PublicKey(_base64(key)),
        psk,
        endpoint,
        keepalive,
        allowed_ips,
        handshake,
        rx_bytes,
        tx_bytes,
    )


def merge(parts: Iterable[DevicePart]) -> Device:
    """One device from the parts of a dump. A peer that a message continues repeats its key and brings
    more allowed IPs; all else came with its first part, as key and port of the device came with the
    first message.
    """
    private_key: PrivateKey | None = None
    listen_port = 0
    peers: dict[PublicKey, DevicePeer] = {}
    for part in parts:
        private_key = private_key or part.private_key
        listen_port = listen_port or part.listen_port
        for peer in part.peers:
            known = peers.get(peer.public_key)
            if known is not None:
                peer = replace(known, allowed_ips=known.allowed_ips | peer.allowed_ips)
            peers[peer.public_key] = peer
    return Device(private_key, listen_port, peers)


def decode_handshakes(
    message: Message, keys: Mapping[bytes, PublicKey]
) -> Iterator[tuple[PublicKey, float | None]]:
    """The last handshakes that one message of a dump tells of peers with these keys (`raw_keys`),
    without decoding the others. Raises `KernelFormatError`.
    """
    data = message.data
    try:
        for kind, start, end in _attributes(data, message.start + GENLMSGHDR.size, message.end):
            if kind != DEVICE_PEERS:
                continue
            for _, first, last in _attributes(data, start, end):
                found = {k: a for k, a, _ in _attributes(data, first, last)}
                at = found[PEER_PUBLIC_KEY]
                wanted = keys.get(data[at : at + 32])
                if wanted is not None and PEER_LAST_HANDSHAKE in found:
                    seconds, nanoseconds = TIMESPEC.unpack_from(data, found[PEER_LAST_HANDSHAKE])
                    yield wanted, seconds + nanoseconds / 1e9 if seconds or nanoseconds else None
    except (struct.error, KeyError):
        raise KernelFormatError("an attribute of the answer is malformed") from None


def raw_keys(keys: Collection[PublicKey]) -> Mapping[bytes, PublicKey]:
    """Keys by the bytes in which messages carry them."""
    return {a2b_base64(key): key for key in keys}


def _attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(type, start, end) of each attribute's payload. Unlike `framing.attributes` it tells repeated
    types, of which lists consist, and copies nothing. Raises `KernelFormatError` for one that ends
    outside: half a list must not be taken for the whole."""
    unpack = ATTRIBUTE.unpack_from
    while start + 4 <= end:
        length, kind = unpack(data, start)
        if length < 4 or start + length > end:
            raise KernelFormatError("an attribute of the answer does not fit")
        yield kind & NLA_TYPE_MASK, start + 4, start + length
        start += (length + 3) & ~3


def _nested(raw: bytes) -> Iterator[bytes]:
    for _, start, end in _attributes(raw, 0, len(raw)):
        yield raw[start:end]


def _decode_allowed_ip(raw: bytes) -> Prefix:
    found = {kind: raw[start:end] for kind, start, end in _attributes(raw, 0, len(raw))}
    address, mask = found.get(ALLOWED_IP_ADDRESS, b""), found.get(ALLOWED_IP_MASK, b"")
    if len(mask) != 1:
        raise KernelFormatError("an allowed IP of the answer has no mask")
    if len(address) == 16:
        return IPv6Network((address, mask[0]))
    return IPv4Network((address, mask[0]))


def _decode_endpoint(raw: bytes, scope_name: Callable[[int], str]) -> Endpoint:
    (family,) = U16.unpack_from(raw)
    if family == AF_INET:
        port, address = SOCKADDR_IN.unpack_from(raw, 2)
        return Endpoint(IPv4Address(address), port)
    port, _, address = SOCKADDR_IN6.unpack_from(raw, 2)
    (scope,) = U32.unpack_from(raw, 24)
    if not scope:
        return Endpoint(IPv6Address(address), port)
    try:
        name = scope_name(scope)
    except OSError:
        name = str(scope)  # the link is gone; its number still says which endpoint it was
    return Endpoint(IPv6Address(f"{IPv6Address(address)}%{name}"), port)


def _base64(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode("ascii")

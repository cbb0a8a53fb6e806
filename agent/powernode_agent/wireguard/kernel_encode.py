"""A write as WireGuard's generic netlink messages. Pure.

Guarantees: a write of any size comes out as messages that the kernel takes, with no attribute beyond
the 65,535 bytes that its 16-bit length can tell, and a peer with many allowed IPs continued in the next
part. No flag that replaces is ever set, neither for all peers of a device nor for all allowed IPs of a
peer: that would cost sessions and packets of those that stay.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from typing import Final

from powernode_agent.model.values import Endpoint, Prefix
from powernode_agent.netlink.framing import NLA_F_NESTED, attribute
from powernode_agent.wireguard.kernel_header import (
    AF_INET,
    AF_INET6,
    ALLOWED_IP_ADDRESS,
    ALLOWED_IP_FAMILY,
    ALLOWED_IP_MASK,
    ATTRIBUTE,
    DEVICE_IFNAME,
    DEVICE_LISTEN_PORT,
    DEVICE_PEERS,
    DEVICE_PRIVATE_KEY,
    GENL_VERSION,
    GENLMSGHDR,
    NO_KEY,
    PEER_ALLOWED_IPS,
    PEER_ENDPOINT,
    PEER_F_REMOVE_ME,
    PEER_FLAGS,
    PEER_KEEPALIVE,
    PEER_PRESHARED_KEY,
    PEER_PUBLIC_KEY,
    SOCKADDR_IN,
    SOCKADDR_IN6,
    U16,
    U32,
    WG_CMD_GET_DEVICE,
    WG_CMD_SET_DEVICE,
)
from powernode_agent.wireguard.port import DeviceWrite, PeerWrite

MESSAGE_LIMIT: Final = 16_384
"""Bytes of peers in one message: some hundred. The kernel works on a message inside `send`, a new peer
being a curve operation of some 50 microseconds, so this also bounds how long the event loop stands."""
REMOVALS_PER_MESSAGE: Final = 32
"""The kernel waits for all readers twice for each peer that goes, with the routing lock (RTNL) held."""
PREFIXES_PER_PART: Final = 256
"""Allowed IPs of a peer in one message, at most 40 bytes each; the peer goes on in the next."""

_KEY_HEAD: Final = ATTRIBUTE.pack(36, PEER_PUBLIC_KEY)
_REMOVE: Final = attribute(PEER_FLAGS, U32.pack(PEER_F_REMOVE_ME))
_MASKS: Final = tuple(attribute(ALLOWED_IP_MASK, bytes([length])) for length in range(129))


def _allowed_ip_head(family: int, size: int) -> bytes:
    """What precedes an allowed IP's address: the nest's header, the family, the address's header."""
    return (
        ATTRIBUTE.pack(4 + 8 + 4 + size + 8, NLA_F_NESTED)
        + attribute(ALLOWED_IP_FAMILY, U16.pack(family))
        + ATTRIBUTE.pack(4 + size, ALLOWED_IP_ADDRESS)
    )


_IPV4_HEAD: Final = _allowed_ip_head(AF_INET, 4)
_IPV6_HEAD: Final = _allowed_ip_head(AF_INET6, 16)


def get_device(link: str) -> bytes:
    """The body of a WG_CMD_GET_DEVICE dump request."""
    return GENLMSGHDR.pack(WG_CMD_GET_DEVICE, GENL_VERSION) + _name(link)


def set_device(link: str, write: DeviceWrite, scope_id: Callable[[str], int]) -> Iterator[bytes]:
    """The bodies of the WG_CMD_SET_DEVICE requests that carry out `write`, in order.

    The first one sets key and port. `scope_id` gives the index of the link that a link-local endpoint
    names; what it raises comes out.
    """
    start = GENLMSGHDR.pack(WG_CMD_SET_DEVICE, GENL_VERSION) + _name(link)
    head = start
    if write.private_key is not None:
        head += attribute(DEVICE_PRIVATE_KEY, a2b_base64(write.private_key.reveal()))
    if write.listen_port is not None:
        head += attribute(DEVICE_LISTEN_PORT, U16.pack(write.listen_port))
    waiting: list[bytes] = []
    size = 0
    for peer in write.peers:
        for part in _peer_parts(peer, scope_id):
            weight = MESSAGE_LIMIT // REMOVALS_PER_MESSAGE if peer.remove else len(part)
            if size + weight > MESSAGE_LIMIT and waiting:
                yield head + _nest(DEVICE_PEERS, b"".join(waiting))
                head, waiting, size = start, [], 0
            waiting.append(part)
            size += weight
    if waiting:
        yield head + _nest(DEVICE_PEERS, b"".join(waiting))
    elif head is not start:
        yield head


def _peer_parts(peer: PeerWrite, scope_id: Callable[[str], int]) -> Iterator[bytes]:
    """The peer, in as many parts as its allowed IPs need. To the kernel every part is a peer; each but
    the first only adds allowed IPs to the one that is there."""
    key = _KEY_HEAD + a2b_base64(peer.public_key)
    if peer.remove:
        yield _nest(0, key + _REMOVE)
        return
    body = key
    if peer.preshared_key is not None:
        body += attribute(PEER_PRESHARED_KEY, a2b_base64(peer.preshared_key.reveal()))
    elif peer.clear_preshared_key:
        body += attribute(PEER_PRESHARED_KEY, NO_KEY)
    if peer.endpoint is not None:
        body += attribute(PEER_ENDPOINT, _sockaddr(peer.endpoint, scope_id))
    if peer.keepalive is not None:
        body += attribute(PEER_KEEPALIVE, U16.pack(peer.keepalive))
    prefixes = [_allowed_ip(prefix) for prefix in peer.allowed_ips]
    for start in range(0, len(prefixes) or 1, PREFIXES_PER_PART):
        part = prefixes[start : start + PREFIXES_PER_PART]
        yield _nest(0, body + _nest(PEER_ALLOWED_IPS, b"".join(part)) if part else body)
        body = key


def _allowed_ip(prefix: Prefix) -> bytes:
    # By its integer: `packed` of the network address makes the same through three more calls.
    number = int(prefix.network_address)
    if prefix.version == 6:
        return _IPV6_HEAD + number.to_bytes(16, "big") + _MASKS[prefix.prefixlen]
    return _IPV4_HEAD + number.to_bytes(4, "big") + _MASKS[prefix.prefixlen]


def _sockaddr(endpoint: Endpoint, scope_id: Callable[[str], int]) -> bytes:
    address = endpoint.address
    if isinstance(address, IPv4Address):
        return U16.pack(AF_INET) + SOCKADDR_IN.pack(endpoint.port, address.packed)
    scope = address.scope_id
    index = 0 if scope is None else int(scope) if scope.isdecimal() else scope_id(scope)
    return (
        U16.pack(AF_INET6) + SOCKADDR_IN6.pack(endpoint.port, 0, address.packed) + U32.pack(index)
    )


def _name(link: str) -> bytes:
    return attribute(DEVICE_IFNAME, link.encode("ascii") + b"\0")


def _nest(kind: int, payload: bytes) -> bytes:
    """A nested attribute. The flag is demanded: the family is validated strictly. What is put into one
    is padded already."""
    return ATTRIBUTE.pack(4 + len(payload), kind | NLA_F_NESTED) + payload

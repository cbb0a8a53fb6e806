"""The kernel backend over recorded answers; this kernel may have no WireGuard.

Messages are packed and read here by pyroute2 too, which is nobody's dependency but the tests': an idea
of the format that is not our own.
"""

from __future__ import annotations

import base64
import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.generic.wireguard import wgmsg

from powernode_agent.model.values import (
    Endpoint,
    PresharedKey,
    PrivateKey,
    PublicKey,
)
from powernode_agent.netlink.errors import NetlinkError
from powernode_agent.netlink.framing import Message, attribute, messages
from powernode_agent.netlink.records import Link
from powernode_agent.wireguard.errors import (
    ForeignLinkError,
    ListenPortInUseError,
    WireguardError,
)
from powernode_agent.wireguard.generic_netlink import InterruptedDumpError
from powernode_agent.wireguard.kernel import READS, Channel, Kernel
from powernode_agent.wireguard.kernel_decode import (
    KernelFormatError,
    ParsedCache,
    decode_part,
    merge,
)
from powernode_agent.wireguard.kernel_encode import set_device
from powernode_agent.wireguard.port import DeviceWrite, PeerWrite

LINK = "wg-sdwan-core"
NESTED = 0x8000


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def no_scope(name: str) -> int:
    raise AssertionError(f"nobody asked for {name}")


def cache() -> ParsedCache:
    return ParsedCache({7: "eth7"}.__getitem__)


# What we send, as pyroute2 reads it.


def sent(write: DeviceWrite) -> list[Any]:
    found = []
    for body in set_device(LINK, write, {"eth7": 7}.__getitem__):
        raw = struct.pack("=IHHII", 16 + len(body), 0x20, 0, 1, 1) + body
        decoded = wgmsg(raw)
        decoded.decode()
        found.append(decoded)
    return found


def allowed(peer: Any) -> list[str]:
    return [one["addr"] for one in peer.get_attr("WGPEER_A_ALLOWEDIPS") or ()]


def test_a_peer_with_everything() -> None:
    peer = PeerWrite(
        PublicKey(key(1)),
        preshared_key=PresharedKey(key(9)),
        endpoint=Endpoint(IPv4Address("203.0.113.5"), 51820),
        keepalive=25,
        allowed_ips=frozenset({ip_network("10.1.0.0/16")}),
    )
    (message,) = sent(DeviceWrite(PrivateKey(key(0x40)), 51821, (peer,)))
    assert message["cmd"] == 1
    assert message.get_attr("WGDEVICE_A_IFNAME") == LINK
    assert message.get_attr("WGDEVICE_A_PRIVATE_KEY").decode() == key(0x40)
    assert message.get_attr("WGDEVICE_A_LISTEN_PORT") == 51821
    assert message.get_attr("WGDEVICE_A_FLAGS") is None
    (shown,) = message.get_attr("WGDEVICE_A_PEERS")
    assert shown.get_attr("WGPEER_A_PUBLIC_KEY").decode() == key(1)
    assert shown.get_attr("WGPEER_A_PRESHARED_KEY").decode() == key(9)
    assert shown.get_attr("WGPEER_A_FLAGS") is None
    assert shown.get_attr("WGPEER_A_ENDPOINT")["addr"] == "203.0.113.5"
    assert shown.get_attr("WGPEER_A_ENDPOINT")["port"] == 51820
    assert shown.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == 25
    assert allowed(shown) == ["10.1.0.0/16"]


def test_removing_and_clearing() -> None:
    (message,) = sent(
        DeviceWrite(
            peers=(
                PeerWrite(PublicKey(key(1)), remove=True, keepalive=5),
                PeerWrite(PublicKey(key(2)), clear_preshared_key=True, keepalive=0),
            )
        )
    )
    gone, cleared = message.get_attr("WGDEVICE_A_PEERS")
    assert gone.get_attr("WGPEER_A_FLAGS") == 1
    assert gone.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") is None
    assert cleared.get_attr("WGPEER_A_PRESHARED_KEY").decode() == key(0)
    assert cleared.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL") == 0


def test_an_ipv6_endpoint_is_a_sockaddr_in6_with_its_scope_in_host_order() -> None:
    """By bytes: pyroute2 packs the scope in the wrong order."""
    peer = PeerWrite(PublicKey(key(1)), endpoint=Endpoint(IPv6Address("fe80::5%eth7"), 51820))
    (body,) = set_device(LINK, DeviceWrite(peers=(peer,)), {"eth7": 7}.__getitem__)
    address = bytes.fromhex("fe80") + bytes(13) + b"\x05"
    assert (
        struct.pack("=H", socket.AF_INET6)
        + struct.pack(">HI", 51820, 0)
        + address
        + struct.pack("=I", 7)
    ) in body


def test_a_write_of_nothing_sends_nothing() -> None:
    assert sent(DeviceWrite()) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 255, 256, 257, 700]), max_size=6), st.booleans())
def test_any_write_fits_and_arrives_whole(sizes: list[int], with_key: bool) -> None:
    peers = tuple(
        PeerWrite(
            PublicKey(key(number + 1)),
            keepalive=number,
            allowed_ips=frozenset(ip_network(f"fd00:{number}::{n:x}/128") for n in range(size)),
        )
        for number, size in enumerate(sizes)
    )
    private = PrivateKey(key(0x40)) if with_key else None
    write = DeviceWrite(private, peers=peers)
    bodies = list(set_device(LINK, write, no_scope))
    assert all(len(body) < 32_768 for body in bodies)
    arrived: dict[str, list[str]] = {}
    keepalives: dict[str, list[int]] = {}
    for number, message in enumerate(sent(write)):
        assert (message.get_attr("WGDEVICE_A_PRIVATE_KEY") is not None) == (with_key and not number)
        for peer in message.get_attr("WGDEVICE_A_PEERS") or ():
            name = peer.get_attr("WGPEER_A_PUBLIC_KEY").decode()
            arrived.setdefault(name, []).extend(allowed(peer))
            keepalive = peer.get_attr("WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL")
            if keepalive is not None:
                keepalives.setdefault(name, []).append(keepalive)
    assert {name: sorted(found) for name, found in arrived.items()} == {
        peer.public_key: sorted(map(str, peer.allowed_ips)) for peer in peers
    }
    assert keepalives == {peer.public_key: [peer.keepalive] for peer in peers}


# What the kernel tells, packed by hand.


def allowed_ip(text: str) -> bytes:
    network = ip_network(text)
    family = socket.AF_INET6 if network.version == 6 else socket.AF_INET
    return attribute(
        NESTED,
        attribute(1, struct.pack("=H", family))
        + attribute(2, network.network_address.packed)
        + attribute(3, bytes([network.prefixlen])),
    )


IPV4_ENDPOINT = struct.pack("=H", socket.AF_INET) + struct.pack(">H4s8x", 51820, b"\xcb\0\x71\x05")


def wire_peer(
    number: int, *prefixes: str, first: bool = True, endpoint: bytes = IPV4_ENDPOINT
) -> bytes:
    parts = attribute(1, bytes([number]) * 32)
    if first:
        parts += attribute(2, b"\x09" * 32)
        parts += attribute(6, struct.pack("=qq", 1700000000, 500000000))
        parts += attribute(5, struct.pack("=H", 25))
        parts += attribute(8, struct.pack("=Q", 11)) + attribute(7, struct.pack("=Q", 22))
        parts += attribute(10, struct.pack("=I", 1)) + attribute(4, endpoint)
    if prefixes:
        parts += attribute(NESTED | 9, b"".join(map(allowed_ip, prefixes)))
    return attribute(NESTED, parts)


def wire(*peers: bytes, first: bool = True) -> Message:
    body = struct.pack("=BBH", 0, 1, 0)
    if first:
        body += attribute(6, struct.pack("=H", 51820)) + attribute(7, bytes(4))
        body += attribute(1, struct.pack("=I", 4)) + attribute(2, LINK.encode() + b"\0")
        body += attribute(3, b"\x40" * 32) + attribute(4, b"\x41" * 32)
    body += attribute(NESTED | 8, b"".join(peers))
    raw = struct.pack("=IHHII", 16 + len(body), 0x20, 2, 1, 1) + body
    (message,) = messages(raw)
    return message


def test_a_device_split_over_messages_is_one() -> None:
    known = cache()
    device = merge(
        decode_part(one, known)
        for one in (
            wire(wire_peer(1, "fd00:1::1/128"), wire_peer(2, "10.0.0.0/24")),
            wire(wire_peer(2, "10.0.1.0/24", first=False), wire_peer(3), first=False),
        )
    )
    assert device.private_key == PrivateKey(key(0x40))
    assert device.listen_port == 51820
    assert list(device.peers) == [key(1), key(2), key(3)]
    split = device.peers[PublicKey(key(2))]
    assert split.allowed_ips == {ip_network("10.0.0.0/24"), ip_network("10.0.1.0/24")}
    assert split.endpoint == Endpoint(ip_address("203.0.113.5"), 51820)
    assert split.preshared_key == PresharedKey(key(9))
    assert (split.keepalive, split.last_handshake) == (25, 1700000000.5)
    assert (split.rx_bytes, split.tx_bytes) == (22, 11)


def test_no_keys_and_no_handshake_are_none() -> None:
    peer = attribute(
        NESTED,
        attribute(1, b"\x01" * 32)
        + attribute(2, bytes(32))
        + attribute(6, struct.pack("=qq", 0, 0)),
    )
    body = struct.pack("=BBH", 0, 1, 0) + attribute(3, bytes(32)) + attribute(NESTED | 8, peer)
    (message,) = messages(struct.pack("=IHHII", 16 + len(body), 0x20, 2, 1, 1) + body)
    device = merge([decode_part(message, cache())])
    assert device.private_key is None
    assert device.peers[PublicKey(key(1))].preshared_key is None
    assert device.peers[PublicKey(key(1))].last_handshake is None


def test_ipv6_endpoints_with_and_without_scope() -> None:
    def told(address: str, scope: int) -> Endpoint | None:
        raw = struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", 4500, 0)
        raw += IPv6Address(address).packed + struct.pack("=I", scope)
        part = decode_part(wire(wire_peer(1, endpoint=raw)), cache())
        return part.peers[0].endpoint

    assert told("2001:db8::5", 0) == Endpoint(IPv6Address("2001:db8::5"), 4500)
    assert told("fe80::5", 7) == Endpoint(IPv6Address("fe80::5%eth7"), 4500)


@given(st.data())
def test_a_cut_answer_is_an_error_and_shows_no_key(data: st.DataObject) -> None:
    whole = wire(wire_peer(1, "fd00:1::1/128"), wire_peer(2))
    peers = whole.data.index(b"\x01" * 32)
    end = data.draw(st.integers(peers, whole.end - 1))
    cut = Message(whole.kind, whole.flags, 1, 0, whole.data[:end], whole.start, end)
    with pytest.raises(KernelFormatError) as caught:
        decode_part(cut, cache())
    assert caught.value.__cause__ is None
    assert "@" not in str(caught.value)


# The backend.


class Answers:
    """A channel that notes its commands and gives recorded dumps."""

    def __init__(self, error: NetlinkError | None = None, interrupted: int = 0) -> None:
        self.commands: list[bytes] = []
        self.dumps = 0
        self.error = error
        self.interrupted = interrupted

    def command(self, body: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.commands.append(body)

    def dump(self, body: bytes) -> Iterator[list[Message]]:
        self.dumps += 1
        if self.error is not None:
            raise self.error
        yield [wire(wire_peer(1, "fd00:1::1/128"))]
        if self.dumps <= self.interrupted:
            raise InterruptedDumpError("changed meanwhile")
        yield [wire(wire_peer(2), first=False)]


class NoLinks:
    """Links of which there are none but those made here."""

    def __init__(self, error: NetlinkError | None = None) -> None:
        self.made: list[tuple[str, str]] = []
        self.error = error

    async def settle(self) -> None:
        return

    def link_by_name(self, name: str) -> Link | None:
        return None

    async def create_link(self, name: str, kind: str) -> Link:
        if self.error is not None:
            raise self.error
        self.made.append((name, kind))
        return Link(7, name, "", kind, 1420, up=False, running=False)

    async def delete_link(self, index: int) -> None:
        raise AssertionError("nothing to delete")


def backend(answers: Answers, driver: str | None, links: NoLinks | None = None) -> Kernel:
    @contextmanager
    def opened() -> Iterator[Channel]:
        yield answers

    return Kernel(links or NoLinks(), open_channel=opened, driver_of=lambda link: driver)


async def test_a_dump_that_was_interrupted_is_begun_anew() -> None:
    answers = Answers(interrupted=READS - 1)
    device = await backend(answers, "wireguard").read(LINK)
    assert device is not None
    assert list(device.peers) == [key(1), key(2)]
    assert answers.dumps == READS
    with pytest.raises(WireguardError, match="stand still"):
        await backend(Answers(interrupted=READS), "wireguard").read(LINK)


async def test_a_link_that_goes_meanwhile_is_no_link() -> None:
    gone = Answers(NetlinkError("refused", number=errno.ENODEV))
    assert await backend(gone, "wireguard").read(LINK) is None


async def test_a_taken_port_is_named() -> None:
    taken = Answers(NetlinkError("refused", number=errno.EADDRINUSE))
    with pytest.raises(ListenPortInUseError):
        await backend(taken, "wireguard").write(LINK, DeviceWrite(listen_port=51820))


@pytest.mark.parametrize(
    ("number", "action"),
    [
        (errno.EPERM, "CAP_NET_ADMIN"),
        (errno.EOPNOTSUPP, "modprobe wireguard"),
        (errno.ENODEV, "reconcile"),
        (errno.EINVAL, "wg show"),
    ],
)
async def test_other_errors_say_what_and_where_and_what_to_do(number: int, action: str) -> None:
    error = NetlinkError("refused", number=number)
    name = errno.errorcode[number]
    with pytest.raises(WireguardError, match=f"{LINK}.*{name}.*{action}"):
        await backend(Answers(error), "wireguard").write(LINK, DeviceWrite(listen_port=1))
    with pytest.raises(WireguardError, match=f"{LINK}.*{name}.*{action}"):
        await backend(Answers(), None, NoLinks(error)).create(LINK)


async def test_a_link_is_made_once_and_foreign_ones_are_refused() -> None:
    links = NoLinks()
    await backend(Answers(), None, links).create(LINK)
    await backend(Answers(), "wireguard", links).create(LINK)
    assert links.made == [(LINK, "wireguard")]
    assert await backend(Answers(), None).read(LINK) is None
    with pytest.raises(ForeignLinkError):
        await backend(Answers(), "tun").read(LINK)


async def test_handshakes_of_a_few_peers() -> None:
    found = await backend(Answers(), "wireguard").handshakes(
        LINK, [PublicKey(key(1)), PublicKey(key(7))]
    )
    assert found == {key(1): 1700000000.5}

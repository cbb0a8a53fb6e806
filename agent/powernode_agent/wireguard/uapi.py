"""The text that wireguard-go speaks on its socket: encode a write, decode a device.

Pure. The format is WireGuard's cross-platform userspace API (wireguard.com/xplatform): `key=value`
lines, an empty line ends a message, keys in lower-case hexadecimal. Decoding is tight, and parses
each prefix and endpoint text once: a device of 1,000 peers is read often, and most of it never changes.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Final

from powernode_agent.model.values import Endpoint, Prefix, PresharedKey, PrivateKey, PublicKey
from powernode_agent.wireguard.port import (
    Device,
    DevicePeer,
    DeviceWrite,
    PeerWrite,
)
from powernode_agent.wireguard.prefixes import text_of

GET: Final = b"get=1\n\n"
PEERS_PER_MESSAGE: Final = 256
"""A message that fails stops half-way; smaller ones bound what is left unknown and how much one write
puts into the socket before it reads an answer."""

_NO_KEY: Final = "0" * 64
"""How WireGuard spells "no key", in both directions (wireguard.com/xplatform)."""


class UapiFormatError(ValueError):
    """An answer that is not in the format; says which line, without its value: it may be a key."""


class TextCache:
    """Prefixes and endpoints by their text. Bounded: it starts anew when it holds too many."""

    __slots__ = ("_endpoints", "_limit", "_prefixes")

    def __init__(self, limit: int = 50_000) -> None:
        self._prefixes: dict[str, Prefix] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._limit = limit

    def prefix(self, text: str) -> Prefix:
        found = self._prefixes.get(text)
        if found is None:
            if len(self._prefixes) >= self._limit:
                self._prefixes.clear()
            found = self._prefixes[text] = ip_network(text)
        return found

    def endpoint(self, text: str) -> Endpoint:
        found = self._endpoints.get(text)
        if found is None:
            if len(self._endpoints) >= self._limit:
                self._endpoints.clear()
            host, _, port = text.rpartition(":")
            found = self._endpoints[text] = Endpoint(ip_address(host.strip("[]")), int(port))
        return found


def encode_write(write: DeviceWrite) -> Iterator[bytes]:
    """The `set` messages that carry out `write`, in order; the first sets key and port."""
    head = ["set=1"]
    if write.private_key is not None:
        head.append(f"private_key={_hex(write.private_key.reveal())}")
    if write.listen_port is not None:
        head.append(f"listen_port={write.listen_port}")
    if len(head) > 1 or not write.peers:
        yield _message(head)
    for start in range(0, len(write.peers), PEERS_PER_MESSAGE):
        lines = ["set=1"]
        for peer in write.peers[start : start + PEERS_PER_MESSAGE]:
            lines += _peer_lines(peer)
        yield _message(lines)


def _peer_lines(peer: PeerWrite) -> list[str]:
    lines = [f"public_key={_hex(peer.public_key)}"]
    if peer.remove:
        lines.append("remove=true")
        return lines
    if peer.preshared_key is not None:
        lines.append(f"preshared_key={_hex(peer.preshared_key.reveal())}")
    if peer.clear_preshared_key:
        lines.append(f"preshared_key={_NO_KEY}")
    if peer.endpoint is not None:
        lines.append(f"endpoint={peer.endpoint}")
    if peer.keepalive is not None:
        lines.append(f"persistent_keepalive_interval={peer.keepalive}")
    lines += [f"allowed_ip={text_of(prefix)}" for prefix in peer.allowed_ips]
    return lines


def decode_errno(answer: str) -> int:
    """The error number at the end of an answer, 0 for success; negative as wireguard-go sends it.

    Raises `UapiFormatError` where there is none.
    """
    line = answer.rstrip("\n").rpartition("\n")[2]
    name, _, value = line.partition("=")
    if name != "errno":
        raise UapiFormatError("the answer ends without errno")
    try:
        return int(value)
    except ValueError:
        raise UapiFormatError("errno is not a number") from None


def decode_device(answer: str, cache: TextCache) -> Device:
    """The device in a successful answer to GET. Raises `UapiFormatError`.

    Unknown lines are passed over: a newer wireguard-go may say more.
    """
    private_key: PrivateKey | None = None
    listen_port = 0
    head, *sections = answer.split("public_key=")
    name = ""
    try:
        for line in head.splitlines():
            name, _, value = line.partition("=")
            if name == "private_key" and value != _NO_KEY:
                private_key = PrivateKey(_base64(value))
            elif name == "listen_port":
                listen_port = int(value)
        peers = [_decode_peer(section, cache) for section in sections]
    except ValueError:
        raise UapiFormatError(f"a value of the answer is malformed (last line: {name})") from None
    return Device(private_key, listen_port, {peer.public_key: peer for peer in peers})


def _decode_peer(section: str, cache: TextCache) -> DevicePeer:
    lines = section.split("\n")
    psk: PresharedKey | None = None
    endpoint: Endpoint | None = None
    keepalive = rx_bytes = tx_bytes = 0
    seconds, nanoseconds = 0, 0
    allowed_ips: list[Prefix] = []
    for line in lines[1:]:
        name, _, value = line.partition("=")
        if name == "allowed_ip":
            allowed_ips.append(cache.prefix(value))
        elif name == "endpoint":
            endpoint = cache.endpoint(value)
        elif name == "last_handshake_time_sec":
            seconds = int(value)
        elif name == "last_handshake_time_nsec":
            nanoseconds = int(value)
        elif name == "rx_bytes":
            rx_bytes = int(value)
        elif name == "tx_bytes":
            tx_bytes = int(value)
        elif name == "persistent_keepalive_interval":
            keepalive = int(value)
        elif name == "preshared_key" and value != _NO_KEY:
            psk = PresharedKey(_base64(value))
    return DevicePeer(
        public_key=PublicKey(_base64(lines[0])),
        preshared_key=psk,
        endpoint=endpoint,
        keepalive=keepalive,
        allowed_ips=frozenset(allowed_ips),
        last_handshake=_time(seconds, nanoseconds),
        rx_bytes=rx_bytes,
        tx_bytes=tx_bytes,
    )


def decode_handshakes(answer: str, keys: Collection[PublicKey]) -> Mapping[PublicKey, float | None]:
    """The last handshakes of the peers with these keys, without decoding the others."""
    found: dict[PublicKey, float | None] = {}
    for key in keys:
        start = answer.find(f"public_key={_hex(key)}")
        if start < 0:
            continue
        end = answer.find("\npublic_key=", start)
        times = {"last_handshake_time_sec": 0, "last_handshake_time_nsec": 0}
        for line in answer[start : None if end < 0 else end].split("\n"):
            name, _, value = line.partition("=")
            if name in times:
                times[name] = int(value)
        found[key] = _time(*times.values())
    return found


def _time(seconds: int, nanoseconds: int) -> float | None:
    """Never is told as 0 by wireguard-go and by the kernel."""
    return seconds + nanoseconds / 1e9 if seconds or nanoseconds else None


def _message(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _hex(key: str) -> str:
    return base64.b64decode(key).hex()


def _base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode("ascii")

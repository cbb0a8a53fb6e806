"""Desired state of any size in protobuf's JSON, and the same peers for a raw write. Pure but for
keys.

Peers have an endpoint and their host address and no keepalive, so nothing is sent to anyone: what
is measured is configuration. They need not exist: WireGuard takes any 32 bytes as a public key.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.uapi import RawPeer

NETWORK_ID: Final = "net-bulk"
HANDLE: Final = "bulk"
LINK: Final = "wg-sdwan-" + HANDLE
LISTEN_PORT: Final = 51999
OVERLAY: Final = "fd00:beef:1::"


def private_key(seed: str) -> str:
    """A private key for the benchmark's own devices, from a seed: nobody else's traffic uses it."""
    raw = bytearray(hashlib.sha256(seed.encode()).digest())
    raw[0] &= 248
    raw[31] = (raw[31] & 127) | 64
    return base64.b64encode(raw).decode()


def raw_peers(count: int) -> list[RawPeer]:
    """`count` peers, the same ones each time."""
    return [
        RawPeer(
            public_key=base64.b64encode(hashlib.sha256(b"peer %d" % n).digest()).decode(),
            allowed_ip=f"{OVERLAY}{n + 16:x}/128",
            endpoint=f"198.18.{n // 250}.{n % 250 + 1}:51820",
        )
        for n in range(count)
    ]


def state(peers: Sequence[RawPeer]) -> Mapping[str, object]:
    """A network with these peers, as the upserts of `lab_push_raw`. This node is a hub."""
    return {
        "networks": [
            {
                "id": NETWORK_ID,
                "name": "bulk",
                "handle": HANDLE,
                "prefix": f"{OVERLAY}/64",
                "routing_mode": "ROUTING_MODE_STATIC",
                "interface": {
                    "peer_id": "own",
                    "address": f"{OVERLAY}1",
                    "role": "PEER_ROLE_HUB",
                    "listen_port": LISTEN_PORT,
                    "key_source": "KEY_SOURCE_PLATFORM",
                    "private_key": private_key("ours"),
                },
            }
        ],
        "peers": [
            {
                "id": f"bulk-{number}",
                "network_id": NETWORK_ID,
                "name": f"bulk-{number}",
                "kind": "PEER_KIND_NODE",
                "role": "PEER_ROLE_SPOKE",
                "public_key": peer.public_key,
                "host_address": peer.allowed_ip.removesuffix("/128"),
                "endpoint": peer.endpoint,
            }
            for number, peer in enumerate(peers)
        ],
    }

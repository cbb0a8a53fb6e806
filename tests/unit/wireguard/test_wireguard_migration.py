"""The pure half of the move from wireguard-go to the kernel."""

from __future__ import annotations

import base64
import re
from ipaddress import IPv4Address, IPv6Network

from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.values import (
    HANDLE_PATTERN,
    LINK_PREFIX,
    Endpoint,
    PresharedKey,
    PrivateKey,
    PublicKey,
)
from powernode_agent.wireguard.migration import STARTING_KEEPALIVE, copy_of, temporary_name
from powernode_agent.wireguard.port import Device, DevicePeer, after


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


@given(st.from_regex(HANDLE_PATTERN, fullmatch=True))
def test_the_temporary_name_is_a_link_of_ours_and_no_networks(handle: str) -> None:
    name = temporary_name(LINK_PREFIX + handle)
    assert name.startswith(LINK_PREFIX)
    assert len(name) <= 15
    assert not re.fullmatch(HANDLE_PATTERN, name.removeprefix(LINK_PREFIX))


def test_a_copy_is_the_device_with_a_start_for_those_in_session() -> None:
    live, other = PublicKey(key(1)), PublicKey(key(2))
    device = Device(
        PrivateKey(key(0x40)),
        51820,
        {
            live: DevicePeer(
                live,
                PresharedKey(key(9)),
                Endpoint(IPv4Address("203.0.113.9"), 45000),
                0,
                frozenset({IPv6Network("fd00:1::2/128")}),
                last_handshake=1700000000.0,
                rx_bytes=5,
            ),
            other: DevicePeer(other, keepalive=7),
        },
    )
    made = after(Device(), copy_of(device, [live]))
    assert (made.private_key, made.listen_port) == (device.private_key, 51820)
    assert made.peers.keys() == device.peers.keys()
    copied = made.peers[live]
    assert copied.keepalive == STARTING_KEEPALIVE
    assert copied.preshared_key == PresharedKey(key(9))
    assert copied.endpoint == device.peers[live].endpoint
    assert copied.allowed_ips == device.peers[live].allowed_ips
    assert (copied.last_handshake, copied.rx_bytes) == (None, 0)
    assert made.peers[other].keepalive == 7

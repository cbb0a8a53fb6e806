"""The codec of wireguard-go's socket."""

from __future__ import annotations

import base64
from ipaddress import ip_address, ip_network

import pytest

from powernode_agent.model.values import Endpoint, PresharedKey, PrivateKey, PublicKey
from powernode_agent.wireguard import uapi
from powernode_agent.wireguard.port import DevicePeer, DeviceWrite, PeerWrite


def key(number: int) -> str:
    return base64.b64encode(bytes([number]) * 32).decode()


def hexadecimal(number: int) -> str:
    return f"{number:02x}" * 32


ANSWER = f"""private_key={hexadecimal(0x40)}
listen_port=51820
public_key={hexadecimal(1)}
preshared_key={"0" * 64}
protocol_version=1
endpoint=203.0.113.5:51820
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
tx_bytes=11
rx_bytes=22
persistent_keepalive_interval=25
allowed_ip=fd00:1::1/128
allowed_ip=10.0.0.0/24
public_key={hexadecimal(2)}
preshared_key={hexadecimal(9)}
protocol_version=1
endpoint=[2001:db8::5]:4500
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=0
rx_bytes=0
persistent_keepalive_interval=0
news_of_a_later_version=1
errno=0

"""


def test_a_device_is_decoded() -> None:
    device = uapi.decode_device(ANSWER, uapi.TextCache())
    assert device.private_key == PrivateKey(key(0x40))
    assert device.listen_port == 51820
    assert list(device.peers.values()) == [
        DevicePeer(
            PublicKey(key(1)),
            None,
            Endpoint(ip_address("203.0.113.5"), 51820),
            25,
            frozenset({ip_network("fd00:1::1/128"), ip_network("10.0.0.0/24")}),
            1700000000.5,
            22,
            11,
        ),
        DevicePeer(
            PublicKey(key(2)),
            PresharedKey(key(9)),
            Endpoint(ip_address("2001:db8::5"), 4500),
        ),
    ]


def test_an_empty_device_has_no_key_and_no_peer() -> None:
    device = uapi.decode_device("errno=0\n\n", uapi.TextCache())
    assert (device.private_key, device.listen_port, dict(device.peers)) == (None, 0, {})


def test_handshakes_are_found_without_the_rest() -> None:
    wanted = [PublicKey(key(1)), PublicKey(key(2)), PublicKey(key(3))]
    assert uapi.decode_handshakes(ANSWER, wanted) == {wanted[0]: 1700000000.5, wanted[1]: None}


@pytest.mark.parametrize(
    "answer", [ANSWER.replace("51820", "x", 1), ANSWER.replace(hexadecimal(9), "zz")]
)
def test_a_malformed_answer_is_refused_without_telling_its_values(answer: str) -> None:
    with pytest.raises(uapi.UapiFormatError) as caught:
        uapi.decode_device(answer, uapi.TextCache())
    assert hexadecimal(0x40) not in str(caught.value)
    assert "zz" not in str(caught.value)


@pytest.mark.parametrize(("answer", "number"), [("errno=0\n\n", 0), ("errno=-98\n\n", -98)])
def test_errno(answer: str, number: int) -> None:
    assert uapi.decode_errno(answer) == number


@pytest.mark.parametrize("answer", ["", "listen_port=1\n", "errno=x\n\n"])
def test_an_answer_without_errno_is_refused(answer: str) -> None:
    with pytest.raises(uapi.UapiFormatError):
        uapi.decode_errno(answer)


def test_a_write_is_encoded() -> None:
    write = DeviceWrite(
        PrivateKey(key(0x40)),
        51820,
        (
            PeerWrite(
                PublicKey(key(1)),
                preshared_key=PresharedKey(key(9)),
                endpoint=Endpoint(ip_address("2001:db8::5"), 4500),
                keepalive=25,
                allowed_ips=frozenset({ip_network("fd00:1::/64")}),
            ),
            PeerWrite(PublicKey(key(2)), clear_preshared_key=True),
            PeerWrite(PublicKey(key(3)), remove=True),
        ),
    )
    assert b"".join(uapi.encode_write(write)).decode() == (
        f"set=1\nprivate_key={hexadecimal(0x40)}\nlisten_port=51820\n\n"
        f"set=1\npublic_key={hexadecimal(1)}\npreshared_key={hexadecimal(9)}\n"
        "endpoint=[2001:db8::5]:4500\npersistent_keepalive_interval=25\nallowed_ip=fd00:1::/64\n"
        f"public_key={hexadecimal(2)}\npreshared_key={'0' * 64}\n"
        f"public_key={hexadecimal(3)}\nremove=true\n\n"
    )


def test_a_key_alone_writes_the_key_alone() -> None:
    write = DeviceWrite(private_key=PrivateKey(key(0x40)))
    assert list(uapi.encode_write(write)) == [
        f"set=1\nprivate_key={hexadecimal(0x40)}\n\n".encode()
    ]


def test_many_peers_are_sent_in_several_messages() -> None:
    peers = tuple(
        PeerWrite(PublicKey(base64.b64encode(n.to_bytes(32, "big")).decode()), keepalive=n)
        for n in range(1, 601)
    )
    messages = list(uapi.encode_write(DeviceWrite(peers=peers)))
    assert len(messages) == 3
    sent = [line for m in messages for line in m.decode().split("\n") if "keepalive" in line]
    assert sent == [f"persistent_keepalive_interval={n}" for n in range(1, 601)]


def test_the_cache_is_bounded_and_still_right() -> None:
    cache = uapi.TextCache(limit=2)
    for _ in range(2):
        for n in range(5):
            assert cache.prefix(f"10.0.{n}.0/24") == ip_network(f"10.0.{n}.0/24")
    assert len(cache._prefixes) <= 2

"""The fast text of a prefix is the one that ipaddress writes."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from hypothesis import example, given
from hypothesis import strategies as st

from powernode_agent.wireguard.prefixes import text_of


@given(number=st.integers(0, 2**128 - 1), length=st.integers(0, 128))
@example(number=0xFFFF_C000_0207, length=128)
@example(number=0xC000_0207, length=128)
@example(number=1, length=128)
@example(number=0xFD00_0000_0000_0001_0000_0000_0000_0000, length=64)
def test_ipv6(number: int, length: int) -> None:
    prefix = IPv6Network((number >> (128 - length) << (128 - length), length))
    assert IPv6Network(text_of(prefix)) == prefix
    mapped = prefix.network_address.ipv4_mapped is not None
    compatible = int(prefix.network_address) >> 32 == 0
    if not mapped and not compatible:
        assert text_of(prefix) == str(prefix)


def test_ipv4() -> None:
    assert text_of(IPv4Network("10.42.0.0/16")) == "10.42.0.0/16"

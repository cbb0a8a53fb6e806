"""Bytes to records: no input makes the decoders raise, and dumps and notifications mean the same."""

from __future__ import annotations

import struct
from ipaddress import ip_address, ip_network
from socket import AF_INET

from hypothesis import example, given
from hypothesis import strategies as st

from powernode_agent.netlink import encode
from powernode_agent.netlink.decode import RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWROUTE
from powernode_agent.netlink.framing import (
    NLM_F_MULTI,
    NLM_F_REPLACE,
    Message,
    attribute,
    error_of,
    message,
    messages,
)
from powernode_agent.netlink.mirror import Addresses, Links, Mirror, Routes
from powernode_agent.netlink.records import LinkChanged, UnderlayChanged


def parse(raw: bytes) -> Message:
    (only,) = messages(raw)
    return only


def link_message(
    index: int, name: str, *, kind: int = RTM_NEWLINK, family: int = 0, up: bool = True
) -> Message:
    body = struct.pack("=BxHiII", family, 0, index, int(up), 0)
    body += attribute(3, name.encode() + b"\0") + attribute(4, struct.pack("=I", 1420))
    return parse(message(kind, 0, 1, body))


def route_message(prefix: str, oif: int, *, protocol: int = 241, flags: int = 0) -> Message:
    net = ip_network(prefix)
    body = struct.pack("=BBBBBBBBI", AF_INET, net.prefixlen, 0, 0, 254, protocol, 253, 1, 0)
    body += attribute(1, net.network_address.packed) + attribute(4, struct.pack("=i", oif))
    return parse(message(RTM_NEWROUTE, flags, 1, body))


def address_message(index: int, address: str) -> Message:
    body = struct.pack("=BBBBI", AF_INET, 32, 0, 0, index)
    return parse(message(RTM_NEWADDR, 0, 1, body + attribute(2, ip_address(address).packed)))


@given(st.binary(max_size=200), st.sampled_from([16, 17, 20, 21, 24, 25, 2, 3]))
def test_no_bytes_make_the_mirror_raise(body: bytes, kind: int) -> None:
    mirror = Mirror()
    mirror.apply(link_message(1, "wg-sdwan-a"))
    for one in messages(message(kind, 0, 1, body)):
        mirror.apply(one)
        error_of(one)


@given(
    st.sampled_from([RTM_NEWLINK, RTM_NEWADDR, RTM_NEWROUTE]),
    st.lists(st.tuples(st.integers(0, 40), st.binary(max_size=20)), max_size=8),
    st.sampled_from([2, 10, 0]),
)
@example(RTM_NEWROUTE, [(4, b"abc"), (9, b"abcdefg"), (18, b"abc"), (8, b"abcdef")], 2)
@example(RTM_NEWLINK, [(4, b"a"), (18, b"abcde"), (26, b"\x05\x00\x0a\x00")], 0)
def test_no_attributes_make_the_mirror_raise(
    kind: int, found: list[tuple[int, bytes]], family: int
) -> None:
    size = {RTM_NEWLINK: 16, RTM_NEWADDR: 8, RTM_NEWROUTE: 12}[kind]
    body = bytes([family]) + bytes(size - 1)
    body += b"".join(attribute(number, payload) for number, payload in found)
    Mirror().apply(parse(message(kind, 0, 1, body)))


@given(st.binary(max_size=300))
def test_no_datagram_makes_the_framing_raise(raw: bytes) -> None:
    for one in messages(raw):
        assert one.end <= len(raw)


def test_the_end_of_a_bridge_port_is_not_the_end_of_the_link() -> None:
    mirror = Mirror()
    mirror.apply(link_message(3, "eth0"))
    assert mirror.apply(link_message(3, "eth0", kind=RTM_DELLINK, family=7)) == ()
    assert 3 in mirror.links
    events = mirror.apply(link_message(3, "eth0", kind=RTM_DELLINK))
    assert events == (LinkChanged("eth0"), UnderlayChanged())


def test_a_repeated_notification_is_no_news() -> None:
    mirror = Mirror()
    assert mirror.apply(link_message(3, "wg-sdwan-a")) == (LinkChanged("wg-sdwan-a"),)
    assert mirror.apply(link_message(3, "wg-sdwan-a")) == ()
    assert mirror.apply(route_message("10.1.0.0/16", 3)) != ()
    assert mirror.apply(route_message("10.1.0.0/16", 3)) == ()


def test_a_dump_sweeps_what_it_did_not_show_and_nothing_else() -> None:
    mirror = Mirror()
    for index, name in ((3, "wg-sdwan-a"), (4, "wg-sdwan-b")):
        mirror.apply(link_message(index, name))
        mirror.apply(address_message(index, f"10.9.0.{index}"))
        mirror.apply(route_message(f"10.{index}.0.0/16", index))
    mirror.begin(Routes(AF_INET, 3))
    mirror.finish()
    assert (mirror.routes(3), len(mirror.routes(4))) == (frozenset(), 1)
    mirror.begin(Addresses(AF_INET, 3))
    mirror.finish()
    assert (mirror.addresses(3), len(mirror.addresses(4))) == (frozenset(), 1)
    mirror.begin(Links())
    mirror.apply(link_message(3, "wg-sdwan-a"))
    # Something new, told while the dump runs, stays.
    mirror.apply(link_message(5, "wg-sdwan-c"))
    assert mirror.finish() == (LinkChanged("wg-sdwan-b"),)
    assert set(mirror.links) == {3, 5}
    assert mirror.routes(4) == frozenset()


def test_a_dumped_route_is_not_taken_for_a_replacement() -> None:
    mirror = Mirror()
    mirror.apply(link_message(3, "wg-sdwan-a"))
    mirror.apply(route_message("10.1.0.0/16", 3))
    # The flag's bit means something else in the header of a dump's part.
    flags = NLM_F_MULTI | NLM_F_REPLACE
    mirror.apply(route_message("10.1.0.0/16", 9, protocol=99, flags=flags))
    assert len(mirror.routes(3)) == 1
    mirror.apply(route_message("10.1.0.0/16", 9, protocol=99, flags=NLM_F_REPLACE))
    assert mirror.routes(3) == frozenset()


def test_a_link_of_ours_that_goes_down_puts_its_routes_in_doubt() -> None:
    mirror = Mirror()
    mirror.apply(link_message(3, "wg-sdwan-a"))
    mirror.stale_routes.clear()
    mirror.apply(link_message(3, "wg-sdwan-a", up=False))
    assert mirror.stale_routes == {3}


def test_our_routes_are_asked_for_in_a_way_that_never_overwrites() -> None:
    request = encode.add_route(3, ip_network("10.1.0.0/16"))
    assert request.flags & 0x200  # NLM_F_EXCL
    assert not request.flags & 0x100  # NLM_F_REPLACE
    assert encode.add_route(3, ip_network("10.1.0.0/16"), replace=True).flags & 0x100

"""Allocation, endpoints and the merging of reports."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netns_lab.platform.allocation import (
    handle_for,
    next_host_address,
    next_listen_port,
    next_network_prefix,
)
from netns_lab.platform.reachability import observed_address, split_endpoint
from netns_lab.platform.report_merge import merge
from powernode.sdwan.v1 import status_pb2 as pb


@given(st.lists(st.text(min_size=1, max_size=63), max_size=40))
def test_handles_are_valid_and_unique(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        handle = handle_for(name, taken)
        assert handle is not None
        assert re.fullmatch(r"[a-z0-9-]{1,6}", handle)
        assert handle not in taken
        taken.append(handle)


def test_the_lowest_free_is_next_and_the_end_is_told() -> None:
    prefix = IPv6Network("fd00:1::/126")
    first, third = IPv6Address("fd00:1::1"), IPv6Address("fd00:1::3")
    assert next_host_address(prefix, set()) == first
    assert next_host_address(prefix, {int(first), int(third)}) == IPv6Address("fd00:1::2")
    assert next_host_address(prefix, set(map(int, prefix))) is None
    assert next_listen_port({51820, 51822}) == 51821
    assert next_listen_port({51820}, wanted=443) == 443
    assert next_listen_port({443}, wanted=443) == 51820
    pool = IPv6Network("fd00:1::/63")
    halves = list(pool.subnets(new_prefix=64))
    assert next_network_prefix(pool, halves[:1]) == halves[1]
    assert next_network_prefix(pool, halves) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.5:51820", (ip_address("203.0.113.5"), 51820)),
        ("203.0.113.5", (ip_address("203.0.113.5"), None)),
        ("[2001:db8::5]:51820", (ip_address("2001:db8::5"), 51820)),
        ("2001:db8::5", (ip_address("2001:db8::5"), None)),
        ("203.0.113.5:", None),
        ("203.0.113.5:x", None),
        ("203.0.113.5:65536", None),
        ("[2001:db8::5", None),
        ("[2001:db8::5]51820", None),
        ("hub.example", None),
        ("", None),
    ],
)
def test_endpoints(text: str, expected: object) -> None:
    assert split_endpoint(text) == expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:192.0.2.1:4711", "192.0.2.1"),
        ("ipv6:[2001:db8::1]:4711", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:4711", "2001:db8::1"),
        ("ipv6:[::ffff:192.0.2.1]:4711", "192.0.2.1"),
        ("unix:/run/x", None),
    ],
)
def test_the_source_address_grpc_names(peer: str, expected: str | None) -> None:
    assert observed_address(peer) == (None if expected is None else ip_address(expected))


def test_partial_reports_add_to_the_full_one_and_full_ones_replace_it() -> None:
    full = pb.StatusReport(sequence=1, full=True, applied_revision=3, accepted_revision=3)
    full.peers.add(network_id="n", peer_id="p1", rx_bytes=1)
    full.peers.add(network_id="n", peer_id="p2", rx_bytes=1)
    full.rejected.revision = 4
    partial = pb.StatusReport(sequence=2, applied_revision=3, accepted_revision=3)
    partial.rejected.revision = 4
    partial.peers.add(network_id="n", peer_id="p2", rx_bytes=9)
    merged = merge(full, partial)
    assert [(each.peer_id, each.rx_bytes) for each in merged.peers] == [("p1", 1), ("p2", 9)]
    assert merged.applied_revision == 3
    assert merged.rejected.revision == 4
    assert full.peers[1].rx_bytes == 1, "the arguments stay as they were"
    newer = merge(merged, pb.StatusReport(sequence=3, accepted_revision=5))
    assert not newer.HasField("rejected"), "revisions and rejection stand in every report"
    assert not newer.HasField("applied_revision")
    assert newer.accepted_revision == 5
    assert not merge(newer, pb.StatusReport(sequence=4, full=True)).peers

"""Whose a frr.conf is, by what stands in it and by what was noted of it."""

from __future__ import annotations

import pytest

from powernode_agent.frr.elsewhere import of_ours
from powernode_agent.frr.ownership import Noted, decode, encode, names_in, of_our_making
from powernode_agent.frr.running import MARKER, parse_running

OURS = frozenset({"pn.a1b2.in", "pn-300ms"})
SAVED = """frr version 8.4.4
frr defaults traditional
hostname edge
!
bfd
 profile pn-300ms
 exit
!
router bgp 64512
 neighbor pn.a1b2.hubs peer-group
exit
!
route-map pn.a1b2.in permit 10
exit
"""
FOREIGN = "router bgp 65099\n neighbor 192.0.2.1 route-map spn.in in\nroute-map pn permit 10\n"


def test_names_are_found_where_we_would_make_them() -> None:
    assert names_in(SAVED) == {"pn.a1b2.in", "pn.a1b2.hubs", "pn-300ms"}
    assert names_in(FOREIGN) == frozenset()


@pytest.mark.parametrize(
    ("text", "noted", "ours"),
    [
        (f"{MARKER}\nrouter bgp 65099\n", None, True),
        (SAVED, Noted(OURS), True),
        (SAVED + FOREIGN, Noted(OURS), True),
        (SAVED, None, False),
        # An operator's, who happens to like such names.
        (SAVED, Noted(frozenset({"pn.ffff.in"})), False),
        (FOREIGN, Noted(OURS), False),
        ("", Noted(OURS), False),
        # A note that was damaged.
        (SAVED, Noted(None), True),
        (FOREIGN, Noted(None), False),
    ],
)
def test_whose_it_is(text: str, noted: Noted | None, *, ours: bool) -> None:
    assert of_our_making(text, noted) is ours


def test_a_part_of_what_frr_saved_is_ours_wherever_it_was_cut() -> None:
    before = Noted(OURS, SAVED)
    after = Noted(OURS, "router bgp 64512\n", SAVED)
    for end in range(len(SAVED) + 1):
        assert of_our_making(SAVED[:end], before)
        assert of_our_making(SAVED[:end], after)
    theirs = "router bgp 64512\n neighbor 192.0.2.1 remote-as 65098\n"
    assert of_our_making(theirs.partition(" ")[0], before)
    assert not of_our_making(theirs, before)
    assert not of_our_making("router bgp 64512\n", Noted(OURS))


def test_what_is_noted_is_read_again() -> None:
    noted = Noted(OURS, "wanted", "found")
    assert decode(encode(noted)) == noted


@pytest.mark.parametrize(
    "stored",
    [b"", b"\xff", b"[]", b"{}", b'{"names": 1, "wanted": "", "found": ""}', b'{"names": [1]}',
     b'{"names": [null], "wanted": "", "found": ""}'],
)  # fmt: skip
def test_what_is_no_such_note_says_that_there_was_one(stored: bytes) -> None:
    assert decode(stored) == Noted(None)


def test_what_of_ours_stands_in_another_daemon_can_be_taken_out_line_by_line() -> None:
    zebra = """frr version 8.4.4
!
ip route 192.0.2.0/24 blackhole
ip prefix-list theirs seq 5 permit any
ipv6 prefix-list pn.a1b2.lans seq 5 permit fd00::/16 le 128
!
route-map pn.a1b2.in permit 10
 match ipv6 address prefix-list pn.a1b2.lans
exit
!
route-map theirs permit 10
exit
!
end
"""
    assert of_ours(parse_running(zebra)) == [
        "route-map pn.a1b2.in permit 10",
        "ipv6 prefix-list pn.a1b2.lans seq 5 permit fd00::/16 le 128",
    ]


def test_what_only_bears_such_a_name_elsewhere_is_not_ours_to_take_out() -> None:
    text = "ip route 10.9.0.0/16 pn-uplink\ninterface pn-lan\nexit\n"
    text += "ipv6 prefix-list pn.a1b2.from seq 5 permit any\nroute-map pn.a1b2.in permit 10\nexit\n"
    assert of_ours(parse_running(text)) == [
        "route-map pn.a1b2.in permit 10",
        "ipv6 prefix-list pn.a1b2.from seq 5 permit any",
    ]

"""Which network a prefix belongs to, held against the words of the rule. Of a list,
the entry with the lowest number that matches decides, and what none matches is refused."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, ip_network

from hypothesis import given
from hypothesis import strategies as st
from routing_states import Overlay, Site, network_state

from powernode_agent.routing.claims import claims_of
from powernode_agent.routing.prefix_list import prefix_list

ALPHA, BETA = Overlay("a", 1, ipv4=False), Overlay("b", 2, ipv4=False)
HUB = Site(1, hub=True)
LINE = re.compile(r"ip prefix-list \S+ seq (\d+) (permit|deny) (\S+?)(?: ge (\d+))?(?: le (\d+))?")

small_prefixes = st.builds(
    lambda bits, length: ip_network(
        (0x0A000000 | (bits >> (32 - length) << (32 - length)), length)
    ),
    st.integers(0, 15).map(lambda n: n << 20),
    st.integers(8, 12),
)


def _takes(lines: tuple[str, ...], prefix: IPv4Network) -> bool:
    entries = []
    for line in lines:
        found = LINE.fullmatch(line)
        assert found, line
        seq, action, cover, shortest, longest = found.groups()
        within = ip_network(cover)
        low = int(shortest or within.prefixlen)
        high = int(longest or (32 if shortest else within.prefixlen))
        entries.append((int(seq), action, within, low, high))
    for _, action, within, low, high in sorted(entries, key=lambda entry: entry[0]):
        if prefix.subnet_of(within) and low <= prefix.prefixlen <= high:
            return action == "permit"
    return False


@given(
    st.lists(small_prefixes, min_size=1, max_size=6, unique=True),
    st.lists(small_prefixes, max_size=6, unique=True),
    st.booleans(),
    small_prefixes,
)
def test_the_more_specific_claim_wins_then_the_first_network(
    ours: list[IPv4Network], theirs: list[IPv4Network], first: bool, asked: IPv4Network
) -> None:
    own, other = (ALPHA, BETA) if first else (BETA, ALPHA)
    states = {
        overlay.id: network_state(overlay, HUB, (HUB, Site(11, lans=tuple(map(str, prefixes)))))
        for overlay, prefixes in ((own, ours), (other, theirs))
    }
    entries = claims_of(states)[own.id].entries(ours)
    name, lines = prefix_list(4, entries[4], "long")
    our_claim = max((p.prefixlen for p in ours if asked.subnet_of(p)), default=-1)
    their_claim = max((p.prefixlen for p in theirs if asked.subnet_of(p)), default=-1)
    expected = our_claim > their_claim or (our_claim == their_claim >= 0 and first)
    assert _takes(lines, asked) is expected, (name, lines)

"""What this node announces itself: its own addresses, its LANs, and the virtual IPs it holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from powernode_agent.model.route_policy import MAX_SEQ
from powernode_agent.model.values import Address, Prefix
from powernode_agent.model.virtual_ip import YIELDING, address_metric
from powernode_agent.routing.draft import Draft
from powernode_agent.routing.names import VIRTUAL_IPS, of_content, of_network
from powernode_agent.routing.prefix_list import Entry, prefix_list
from powernode_agent.routing.speaker import Speaker

_YIELDING_SEQ: Final = 1
"""Before the entries of all networks, which it leads on to."""


def compile_origins(
    draft: Draft, speakers: Sequence[Speaker]
) -> Mapping[int, Sequence[tuple[Prefix, str]]]:
    """Prefixes that this node announces, and the route map that marks each. FRR announces them while
    they are in the routing table from elsewhere than BGP: a LAN that is gone is not announced."""
    marks: dict[Prefix, set[str]] = {}
    for speaker in speakers:
        own = speaker.network.interface
        hosts = (own.address,) if own.overlay_ipv4 is None else (own.address, own.overlay_ipv4)
        for prefix in (
            *(_host_prefix(host) for host in hosts),
            *(advertisement.prefix for advertisement in speaker.bgp.advertisements),
        ):
            marks.setdefault(prefix, set()).add(speaker.mark)
    found: dict[int, list[tuple[Prefix, str]]] = {4: [], 6: []}
    by_mark = {speaker.mark: of_network(speaker.network, "origin") for speaker in speakers}
    for prefix, wanted in sorted(marks.items(), key=lambda item: (item[0].version, str(item[0]))):
        ordered = sorted(wanted)
        # A prefix that is announced on several networks bears the marks of all of them.
        name = by_mark[ordered[0]] if len(ordered) == 1 else of_content("origin", ordered)
        draft.entry(name, "permit", 10, (f"set large-community {' '.join(ordered)}",))
        found[prefix.version].append((prefix, name))
    return found


def compile_virtual_ips(draft: Draft, speakers: Sequence[Speaker]) -> bool:
    """Adds the route map by which virtual IPs are announced while they are on their link; false: this
    node is to hold none.

    To BGP a route that begins here is better than any other, by weight and, where that is equal, before
    MED is looked at: whatever preference another holder has, this node would lead everybody to itself.
    So one that yields has no weight and the lowest local preference. Which one does is said by the
    metric of its address, so nothing is written here when it begins to.
    """
    holders = [speaker for speaker in speakers if speaker.state.virtual_ips]
    if not holders:
        return False
    yielding = (
        f"match metric {address_metric(YIELDING)}",
        f"set local-preference {YIELDING}",
        "set weight 0",
        "on-match next",
    )
    draft.entry(VIRTUAL_IPS, "permit", _YIELDING_SEQ, yielding)
    taken = {_YIELDING_SEQ}
    for speaker in holders:
        addresses = [virtual_ip.address for virtual_ip in speaker.state.virtual_ips.values()]
        entries = [Entry(_host_prefix(address)) for address in sorted(addresses)]
        name, lines = prefix_list(6, entries, of_network(speaker.network, "virtual-ips"))
        draft.lists(lines)
        # A number that does not depend on what other networks there are.
        seq = int.from_bytes(sha256(speaker.network.id.encode()).digest()[:4]) % (MAX_SEQ - 1) + 1
        while seq in taken:
            seq = seq % MAX_SEQ + 1
        taken.add(seq)
        clauses = (
            f"match interface {speaker.network.link}",
            f"match ipv6 address prefix-list {name}",
            f"set large-community {speaker.mark}",
        )
        draft.entry(VIRTUAL_IPS, "permit", seq, clauses)
    return True


def _host_prefix(address: Address) -> Prefix:
    if address.version == 4:
        return IPv4Network((int(address), 32))
    return IPv6Network((int(address), 128))

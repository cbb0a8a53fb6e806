"""The configuration of FRR for all iBGP networks of this host. Pure.

What every line is for is said where it is made; all of them were held against FRR 8.4, which prints
them in these words. Whatever changes from hour to hour is not in here: who holds a virtual IP is a
matter of addresses, and what is reachable is a matter of routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.frr_config import Context, FrrConfig
from powernode_agent.routing.draft import Draft
from powernode_agent.routing.filters import filter_lines
from powernode_agent.routing.names import MARK_ADMINISTRATOR, MARKS, VIRTUAL_IPS, bfd_profile
from powernode_agent.routing.origin import compile_origins, compile_virtual_ips
from powernode_agent.routing.prefix_list import nothing_lists
from powernode_agent.routing.speaker import FAMILIES, Speaker, speakers_of

CONNECT_S: Final = 1
CONNECT_CLIENTS_S: Final = 10
"""Seconds between attempts to connect; FRR's own choice is two minutes. A client calls its reflector
itself. A reflector calls too, because who helped it through a restart waits for that call; but a
thousand clients that are away must not be called every second."""
KEEPALIVE_S: Final = 10
HOLD_S: Final = 30
"""BFD is what notices quickly. This is for sessions without, and long enough for a daemon that is busy
with a large configuration."""


def compile_frr(state: DesiredState) -> FrrConfig:
    """What FRR should be told; nothing at all where no network has iBGP."""
    speakers = speakers_of(state)
    if not speakers:
        return FrrConfig()
    draft = Draft()
    draft.lists(nothing_lists())
    # One expression for the marks of all networks, also of those that this host is not on.
    draft.lists([f"bgp large-community-list expanded {MARKS} seq 5 permit ^{MARK_ADMINISTRATOR}:"])
    neighbors = [line for speaker in speakers for line in _sessions(speaker)]
    families = [line for speaker in speakers for line in filter_lines(draft, speaker)]
    origins = compile_origins(draft, speakers)
    announces_virtual_ips = compile_virtual_ips(draft, speakers)
    bgp = f"router bgp {speakers[0].bgp.as_number}"
    rest: list[tuple[Context, Iterable[str]]] = [*_bfd(speakers)]
    rest.append(((bgp,), [*_speaker_lines(speakers), *neighbors]))
    for version in FAMILIES:
        lines = [f"network {prefix} route-map {name}" for prefix, name in origins[version]]
        if version == 6 and announces_virtual_ips:
            lines.append(f"redistribute connected route-map {VIRTUAL_IPS}")
        lines += [line for family, line in families if family == version]
        # AllowedIPs give a prefix to one peer: of two ways that are equally good, one is taken.
        lines.append("maximum-paths ibgp 1")
        rest.append(((bgp, f"address-family ipv{version} unicast"), lines))
    # Changes of a route map are waited for this long, in seconds, before they are applied.
    return draft.finish(["bgp route-map delay-timer 1"], rest)


def _speaker_lines(speakers: Sequence[Speaker]) -> Iterator[str]:
    bgp = speakers[0].bgp
    yield f"bgp router-id {bgp.router_id}"
    yield "bgp log-neighbor-changes"
    # Address families are turned on one by one below, before the first neighbour can connect.
    yield "no bgp default ipv4-unicast"
    # Policies may prepend different AS numbers, and MED is the order of holders and reflectors.
    yield "bgp always-compare-med"
    cluster_id = next((s.bgp.cluster_id for s in speakers if s.bgp.cluster_id is not None), None)
    if cluster_id is not None:
        yield f"bgp cluster-id {cluster_id}"
        # Without it, what export policies change is lost on reflected routes.
        yield "bgp route-reflector allow-outbound-policy"
    # Milliseconds in which updates are gathered; FRR's own choice is up to ten seconds.
    yield "coalesce-time 50"
    yield "bgp graceful-restart"


def _bfd(speakers: Sequence[Speaker]) -> Iterator[tuple[Context, tuple[str, ...]]]:
    intervals = {
        neighbor.bfd_interval_ms
        for speaker in speakers
        for neighbor in speaker.bgp.neighbors
        if neighbor.bfd_interval_ms is not None
    }
    if intervals:
        yield ("bfd",), ()
    for interval in sorted(intervals):
        # Loss is detected after three intervals, which is FRR's own multiplier, as 300 ms are its own
        # interval: neither is printed.
        lines = (f"transmit-interval {interval}", f"receive-interval {interval}")
        yield ("bfd", f"profile {bfd_profile(interval)}"), lines if interval != 300 else ()


def _sessions(speaker: Speaker) -> Iterator[str]:
    """Who the neighbours are, and how they are talked to."""
    own = speaker.network.interface.address
    for group, example in speaker.groups.items():
        yield f"neighbor {group} peer-group"
        yield f"neighbor {group} remote-as {speaker.bgp.as_number}"
        if example.passive:
            yield f"neighbor {group} passive"
        yield f"neighbor {group} update-source {own}"
        yield f"neighbor {group} timers {KEEPALIVE_S} {HOLD_S}"
        seconds = CONNECT_CLIENTS_S if example.route_reflector_client else CONNECT_S
        yield f"neighbor {group} timers connect {seconds}"
        # IPv4 prefixes ride the IPv6 sessions (RFC 8950).
        yield f"neighbor {group} capability extended-nexthop"
    for neighbor, peer in speaker.neighbors:
        yield f"neighbor {peer.host_address} peer-group {speaker.group(neighbor)}"
        if neighbor.bfd_interval_ms is not None:
            yield f"neighbor {peer.host_address} bfd"
            profile = bfd_profile(neighbor.bfd_interval_ms)
            yield f"neighbor {peer.host_address} bfd profile {profile}"

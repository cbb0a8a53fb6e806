"""What may be said of the prefix of pods and of the IPv4 overlay that flannel needs: one set of rules
for creating and updating a network, raised as `ActionError` before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from itertools import chain
from typing import Final

from netns_lab.platform import prefixes
from netns_lab.platform.context import Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.federation_rows import reserved
from netns_lab.platform.prefixes import Prefix
from netns_lab.platform.underlay import called, underlay

MAX_POD_LENGTH: Final = {4: 24, 6: 64}
"""By IP version: what each node gets of it (Kubernetes, node-cidr-mask-size-ipv4 and -ipv6)."""

OVERLAY_POOL: Final = IPv4Network("10.200.0.0/13")
OVERLAY_LENGTH: Final = 20
"""IPv4 overlays that nobody chose: 4,094 peers each, apart from k3s's own 10.42.0.0/15."""


def pod_subnet(
    context: Context, text: str, own: IPv6Network, own_ipv4: IPv4Network | None
) -> Prefix:
    """The prefix of a network's pods. `own` and `own_ipv4` are the network's overlay prefixes, which
    may not be in the database yet."""
    field = "pod_subnet_prefix"
    prefix = prefixes.parse(field, text)
    mine: list[tuple[Prefix, str]] = [(own, f"the network's own prefix {own}")]
    if own_ipv4 is not None:
        mine.append((own_ipv4, f"the network's own overlay_ipv4_prefix {own_ipv4}"))
    prefixes.refuse_overlap(field, prefix, chain(mine, called(context), everything(context)))
    longest = MAX_POD_LENGTH[prefix.version]
    if prefix.prefixlen > longest:
        raise ActionError(
            field,
            f"must be /{longest} or shorter: each node takes a /{longest} of it, got {text!r}",
        )
    return prefix


def overlay_ipv4(context: Context, text: str) -> IPv4Network:
    """The IPv4 overlay that an operator wants."""
    field = "overlay_ipv4_prefix"
    prefix = prefixes.parse(field, text)
    if not isinstance(prefix, IPv4Network) or not 8 <= prefix.prefixlen <= 29:
        raise ActionError(field, f"must be an IPv4 prefix from /8 to /29, got {text!r}")
    prefixes.refuse_overlap(field, prefix, chain(underlay(context), everything(context)))
    return prefix


def overlay_ipv4_for(context: Context, pods: Prefix | None) -> IPv4Network | None:
    """The IPv4 overlay of a network whose operator named none: the lowest free one where it has IPv4
    pods, because flannel's host-gw needs an IPv4 next hop."""
    if not isinstance(pods, IPv4Network):
        return None
    taken = [other for other, _ in chain(underlay(context), everything(context))]
    taken.append(pods)
    for candidate in OVERLAY_POOL.subnets(new_prefix=OVERLAY_LENGTH):
        if not any(prefixes.overlap(candidate, other) for other in taken):
            return candidate
    raise ActionError("overlay_ipv4_prefix", f"must be given: {OVERLAY_POOL} is used up")


def everything(context: Context) -> Iterator[tuple[Prefix, str]]:
    """All prefixes of the account that something new may collide with."""
    scope = (context.session, context.account_id)
    sources: Iterable[Iterator[tuple[Prefix, str]]] = (
        prefixes.overlays(*scope),
        prefixes.pod_subnets(*scope),
        prefixes.lan_subnets(*scope),
        prefixes.virtual_ips(*scope),
        reserved(*scope),
    )
    return chain.from_iterable(sources)

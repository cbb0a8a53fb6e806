"""What may be said of the LANs behind a peer: one set of rules for attaching, updating and phase 8.

A LAN that covers an address below the tunnels would have the packets that carry a tunnel go through
one. Nodes' own interface addresses do not count: those of the announcing node are in its LAN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Annotated

from pydantic import Field
from sqlalchemy import or_, select

from netns_lab.platform import prefixes
from netns_lab.platform.context import Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.federation_rows import reserved
from netns_lab.platform.prefixes import Prefix
from netns_lab.platform.queries import endpoint_of
from netns_lab.platform.reachability import split_endpoint
from netns_lab.platform.registry import Arguments
from netns_lab.platform.tables import LanSubnet, Network, Peer
from netns_lab.platform.underlay import host


class Lan(Arguments):
    """A LAN behind a peer, as in phase 8."""

    prefix: str
    description: Annotated[str, Field(max_length=255)] = ""


def lan_subnets(
    context: Context,
    given: Sequence[str | Lan],
    of_peer: str = "",
    argument: str = "lan_subnets",
) -> list[LanSubnet]:
    """LANs as rows; those that `of_peer` has now do not count. Raises `ActionError`, with the field
    inside `argument`."""
    lans: list[LanSubnet] = []
    seen: list[tuple[Prefix, str]] = []
    taken: list[tuple[Prefix, str]] | None = None
    for index, item in enumerate(given):
        lan = Lan(prefix=item) if isinstance(item, str) else item
        field = f"{argument}.{index}" + ("" if isinstance(item, str) else ".prefix")
        prefix = prefixes.parse(field, lan.prefix)
        if not lan.description.isprintable():
            raise ActionError(
                f"{argument}.{index}.description",
                f"must be printable characters on one line, got {lan.description!r}",
            )
        if taken is None:
            taken = list(_taken(context, of_peer))
        prefixes.refuse_overlap(field, prefix, chain(seen, taken))
        seen.append((prefix, f"{prefix} of the same call"))
        lans.append(LanSubnet(prefix=str(prefix), description=lan.description))
    return lans


def _taken(context: Context, of_peer: str) -> Iterator[tuple[Prefix, str]]:
    """All that no LAN may overlap. A host is one routing domain, so LANs collide across the networks of
    an account as well."""
    scope = (context.session, context.account_id)
    yield from prefixes.overlays(*scope)
    yield from prefixes.pod_subnets(*scope)
    yield from prefixes.lan_subnets(*scope, except_peer=of_peer)
    yield from prefixes.virtual_ips(*scope)
    yield from reserved(*scope)
    for own in sorted(context.services.addresses(), key=str):
        yield host(own), f"the platform's own address {own}"
    yield from _endpoints(context)


def _endpoints(context: Context) -> Iterator[tuple[Prefix, str]]:
    """Where nodes call each other."""
    peers = context.session.scalars(
        select(Peer)
        .join(Network, Network.id == Peer.network_id)
        .where(
            Network.account_id == context.account_id,
            # Of thousands, those that may have one.
            or_(
                Peer.wanted_endpoint != "",
                Peer.wanted_public.is_(True),
                Peer.detected_public.is_(True),
            ),
        )
    )
    for peer in peers:
        endpoint = endpoint_of(peer)
        split = split_endpoint(endpoint)
        if split is not None:
            what = f"the endpoint {endpoint} of {peer.node.name} on network {peer.network.name}"
            yield host(split[0]), what

"""What each neighbour may announce: its own addresses and its permitted prefixes, as lists. Pure.

A list for each of a thousand neighbours takes FRR eight seconds, thirty with IPv4: it grows by the
square. So where a hub has many clients, those that announce nothing but their own addresses share one
list of the addresses of all clients, which is short where these follow each other. A client could then
announce another's address, and gain nothing: hubs send what is for a client's own address to that
client, whatever routes say (`paths`).
"""

from __future__ import annotations

from typing import Final

from powernode_agent.model.bgp import BgpNeighbor
from powernode_agent.model.network import Peer
from powernode_agent.routing.draft import Draft
from powernode_agent.routing.names import of_network
from powernode_agent.routing.prefix_list import Entry, merged, prefix_list
from powernode_agent.routing.speaker import FAMILIES, Speaker

MANY: Final = 200
"""More clients than this share a list. Below, lists of their own cost a quarter of a second."""


class Permits:
    """The lists of one network's neighbours, added to `draft` as they are asked for."""

    def __init__(self, draft: Draft, speaker: Speaker) -> None:
        self._draft = draft
        self._speaker = speaker
        # Of equal long lists that of the first neighbour serves all: hubs, usually.
        self._long: dict[tuple[Entry, ...], str] = {}
        clients = [peer for neighbor, peer in speaker.neighbors if neighbor.route_reflector_client]
        self._shared = self._hosts_of(clients) if len(clients) > MANY else None

    def lists_of(self, neighbor: BgpNeighbor, peer: Peer) -> dict[int, str]:
        """The name of a neighbour's list for each IP version."""
        if self._shared is not None and _may_share(neighbor, peer):
            return self._shared
        entries = self._speaker.claims.entries((*peer.host_prefixes, *peer.permitted_prefixes))
        own_name = of_network(self._speaker.network, "from", peer.id)
        return {
            version: self._list(
                version,
                entries[version],
                self._long.setdefault(tuple(entries[version]), own_name),
            )
            for version in FAMILIES
        }

    def _hosts_of(self, peers: list[Peer]) -> dict[int, str]:
        hosts = [prefix for peer in peers for prefix in peer.host_prefixes]
        name = of_network(self._speaker.network, "hosts")
        found: dict[int, str] = {}
        for version in FAMILIES:
            entries = merged(host for host in hosts if host.version == version)
            found[version] = self._list(version, entries, name)
        return found

    def _list(self, version: int, entries: list[Entry], name_if_long: str) -> str:
        name, lines = prefix_list(version, entries, name_if_long)
        self._draft.lists(lines)
        return name


def _may_share(neighbor: BgpNeighbor, peer: Peer) -> bool:
    return neighbor.route_reflector_client and not peer.permitted_prefixes

"""The memory of a restarted agent, read from what its WireGuard device still does. Pure.

Without it a restart while a hub is dead would put the prefixes back on that hub until it is found dead
again: stopping and starting the agent must not change a packet's way.
"""

from __future__ import annotations

from operator import itemgetter

from powernode_agent.model.desired_state import NetworkState
from powernode_agent.model.network import Peer
from powernode_agent.model.status import WireguardDevice
from powernode_agent.model.values import Address, PathId, PeerId, Prefix
from powernode_agent.paths.decide import Candidates, PathMemory
from powernode_agent.paths.learned import NOTHING_LEARNED, Learned
from powernode_agent.paths.permits import permit, underlay_of
from powernode_agent.paths.standing import Standing


def recall(
    network: NetworkState,
    device: WireguardDevice,
    now: float,
    elsewhere: frozenset[Address] = frozenset(),
    learned: Learned = NOTHING_LEARNED,
) -> PathMemory:
    """For the first decision on a device that was there before the agent started; later ones use
    `Decision.memory`. Who carries a learned prefix says nothing of how this node stands to peers."""
    underlay = underlay_of(network.peers.values(), elsewhere)
    firsts: dict[PathId, PeerId] = {}
    chosen: dict[Candidates, PeerId] = {}
    standings: dict[PeerId, Standing] = {}
    for _, path in sorted(network.paths.items(), key=itemgetter(0)):
        candidates = permit(network, path, underlay).candidates
        if not candidates or path.prefix in learned:
            continue
        firsts[path.id] = candidates[0]
        carrier = next(
            (c for c in candidates if _carries(device, network.peers[c], path.prefix)), None
        )
        if carrier is None:
            continue
        chosen[candidates] = carrier
        for passed_over in candidates[: candidates.index(carrier)]:
            standings[passed_over] = Standing(True, now, 0, "was left before the agent started")
    return PathMemory(standings, firsts, chosen)


def _carries(device: WireguardDevice, peer: Peer, prefix: Prefix) -> bool:
    """Whether the device has `prefix` on either key of `peer`."""
    found = (device.peers.get(key) for key in (peer.public_key, peer.next_public_key) if key)
    return any(entry is not None and prefix in entry.allowed_ips for entry in found)

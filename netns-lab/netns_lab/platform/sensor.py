"""The runbook's sdwan_reachability_sensor: says when a peer falls silent or a hub cannot be reached,
and when that is over.

    sdwan.peer_silent       a peer's last handshake is more than 5 minutes old
    sdwan.peer_recovered    it has shaken hands again
    sdwan.hub_unreachable   a hub is dead to some or to all of the spokes that measure it, or silent;
                            said again when "some" becomes "all"
    sdwan.hub_recovered     it is dead to none, and alive to at least one

An event for each change, none for what goes on. What is not measured changes nothing: that nobody
reports is no recovery. The memory is the process's: a restarted platform says again what still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from netns_lab.platform import hubs, peer_status, problems
from netns_lab.platform.context import Observation
from netns_lab.platform.intent import NetworkIntent, PeerIntent
from netns_lab.platform.peer_status import PeerStatus
from netns_lab.platform.problems import Remembered
from netns_lab.platform.trials import Recorder

LOOK_SECONDS: Final = 1.0
"""How often the peers of a network are looked at: it costs a pass over all reports, and what is looked
for takes 15 s and more to be true."""
_FRESH: Final = Remembered()


@dataclass(frozen=True, slots=True)
class HubSight:
    """Whether a hub can be reached: the spokes (peer ids) it is dead to; `all`: of those that know."""

    dead_to: frozenset[str] = frozenset()
    all: bool = False

    @property
    def unreachable(self) -> bool:
        """To anybody."""
        return self.all or bool(self.dead_to)


def sight(hub_id: str, votes: hubs.Votes, silent: bool) -> HubSight | None:
    """What the spokes' votes say of a hub; None: nobody has measured it. Pure."""
    seen = {spoke: vote.get(hub_id, hubs.Seen.UNKNOWN) for spoke, vote in votes.items()}
    dead = frozenset(spoke for spoke, what in seen.items() if what is hubs.Seen.DEAD)
    alive = hubs.Seen.ALIVE in seen.values()
    if dead:
        return HubSight(dead, not alive)
    if alive:
        return HubSight()
    return HubSight(all=True) if silent else None


def follow(
    before: Remembered, status: PeerStatus | None, out_of_step: bool | None, now: float
) -> Remembered:
    """What is remembered of a peer after a look; None: not measured. Pure."""
    silent = before.silent
    if status in (PeerStatus.SILENT, PeerStatus.CONNECTED):
        silent = status is PeerStatus.SILENT
    return Remembered(
        silent=silent,
        handshaking_since=_since(before.handshaking_since, status is PeerStatus.HANDSHAKING, now),
        out_of_step_since=_since(before.out_of_step_since, bool(out_of_step), now),
    )


@dataclass(slots=True, eq=False)
class _Memory:
    """What is remembered of one network, by peer id."""

    looked_at: float = float("-inf")
    peers: dict[str, Remembered] = field(default_factory=dict)
    hubs: dict[str, HubSight] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Sensor:
    """All networks' sensor. `clock` in seconds since the epoch; `observations` and `desired`, the
    revision a node should have, by node id."""

    clock: Callable[[], float]
    observations: Mapping[str, Observation]
    desired: Callable[[str], int]
    event: Recorder
    _networks: dict[str, _Memory] = field(default_factory=dict)

    def remembered(self, network_id: str, peer_id: str) -> Remembered:
        """What was seen of a peer over time."""
        memory = self._networks.get(network_id)
        if memory is None:
            return _FRESH
        known = memory.peers.get(peer_id, _FRESH)
        seen = memory.hubs.get(peer_id)
        return known if seen is None else replace(known, dead_to=seen.dead_to)

    def consider(self, network: NetworkIntent, votes: hubs.Votes) -> None:
        """Looks at a network: at its peers when it is time to, at its hubs always."""
        memory = self._networks.setdefault(network.id, _Memory())
        now = self.clock()
        if now - memory.looked_at >= LOOK_SECONDS:
            memory.looked_at = now
            # Made anew each time, so that a peer that is gone is not remembered.
            memory.peers = self._look(network, memory.peers, now)
        memory.hubs = {
            hub_id: seen
            for hub_id in network.hub_order
            if (seen := self._consider_hub(network, hub_id, memory, votes)) is not None
        }

    def forget_all_but(self, networks: Collection[str]) -> None:
        """Says which networks there are."""
        for network_id in self._networks.keys() - networks:
            del self._networks[network_id]

    def _look(
        self, network: NetworkIntent, known: Mapping[str, Remembered], now: float
    ) -> dict[str, Remembered]:
        found: dict[str, Remembered] = {}
        online = {
            peer.id: seen
            for peer in network.peers
            if (seen := self.observations.get(peer.node_id)) is not None and seen.online
        }
        evidence = peer_status.gather(
            network.id,
            (
                peer_status.Reporter(peer.id, peer.name, seen.report)
                for peer in network.peers
                if (seen := online.get(peer.id)) is not None and seen.report is not None
            ),
        )
        for peer in network.peers:
            derived = peer_status.derive(peer.id, peer.name, evidence, now)
            before = known.get(peer.id, _FRESH)
            after = follow(before, derived.status, self._out_of_step(network.id, peer, online), now)
            found[peer.id] = after
            if after.silent is not before.silent:
                self.event(
                    "sdwan.peer_silent" if after.silent else "sdwan.peer_recovered",
                    network_id=network.id,
                    peer_id=peer.id,
                    name=peer.name,
                    last_handshake_at=derived.last_handshake_at,
                    evidence=derived.evidence,
                )
        return found

    def _out_of_step(
        self, network_id: str, peer: PeerIntent, online: Mapping[str, Observation]
    ) -> bool | None:
        seen = online.get(peer.id)
        if seen is None or seen.report is None:
            return None
        known = [key for key in (peer.keys.public, peer.keys.next_public) if key]
        desired = self.desired(peer.node_id)
        return bool(problems.out_of_step(seen.report, network_id, desired, known))

    def _consider_hub(
        self, network: NetworkIntent, hub_id: str, memory: _Memory, votes: hubs.Votes
    ) -> HubSight | None:
        before = memory.hubs.get(hub_id)
        now_seen = sight(hub_id, votes, memory.peers.get(hub_id, _FRESH).silent)
        if now_seen is None:
            return before
        before = before or HubSight()
        worse = now_seen.unreachable and (
            not before.unreachable or (now_seen.all and not before.all)
        )
        recovered = before.unreachable and not now_seen.unreachable
        if not worse and not recovered:
            return now_seen
        names = {peer.id: peer.name for peer in network.peers}
        self.event(
            "sdwan.hub_unreachable" if worse else "sdwan.hub_recovered",
            network_id=network.id,
            peer_id=hub_id,
            name=names[hub_id],
            scope="all" if now_seen.all else "some" if worse else "none",
            dead_to=[
                {"peer_id": spoke, "name": names.get(spoke, "")}
                for spoke in sorted(now_seen.dead_to)
            ],
            evidence=_sentence(now_seen, votes),
        )
        return now_seen


def _sentence(seen: HubSight, votes: hubs.Votes) -> str:
    if seen.dead_to:
        return f"dead to {len(seen.dead_to)} of the {len(votes)} spokes that report"
    if seen.all:
        return "no handshake for 5 minutes, and no spoke that has it answer"
    return f"dead to none of the {len(votes)} spokes that report"


def _since(before: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if before is None else before

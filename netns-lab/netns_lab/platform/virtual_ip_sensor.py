"""The runbook's sdwan_vip_reachability_sensor: says when a holder of a virtual IP cannot be reached,
and when two hold what one should.

    sdwan.vip_holder_silent     nobody who measures it reaches the holder, or its last handshake is more
                                than 5 minutes old; sdwan_vip_failover then waits in the approval queue
    sdwan.vip_holder_recovered  somebody reaches it again; what waits is withdrawn
    sdwan.vip_held_twice        two nodes report a virtual IP that is not anycast, outside of a move
    sdwan.vip_held_once         that is over

An event for each change. What is not measured changes nothing. The memory is the process's: a
restarted platform says again what still holds, and asks for nothing that waits already. Of anycast it
is told, and nothing is asked for: routing leads around.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from netns_lab.platform import approvals, peer_status
from netns_lab.platform.compile_virtual_ip import share_virtual_ips
from netns_lab.platform.context import Observation
from netns_lab.platform.database import Sessions
from netns_lab.platform.intent import NetworkIntent, PeerIntent
from netns_lab.platform.peer_status import Evidence, Reporter
from netns_lab.platform.tables import Network
from netns_lab.platform.trials import Recorder
from netns_lab.platform.virtual_ip_intent import VirtualIpIntent
from netns_lab.platform.virtual_ip_memory import NOTHING_SEEN, VirtualIpMemory
from netns_lab.platform.virtual_ip_move_rows import unfinished
from netns_lab.platform.virtual_ip_nearest import nearest_first
from netns_lab.platform.virtual_ip_problems import HELD_TWICE_SECONDS
from netns_lab.platform.virtual_ip_sight import Holding, Probes, gather_probes, holding, reach
from netns_lab.platform.virtual_ip_tables import VirtualIpNearest
from powernode.sdwan.v1 import status_pb2 as pb

LOOK_SECONDS: Final = 1.0
"""How often the virtual IPs of a network are looked at: it costs a pass over all reports."""
SKILL: Final = "sdwan_vip_failover"


@dataclass(slots=True, eq=False)
class VirtualIpSensor:
    """All networks' virtual IPs. `clock` in seconds since the epoch; `observations` by node id."""

    sessions: Sessions
    clock: Callable[[], float]
    observations: Mapping[str, Observation]
    event: Recorder
    _looked_at: dict[str, float] = field(default_factory=dict)
    _seen: dict[str, VirtualIpMemory] = field(default_factory=dict)

    def remembered(self, virtual_ip_id: str) -> VirtualIpMemory:
        """What was seen of a virtual IP over time."""
        return self._seen.get(virtual_ip_id, NOTHING_SEEN)

    def silent(self, virtual_ip_id: str, peer_id: str) -> str:
        """Why a holder cannot be reached; empty: it can, or nobody knows."""
        return self.remembered(virtual_ip_id).silent.get(peer_id, "")

    def consider(self, network: NetworkIntent) -> bool:
        """Looks at a network when it is time to; whether an order of holders was written."""
        now = self.clock()
        if (
            not network.virtual_ips
            or now - self._looked_at.get(network.id, float("-inf")) < LOOK_SECONDS
        ):
            return False
        self._looked_at[network.id] = now
        peers = {peer.id: peer for peer in network.peers}
        names = {peer.id: peer.name for peer in network.peers}
        evidence = peer_status.gather(network.id, self._reporters(network))
        probes = gather_probes(network.id, names, evidence)
        for virtual_ip in network.virtual_ips:
            before = self.remembered(virtual_ip.id)
            after = self._silence(network, virtual_ip, peers, before, (evidence, probes))
            self._seen[virtual_ip.id] = self._twice(network, virtual_ip, after, evidence, names)
        return self._reorder(network, peers, evidence)

    def forget_all_but(self, networks: Collection[NetworkIntent]) -> None:
        """Says which networks there are."""
        for network_id in self._looked_at.keys() - {each.id for each in networks}:
            del self._looked_at[network_id]
        known = {each.id for network in networks for each in network.virtual_ips}
        for virtual_ip_id in self._seen.keys() - known:
            del self._seen[virtual_ip_id]

    def _reporters(self, network: NetworkIntent) -> list[Reporter]:
        return [
            Reporter(peer.id, peer.name, seen.report)
            for peer in network.peers
            if (seen := self.observations.get(peer.node_id)) is not None
            and seen.online
            and seen.report is not None
        ]

    def _silence(
        self,
        network: NetworkIntent,
        virtual_ip: VirtualIpIntent,
        peers: Mapping[str, PeerIntent],
        before: VirtualIpMemory,
        seen: tuple[Evidence, Probes],
    ) -> VirtualIpMemory:
        silent: dict[str, str] = {}
        for holder in virtual_ip.holders:
            peer = peers.get(holder.peer_id)
            if peer is None or not holder.hold:
                continue
            reached = reach(peer.id, peer.name, *seen, self.clock())
            was = before.silent.get(peer.id, "")
            if reached.reachable is False or (was and reached.reachable is None):
                silent[peer.id] = was or f"{peer.name} {reached.sentence}"
            if bool(was) is not (peer.id in silent):
                self._tell(network, virtual_ip, peer, silent.get(peer.id, ""), reached.sentence)
        return replace(before, silent=silent)

    def _tell(
        self,
        network: NetworkIntent,
        virtual_ip: VirtualIpIntent,
        peer: PeerIntent,
        silent: str,
        evidence: str,
    ) -> None:
        others = [each.peer_id for each in virtual_ip.holders if each.peer_id != peer.id]
        self.event(
            "sdwan.vip_holder_silent" if silent else "sdwan.vip_holder_recovered",
            network_id=network.id,
            virtual_ip_id=virtual_ip.id,
            name=virtual_ip.name,
            address=virtual_ip.address,
            anycast=virtual_ip.anycast,
            peer_id=peer.id,
            holder=peer.name,
            evidence=evidence,
            failover_candidates=others,
        )
        if virtual_ip.anycast:
            return
        with self.sessions.begin() as session:
            if not silent:
                taken = approvals.withdraw(
                    session, virtual_ip.id, f"{peer.name} is back: it {evidence}", self.clock()
                )
                name, row = "approval.withdrawn", taken
            elif others and not unfinished(session, virtual_ip.id):
                account = session.get_one(Network, network.id).account_id
                asked, new = approvals.request(
                    session,
                    account,
                    SKILL,
                    virtual_ip.id,
                    {"virtual_ip_id": virtual_ip.id},
                    f"sdwan.vip_holder_silent: {silent}",
                    self.clock(),
                )
                name, row = "approval.requested", asked if new else None
            else:
                return
            if row is not None:
                self.event(name, approval_id=row.id, skill=row.skill, subject_id=row.subject)

    def _twice(
        self,
        network: NetworkIntent,
        virtual_ip: VirtualIpIntent,
        before: VirtualIpMemory,
        evidence: Evidence,
        names: Mapping[str, str],
    ) -> VirtualIpMemory:
        now = self.clock()
        held_by = tuple(
            names[peer_id]
            for peer_id, report in evidence.reports.items()
            if holding(report, virtual_ip.id) is Holding.HOLDING
        )
        wanted = sum(each.hold for each in virtual_ip.holders)
        too_many = not virtual_ip.anycast and wanted <= 1 < len(held_by)
        if not too_many:
            if before.told_twice:
                self._tell_twice("sdwan.vip_held_once", network, virtual_ip, held_by)
            return replace(before, twice_since=None, told_twice=False)
        since = now if before.twice_since is None else before.twice_since
        told = before.told_twice
        if not told and now - since >= HELD_TWICE_SECONDS:
            told = True
            self._tell_twice("sdwan.vip_held_twice", network, virtual_ip, held_by)
        return replace(before, twice_since=since, told_twice=told)

    def _tell_twice(
        self,
        name: str,
        network: NetworkIntent,
        virtual_ip: VirtualIpIntent,
        held_by: tuple[str, ...],
    ) -> None:
        self.event(
            name,
            network_id=network.id,
            virtual_ip_id=virtual_ip.id,
            name=virtual_ip.name,
            address=virtual_ip.address,
            held_by=list(held_by),
        )

    def _reorder(
        self, network: NetworkIntent, peers: Mapping[str, PeerIntent], evidence: Evidence
    ) -> bool:
        """Writes down which holders of anycast are the nearest, where that is not what stands."""
        changed: list[VirtualIpNearest] = []
        shared = share_virtual_ips(network, peers)
        for virtual_ip in network.virtual_ips:
            if not virtual_ip.anycast:
                continue
            for peer_id, report in evidence.reports.items():
                current = shared.direct(virtual_ip, peers[peer_id])
                if len(current) < 2:
                    continue
                order = nearest_first(current, *_measured(network.id, report))
                if order != current:
                    changed.append(
                        VirtualIpNearest(
                            virtual_ip_id=virtual_ip.id, peer_id=peer_id, holders=" ".join(order)
                        )
                    )
        if changed:
            with self.sessions.begin() as session:
                for row in changed:
                    session.merge(row)
        return bool(changed)


def _measured(network_id: str, report: pb.StatusReport) -> tuple[dict[str, int], frozenset[str]]:
    """Round trips of the peers that answer a node, and the peers that do not."""
    own = [each for each in report.peers if each.network_id == network_id]
    return (
        {
            each.peer_id: each.rtt_us
            for each in own
            if each.liveness == pb.LIVENESS_ALIVE and each.HasField("rtt_us")
        },
        frozenset(each.peer_id for each in own if each.liveness == pb.LIVENESS_DEAD),
    )

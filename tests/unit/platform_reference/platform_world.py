"""The platform without its sockets, with a clock that tests turn and nodes that tests speak for."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from netns_lab.platform.core import Platform
from netns_lab.platform.revisions import NodeRevision
from powernode.sdwan.v1 import desired_state_pb2, status_pb2


@dataclass
class Lab:
    """A platform with a clock that the test turns, and nodes that the test speaks for."""

    platform: Platform
    clock: list[float]
    network_id: str = ""
    nodes: dict[str, str] = field(default_factory=dict)
    peers: dict[str, str] = field(default_factory=dict)

    def attach(self, name: str, **more: object) -> None:
        created = self.platform.call("lab_create_node_instance", {"name": name})["node_instance"]
        assert isinstance(created, dict)
        self.nodes[name] = created["id"]
        arguments = {"network_id": self.network_id, "node_instance_id": created["id"], **more}
        peer = self.platform.call("system_sdwan_attach_peer", arguments)["peer"]
        assert isinstance(peer, dict)
        self.peers[name] = peer["id"]

    def online(self, *names: str) -> None:
        for name in names:
            self.platform.observer.opened(self.nodes[name])
            self.report(name, full=True)

    def current(self, name: str) -> NodeRevision:
        feed = self.platform.feed(self.nodes[name])
        assert feed is not None
        return feed.current

    def seen(self, name: str, other: str) -> desired_state_pb2.Peer:
        """`other` in the desired state of `name`."""
        return next(
            each
            for each in self.current(name).resources.values()
            if isinstance(each, desired_state_pb2.Peer) and each.id == self.peers[other]
        )

    def interface(self, name: str) -> desired_state_pb2.Interface:
        return next(
            each.interface
            for each in self.current(name).resources.values()
            if isinstance(each, desired_state_pb2.Network)
        )

    def hub_order(self, name: str) -> list[str]:
        path = next(
            each
            for each in self.current(name).resources.values()
            if isinstance(each, desired_state_pb2.Path)
        )
        names = {peer: name for name, peer in self.peers.items()}
        return [names[each.peer_id] for each in path.candidates]

    def events(self, prefix: str) -> list[dict[str, object]]:
        return [each for each in self.platform.events() if str(each["event"]).startswith(prefix)]

    def pass_time(self, seconds: float) -> None:
        """Turns the clock in steps of a second, with a look at each."""
        for _ in range(int(seconds)):
            self.clock[0] += 1
            self.platform.observer.consider()

    def up(self, **more: object) -> status_pb2.NetworkStatus:
        status = status_pb2.NetworkStatus(network_id=self.network_id, up=True)
        status.MergeFrom(status_pb2.NetworkStatus(**more))  # type: ignore[arg-type]
        return status

    def report(
        self,
        name: str,
        *,
        full: bool = False,
        source: str = "192.0.2.99",
        applied: int | None = None,
        own: tuple[str, ...] = (),
        peers: tuple[status_pb2.PeerStatus, ...] = (),
        networks: tuple[status_pb2.NetworkStatus, ...] = (),
    ) -> None:
        report = status_pb2.StatusReport(sequence=1, full=full, peers=peers, networks=networks)
        if applied is not None:
            report.applied_revision = applied
        for endpoint in own:
            report.endpoint_candidates.add(
                network_id=self.network_id,
                endpoint=endpoint,
                source=status_pb2.ENDPOINT_SOURCE_INTERFACE,
            )
        self.platform.observer.take(self.nodes[name], report, ip_address(source))

    def about(self, other: str, **more: object) -> status_pb2.PeerStatus:
        status = status_pb2.PeerStatus(peer_id=self.peers[other], network_id=self.network_id)
        status.MergeFrom(status_pb2.PeerStatus(**more))  # type: ignore[arg-type]
        return status

    def status(self, name: str) -> dict[str, object]:
        listed = self.platform.call("system_sdwan_list_peers", {"network_id": self.network_id})
        peers = listed["peers"]
        assert isinstance(peers, list)
        return next(dict(each) for each in peers if each["name"] == name)

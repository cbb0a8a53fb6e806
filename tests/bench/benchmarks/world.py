"""The lab that the benchmarks share: a platform, a hub, two spokes on its network, and one node
apart.

The hub is where real actions arrive; its network grows to 1,000 peers when a benchmark asks. The
node apart is on no network of the platform's: benchmarks hand it whole states (`lab_push_raw`),
over the same stream, so that one revision can bring 1,000 peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from benchmarks.evidence import AgentLog, timed
from benchmarks.uapi import Uapi

from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.scenario.stage import text
from netns_lab.topology import Topology, plain_topology

HUB: Final = "hub-1"
SPOKES: Final = ("spoke-1", "spoke-2")
APART: Final = "spoke-3"
TOPOLOGY: Final[Topology] = plain_topology(hubs=1, spokes=3)

Progress = Callable[[str], None]


class World:
    """The running lab with its network; `start` first."""

    def __init__(self, lab: Lab, progress: Progress) -> None:
        self.lab = lab
        self.progress = progress
        self.instances: dict[str, str] = {}
        self.peers: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        self.network_id = ""
        self.link = ""
        self.growth: tuple[int, float] | None = None
        """Peers added by `grow`, and the seconds it took."""
        self._extras = 0

    def start(self) -> None:
        """Platform, agents, the network; returns when both spokes have shaken hands with the hub."""
        self.instances = self.lab.start(progress=self.progress)
        answer = self.call("system_sdwan_create_network", name="bench", routing_mode="static")
        self.network_id = text(answer, "network", "id")
        self.link = "wg-sdwan-" + text(answer, "network", "handle")
        self.attach(HUB)
        for spoke in SPOKES:
            self.attach(spoke)
        self.lab.wait_until(self._connected, what="the spokes' handshakes", timeout=30)

    @property
    def hub(self) -> LabNode:
        return self.lab.node(HUB)

    @property
    def apart(self) -> LabNode:
        return self.lab.node(APART)

    def call(self, action: str, /, **arguments: object) -> Mapping[str, object]:
        """An action of the platform; building a large state may take it a while."""
        return self.lab.platform.call(action, arguments, timeout=120)

    def attach(self, name: str) -> None:
        """Attach a node of the lab; its role is said, so that no detection changes it later."""
        wish: dict[str, object] = {"publicly_reachable": name == HUB}
        if name == HUB:
            wish["endpoint_address"] = f"{self.hub.ipv4}:51820"
        answer = self.call(
            "system_sdwan_attach_peer",
            network_id=self.network_id,
            node_instance_id=self.instances[name],
            **wish,
        )
        self.peers[name] = text(answer, "peer", "id")
        self.addresses[name] = text(answer, "peer", "host_address")

    def detach(self, name: str) -> None:
        self.call("system_sdwan_detach_peer", peer_id=self.peers.pop(name))

    def grow(self, peers: int) -> None:
        """Create and attach NodeInstances until the hub has this many peers, as an operator would."""
        missing = peers - (len(self.peers) - 1) - self._extras
        if missing <= 0:
            return

        def add() -> None:
            for number in range(1, missing + 1):
                self._extras += 1
                made = self.call("lab_create_node_instance", name=f"extra-{self._extras}")
                self.call(
                    "system_sdwan_attach_peer",
                    network_id=self.network_id,
                    node_instance_id=text(made, "node_instance", "id"),
                    publicly_reachable=False,
                )
                if number % 100 == 0:
                    self.progress(f"attached {number}/{missing} more peers")

        seconds = timed(add) / 1000
        if missing >= 100:
            self.growth = (missing, seconds)
        self.lab.wait_until(
            lambda: len(self.device_keys(self.hub, self.link)) == peers,
            what=f"{peers} peers in the hub's device",
            timeout=60,
        )

    def uapi_path(self, node: LabNode, link: str) -> Path:
        """The host's path of a device's socket."""
        return node.path(f"/run/wireguard/{link}.sock")

    def uapi(self, node: LabNode, link: str) -> Uapi:
        """A connection to a device. Raises `LabError` if there is none."""
        try:
            return Uapi(self.uapi_path(node, link))
        except OSError as error:
            raise LabError("no such device", which=f"{link} on {node.name}") from error

    def device_keys(self, node: LabNode, link: str) -> set[str]:
        with self.uapi(node, link) as device:
            return device.keys()

    def push(self, upserts: Mapping[str, object] | None) -> int:
        """Lay resources over the state of the node apart (None: none); the revision it makes."""
        answer = self.call("lab_push_raw", node_instance_id=self.instances[APART], upserts=upserts)
        revision = answer["revision"]
        if not isinstance(revision, int):
            raise LabError("the platform gave no revision", value=repr(revision))
        return revision

    def push_applied(self, log: AgentLog, upserts: Mapping[str, object] | None) -> None:
        """`push`, and wait until it is applied."""
        log.await_revision("reconcile.applied", self.push(upserts))

    def _connected(self) -> bool:
        with self.uapi(self.hub, self.link) as device:
            return device.shaken() >= len(SPOKES)

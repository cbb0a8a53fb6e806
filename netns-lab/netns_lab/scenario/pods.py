"""Pod networks (runbook, phase 1, pod_subnet_prefix): k3s on three spokes, one of them behind NAT,
whose pods reach each other over the overlay through hubs that are no k3s nodes. On a static network,
where the platform says who carries what, and on an iBGP one, where each node announces its pods.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from netns_lab import sabotage
from netns_lab.errors import ActionError
from netns_lab.node import LabNode
from netns_lab.pods import (
    BRIDGE,
    DROP_INS,
    Pod,
    leases,
    start_k3s,
    start_pod,
    starts,
    stop_k3s,
    stop_pod,
    subnet_env,
)
from netns_lab.scenario.connections import CONNECTED, attempt, serving, transfer
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect

NAT, FIREWALLED, OPEN = "spoke-nat", "spoke-fw", "spoke-open"
HUBS: Final = ("hub-1", "hub-2")
ROLES: Final = {OPEN: "server", NAT: "agent", FIREWALLED: "agent"}
PREFIX, OTHER_PREFIX, BGP_PREFIX = "10.42.0.0/16", "10.44.0.0/16", "10.46.0.0/16"
PORT: Final = 8080
LARGE: Final = 1 << 20
"""Bytes; many times what fits a window."""
FILE: Final = DROP_INS / "50-powernode-sdwan.yaml"
PATIENCE: Final = 30.0
RETURN: Final = 120.0
"""Seconds. Each return that turned out to be a mistake doubles the hold-down (`platform.hubs`): after
what phase 2 does to hub-1 it is 40 s, on top of what it takes to be heard again."""


@dataclass
class PodNetwork:
    """A k3s cluster on a network, while its steps play."""

    stage: Stage
    teller: Teller
    cluster_id: str = ""
    pods: dict[str, Pod] = field(default_factory=dict)

    def nodes(self) -> Iterator[tuple[str, LabNode]]:
        for name in ROLES:
            yield name, self.stage.node(name)

    def bootstrap(self) -> None:
        """The action, and then each node's word that its k3s finds what it needs."""
        peers = self.stage.peers
        answer = self.stage.call(
            "system_create_k3s_cluster",
            network_id=self.stage.network_id,
            name="edge",
            cni_plugin="flannel",
            server_peer_ids=[peers[name] for name, role in ROLES.items() if role == "server"],
            agent_peer_ids=[peers[name] for name, role in ROLES.items() if role == "agent"],
        )
        self.cluster_id = text(answer, "cluster", "id")
        self.stage.lab.wait_until(
            lambda: self.described()["status"] == "ready",
            what="each node to have its configuration for k3s",
            timeout=PATIENCE,
        )

    def described(self) -> Mapping[str, object]:
        answer = self.stage.call("system_get_k3s_cluster", cluster_id=self.cluster_id)["cluster"]
        return answer if isinstance(answer, Mapping) else {}

    def members(self) -> dict[str, Mapping[str, object]]:
        """The cluster's nodes by name, as the platform knows them."""
        found = self.described()["nodes"]
        return {str(each["name"]): each for each in found} if isinstance(found, list) else {}

    def subnets(self) -> dict[str, str]:
        """Each node's pods, from what flannel wrote down."""
        found = {name: subnet_env(node).get("FLANNEL_SUBNET", "") for name, node in self.nodes()}
        return {name: f"{given.rpartition('.')[0]}.0/24" for name, given in found.items() if given}

    def check_files(self, prefix: str) -> None:
        """Each node is told what its role takes, and hubs, which are no k3s nodes, nothing."""
        for name, node in self.nodes():
            said = node.path(FILE).read_text()
            self.teller.evidence(f"{name} {FILE}: {', '.join(said.splitlines()[1:])}")
            server = ROLES[name] == "server"
            for line, wanted in (
                (f'flannel-iface: "{self.stage.link}"', True),
                ('flannel-backend: "host-gw"', server),
                (f'cluster-cidr: "{prefix}"', server),
            ):
                expect((line in said) == wanted, f"{name}, {ROLES[name]}: {line}", said)
        for hub in HUBS:
            expect(not self.stage.node(hub).path(FILE).exists(), f"{hub} is no k3s node")

    def await_flannel(self, prefix: str) -> None:
        """flannel has a subnet of `prefix` everywhere, the platform knows it, and the hubs follow."""
        start = f"{prefix.split('.')[0]}.{prefix.split('.')[1]}."

        def known() -> bool:
            said, members = self.subnets(), self.members()
            return len(said) == len(ROLES) and all(
                subnet.startswith(start) and members[name]["pod_subnet"] == subnet
                for name, subnet in said.items()
            )

        self.stage.lab.wait_until(known, what="each node's pods to be known", timeout=PATIENCE)
        keys = {name: str(peer["public_key"]) for name, peer in self.stage.listed_peers().items()}
        for hub in HUBS:
            for name, subnet in self.subnets().items():

                def given(hub: str = hub, name: str = name, subnet: str = subnet) -> bool:
                    return self.stage.carrier(hub, subnet) == keys[name]

                self.stage.lab.wait_until(
                    given, what=f"{hub} to give {subnet} to {name}", timeout=PATIENCE
                )
        self.teller.table(
            ("NODE", "ROLE", "PODS", "CARRIED BY ITS PEER ON"),
            [
                (name, ROLES[name], subnet, " ".join(HUBS))
                for name, subnet in self.subnets().items()
            ],
        )

    def check_routes(self) -> None:
        """flannel's own routes stand, none of them refused by the kernel, none fought over."""
        for name, node in self.nodes():
            expect("error adding route" not in node.log("k3s"), f"{name} takes flannel's routes")
            routes = node.run(["ip", "-4", "route", "show", "dev", self.stage.link]).stdout
            for other, subnet in self.subnets().items():
                if other != name:
                    expect(f"{subnet} via " in routes, f"{name} has a route to {subnet}", routes)
        self.teller.evidence(f"{NAT}: ip route show dev {self.stage.link}")
        self.teller.evidence(
            self.stage.node(NAT).run(["ip", "-4", "route", "show", "dev", self.stage.link]).stdout
        )

    def start_pods(self) -> None:
        for name, node in self.nodes():
            self.pods[name] = start_pod(node)

    def check_reach(self) -> None:
        """Every pod reaches every other, also in packets as large as its interface takes."""
        rows: list[tuple[str, str, int, str]] = []
        for source in self.pods.values():
            for target in self.pods.values():
                if source is target:
                    continue

                def reached(source: Pod = source, target: Pod = target) -> bool:
                    return source.reaches(target)

                self.stage.lab.wait_until(
                    reached,
                    what=f"pod {source.address} to reach pod {target.address}",
                    timeout=PATIENCE,
                )
                mtu = min(source.mtu, target.mtu)
                rows.append(
                    (f"{source.address} on {source.node.name}",
                     f"{target.address} on {target.node.name}",
                     mtu, "whole" if source.reaches(target, mtu) else "lost")
                )  # fmt: skip
        self.teller.table(("POD", "TO POD", "BYTES", "ARRIVES"), rows)
        for from_, to, mtu, seen in rows:
            expect(seen == "whole", f"a packet of {mtu} bytes from {from_} to {to}", seen)

    def stop_pods(self) -> None:
        for pod in self.pods.values():
            stop_pod(pod)
            pod.node.run(["ip", "link", "delete", BRIDGE], check=False)
        self.pods.clear()

    def delete(self) -> None:
        self.stage.call("system_delete_k3s_cluster", cluster_id=self.cluster_id)
        self.stage.lab.wait_until(
            lambda: not any(node.path(FILE).exists() for _, node in self.nodes()),
            what="the files for k3s to be gone",
            timeout=PATIENCE,
        )

    def uninstall(self) -> None:
        """k3s goes, with what it leaves in the kernel."""
        for _, node in self.nodes():
            stop_k3s(node)
            for subnet in self.subnets().values():
                node.run(["ip", "route", "delete", subnet, "dev", self.stage.link], check=False)
        for _, node in self.nodes():
            node.run(["nft", "delete", "table", "ip", "standin_flannel"], check=False)
            node.path("/run/flannel/subnet.env").unlink(missing_ok=True)
        leases(self.stage.lab).unlink(missing_ok=True)


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """On a static network with pod_subnet_prefix; what they make, the last one removes."""
    network = PodNetwork(stage, teller)

    def bootstrapped() -> None:
        network.bootstrap()
        network.check_files(PREFIX)

    def flannel_up() -> None:
        for name, node in network.nodes():
            start_k3s(stage.lab, node, ROLES[name])
        network.await_flannel(PREFIX)
        network.check_routes()

    def reach() -> None:
        network.start_pods()
        network.check_reach()

    def tcp() -> None:
        target = network.pods[FIREWALLED]
        address = str(target.address)
        with serving(target, address, PORT):
            rows = [
                (f"pod on {name}", attempt(network.pods[name], address, PORT))
                for name in (NAT, OPEN)
            ]
            rows += [
                (f"{name} itself", attempt(stage.node(name), address, PORT))
                for name in (NAT, HUBS[0])
            ]
            seconds = transfer(network.pods[NAT], address, PORT, LARGE)
        teller.table((f"FROM, TO {address}", "SEEN"), rows)
        teller.evidence(
            f"{LARGE >> 20} MiB there and back from the pod behind NAT: {seconds:.2f} s"
        )
        for name, seen in rows:
            expect(seen == CONNECTED, f"{name} gets through", seen)

    def untranslated() -> None:
        source, target = network.pods[NAT], network.pods[OPEN]

        def connect() -> str:
            with socket.create_connection((str(target.address), PORT), timeout=5):
                return target.run(["ss", "-tnH", "state", "established"]).stdout

        with serving(target, str(target.address), PORT):
            seen = source.inside(connect)
        teller.evidence(f"a connection as the pod on {OPEN} sees it: {' '.join(seen.split())}")
        expect(str(source.address) in seen, "it comes from the pod's own address", seen)

    def agent_away() -> None:
        node = stage.node(NAT)
        node.stop_agent()
        expect(network.pods[NAT].reaches(network.pods[OPEN]), "pods do not need the agent")
        node.start_agent()
        node.await_agent()
        expect(network.pods[NAT].reaches(network.pods[OPEN]), "nor notice that it returns")
        expect(starts(node) == 1, "k3s is not restarted for it", node.log("k3s"))

    def hub_killed() -> None:
        """The hub that carries everyone's pods dies, and comes back."""
        source, target = network.pods[NAT], network.pods[FIREWALLED]
        keys = {name: str(peer["public_key"]) for name, peer in stage.listed_peers().items()}

        def carried_by(hub: str) -> bool:
            return all(stage.carrier(name, PREFIX) == keys[hub] for name in ROLES)

        stage.lab.wait_until(lambda: carried_by(HUBS[0]), what="hub-1 in use", timeout=PATIENCE)
        sabotage.kill_hub(stage.node(HUBS[0]))
        stage.lab.wait_until(lambda: carried_by(HUBS[1]), what="hub-2 instead", timeout=PATIENCE)
        stage.lab.wait_until(
            lambda: source.reaches(target, source.mtu), what="pods by hub-2", timeout=PATIENCE
        )
        sabotage.revive_hub(stage.node(HUBS[0]))
        stage.node(HUBS[0]).await_agent()
        stage.lab.wait_until(lambda: carried_by(HUBS[0]), what="hub-1 again", timeout=RETURN)
        expect(source.reaches(target, source.mtu), "pods by hub-1 again")
        teller.evidence("hub-1 died and came back: pods went by hub-2, and back")

    def refused() -> None:
        rows = []
        cases: list[tuple[str, dict[str, object], str]] = [
            ("system_sdwan_update_network",
             {"network_id": stage.network_id, "pod_subnet_prefix": OTHER_PREFIX},
             "pod_subnet_prefix"),
            ("system_sdwan_update_peer_lan_subnets",
             {"peer_id": stage.peers[OPEN], "subnets": [{"prefix": "10.42.9.0/24"}]},
             "subnets.0.prefix"),
            ("system_create_k3s_cluster",
             {"network_id": stage.network_id, "name": "two", "cni_plugin": "flannel",
              "server_peer_ids": [stage.peers[OPEN]]},
             "server_peer_ids.0"),
        ]  # fmt: skip
        for action, arguments, wanted in cases:
            try:
                stage.lab.call(action, arguments)
            except ActionError as error:
                expect(error.field == wanted, f"the error names {wanted}", error.field)
                rows.append((error.field, error.rule))
            else:
                expect(False, f"a bad {wanted} is refused", arguments)
        teller.table(("FIELD", "RULE"), rows)

    def changed() -> None:
        """The cluster goes, and k3s is left alone; a new one with another prefix restarts it, once."""
        network.delete()
        for name, node in network.nodes():
            expect(starts(node) == 1, f"k3s of {name} is not restarted when the file goes")
        network.stop_pods()
        leases(stage.lab).unlink()  # a new cluster is a new API server
        stage.call(
            "system_sdwan_update_network",
            network_id=stage.network_id,
            pod_subnet_prefix=OTHER_PREFIX,
        )
        network.bootstrap()
        network.check_files(OTHER_PREFIX)
        network.await_flannel(OTHER_PREFIX)
        rows = [
            (name, starts(node) - 1, network.members()[name]["k3s_restarted_at"])
            for name, node in network.nodes()
        ]
        teller.table(("NODE", "RESTARTS OF K3S", "TOLD OF AT"), rows)
        for name, restarts, told in rows:
            expect(
                restarts == 1 and told is not None, f"k3s of {name} was restarted once", restarts
            )
        network.start_pods()
        network.check_reach()

    def removed() -> None:
        network.stop_pods()
        network.delete()
        network.uninstall()
        stage.call(
            "system_sdwan_update_network", network_id=stage.network_id, pod_subnet_prefix=PREFIX
        )
        teller.evidence("the cluster is gone, and what k3s had made is gone with it")

    return [
        Step("bootstrap a k3s cluster on the network: each node has its file", bootstrapped),
        Step("k3s starts: hubs give each node's pods to that node", flannel_up),
        Step("pods on three nodes reach each other, in packets of their MTU", reach),
        Step("TCP to a pod, from pods and from nodes", tcp),
        Step("nothing between pods is translated", untranslated),
        Step("the agent goes and comes: pods and k3s do not notice", agent_away),
        Step("the hub in use dies and comes back: pods go by the other one", hub_killed),
        Step("what would collide with the pods is refused, by field and rule", refused),
        Step("another cluster with another prefix: k3s is restarted once", changed),
        Step("delete the cluster", removed),
    ]


def bgp_steps(fabric: Stage, teller: Teller) -> list[Step]:
    """On an iBGP network that gets a pod_subnet_prefix only now, when k3s runs already."""
    network = PodNetwork(fabric, teller)

    def opted_in() -> None:
        for name, node in network.nodes():
            start_k3s(fabric.lab, node, ROLES[name])
        fabric.call(
            "system_sdwan_update_network",
            network_id=fabric.network_id,
            pod_subnet_prefix=BGP_PREFIX,
        )
        network.bootstrap()
        network.check_files(BGP_PREFIX)
        # A node announces its pods while there is a route to them, and that comes with the first pod.
        fabric.lab.wait_until(
            lambda: all(
                subnet_env(node).get("FLANNEL_NETWORK") == BGP_PREFIX for _, node in network.nodes()
            ),
            what="flannel to have taken the prefix",
            timeout=PATIENCE,
        )
        network.start_pods()

    def announced() -> None:
        network.await_flannel(BGP_PREFIX)
        network.check_routes()
        hub = fabric.node(HUBS[0])
        teller.evidence(hub.run(["ip", "route", "show", "root", BGP_PREFIX]).stdout)

    def removed() -> None:
        network.stop_pods()
        network.delete()
        network.uninstall()
        fabric.call(
            "system_sdwan_update_network", network_id=fabric.network_id, pod_subnet_prefix=None
        )

    return [
        Step("an iBGP network gets a prefix for pods under a k3s that runs", opted_in),
        Step("each node announces its pods, and hubs follow", announced),
        Step("pods reach each other over iBGP, in packets of their MTU", network.check_reach),
        Step("delete the cluster", removed),
    ]

"""k3s nodes and pods of a lab: the stand-in started on a node, and a namespace on its bridge as a pod.

What the CNI plugins of k3s do for a pod is done here: the bridge cni0 with the first address of the
node's subnet and flannel's MTU, and a veth pair into a namespace of the lab's own name, so that taking
the lab down takes pods as well.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final, TypeVar

from netns_lab import processes
from netns_lab.agent_config import K3S_PID_FILE
from netns_lab.errors import LabError
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.paths import NETWORK_NAMESPACES
from netns_lab.processes import ProcessRecord
from netns_lab.syscalls import in_network_namespace

T = TypeVar("T")

DROP_INS: Final = Path("/etc/rancher/k3s/config.yaml.d")
SUBNET_ENV: Final = Path("/run/flannel/subnet.env")
BRIDGE: Final = "cni0"
UNIT: Final = "k3s"


def start_k3s(lab: Lab, node: LabNode, role: str) -> ProcessRecord:
    """k3s of a node, as `server` or `agent`. Raises `LabError` if it runs already."""
    if node.process(UNIT) is not None:
        raise LabError("it runs already", which=f"k3s on {node.name}")
    node.path(DROP_INS).mkdir(parents=True, exist_ok=True)
    # The network namespace only: all nodes of the cluster share the table, which is on the host.
    command = ["nsenter", f"--net={node.network_namespace}", "--"]
    command += [sys.executable, "-m", "netns_lab.flannel_standin"]
    command += ["--node", node.name, "--role", role]
    command += ["--drop-ins", str(node.path(DROP_INS))]
    command += ["--subnet-env", str(node.path(SUBNET_ENV))]
    command += ["--leases", str(leases(lab)), "--pid", str(node.path(K3S_PID_FILE))]
    return processes.spawn(
        command, log=lab.paths.log(node.name, UNIT), record=lab.paths.process(node.name, UNIT)
    )


def stop_k3s(node: LabNode) -> None:
    """Without k3s on the node it does nothing. Routes stay, as they do when flannel ends."""
    record = node.process(UNIT)
    if record is not None:
        processes.end([record])
    node.path(K3S_PID_FILE).unlink(missing_ok=True)


def leases(lab: Lab) -> Path:
    """The table of the cluster."""
    return lab.paths.root / "flannel-leases.json"


def starts(node: LabNode) -> int:
    """How often k3s has started on a node."""
    return node.log(UNIT).count(" started: ")


@dataclass(frozen=True, slots=True)
class Pod:
    """A namespace on the bridge of a node."""

    node: LabNode
    namespace: Path
    address: IPv4Address
    mtu: int

    def inside(self, function: Callable[[], T]) -> T:
        """Run a function in a thread inside the pod's network namespace."""
        return in_network_namespace(self.namespace, function)

    def run(self, command: Sequence[str], *, check: bool = True) -> CompletedProcess[str]:
        """Run a command in the pod to its end."""
        entered = ["nsenter", f"--net={self.namespace}", "--", *command]
        return processes.run(entered, check=check)

    def reaches(self, target: Pod | str, size: int | None = None) -> bool:
        """Whether a ping is answered; of `size` bytes of IP packet, and then never in fragments."""
        address = target if isinstance(target, str) else str(target.address)
        command = ["ping", "-n", "-q", "-c", "1", "-W", "2"]
        if size is not None:
            command += ["-M", "do", "-s", str(size - 28)]  # IPv4 and ICMP headers
        return self.run([*command, address], check=False).returncode == 0


def subnet_env(node: LabNode) -> dict[str, str]:
    """What flannel wrote on a node; empty: nothing yet."""
    try:
        text = node.path(SUBNET_ENV).read_text()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in text.splitlines())


def start_pod(node: LabNode, number: int = 1) -> Pod:
    """A pod on a node whose flannel is up. `number` from 1, its own on the node."""
    found = subnet_env(node)
    if not found:
        raise LabError("flannel is not up", which=f"node {node.name}", value="no subnet.env")
    gateway, mtu = IPv4Interface(found["FLANNEL_SUBNET"]), int(found["FLANNEL_MTU"])
    name = f"{node.paths.namespace_prefix}pod{number}-{node.name}"
    address = gateway.ip + number
    veth = f"veth{number}"
    processes.run(["ip", "netns", "add", name])
    if node.run(["ip", "link", "show", BRIDGE], check=False).returncode:
        for words in (
            f"link add {BRIDGE} mtu {mtu} type bridge",
            f"link set {BRIDGE} up",
            f"address add {gateway} dev {BRIDGE}",
        ):
            node.run(["ip", *words.split()])
    entered = ["nsenter", f"--net={node.network_namespace}", "--", "ip"]
    for words in (
        f"link add {veth} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {name}",
        f"link set {veth} master {BRIDGE} up",
    ):
        processes.run([*entered, *words.split()])
    pod = Pod(node, NETWORK_NAMESPACES / name, address, mtu)
    for words in (
        "link set lo up",
        "link set eth0 up",
        f"address add {address}/{gateway.network.prefixlen} dev eth0",
        f"route add default via {gateway.ip}",
    ):
        pod.run(["ip", *words.split()])
    return pod


def stop_pod(pod: Pod) -> None:
    """Remove the pod; the bridge stays, as it does in k3s."""
    processes.run(["ip", "netns", "delete", pod.namespace.name])

"""Ways to hurt a lab, exactly and reversibly: cuts, unplugged links, killed daemons, forgotten NAT.

Each does one named thing and nothing beside it. Cuts are elements of sets in the router's own table,
so that healing one leaves the others; they drop in both directions, as a dead path does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from netns_lab import namespaces, processes, wiring
from netns_lab.errors import LabError
from netns_lab.node import LabNode
from netns_lab.processes import ProcessRecord
from netns_lab.teardown import processes_inside
from netns_lab.topology import ROUTER, Role

WIREGUARD_GO = "wireguard-go"


def cut(one: LabNode, other: LabNode) -> None:
    """Drop everything between two nodes' public underlay addresses. Others are not affected, except
    those that share the public address of a NAT. Cutting twice is cutting once."""
    _change_pairs("add", one, other)


def heal(one: LabNode, other: LabNode) -> None:
    """Undo `cut`. Raises `LabError` if there is no such cut."""
    _change_pairs("delete", one, other)


@contextmanager
def severed(one: LabNode, other: LabNode) -> Iterator[None]:
    """`cut` for the length of a block."""
    cut(one, other)
    try:
        yield
    finally:
        heal(one, other)


def isolate(node: LabNode) -> None:
    """Drop everything from and to a node's site, silently: its link stays up."""
    _change_isolated("add", node)


def rejoin(node: LabNode) -> None:
    """Undo `isolate`."""
    _change_isolated("delete", node)


def unplug(node: LabNode) -> None:
    """Take the far end of the node's uplink down: the node loses its carrier, and keeps its own
    addresses and routes as a host does whose cable was pulled."""
    link = node.topology.uplink(node.name)
    namespaces.ip(node.paths, link.upper, [f"link set dev {link.lower} down"])


def plug(node: LabNode) -> None:
    """Undo `unplug`."""
    link = node.topology.uplink(node.name)
    namespaces.ip(node.paths, link.upper, wiring.restore_link(node.topology, link))


def wireguard_processes(node: LabNode, interface: str | None = None) -> list[ProcessRecord]:
    """The userspace WireGuard daemons in a node; of one interface only, if named."""
    found = []
    for record in processes_inside([node.network_namespace]):
        arguments = _arguments(record)
        if not arguments or Path(arguments[0]).name != WIREGUARD_GO:
            continue
        if interface is None or interface in arguments[1:]:
            found.append(record)
    return found


def kill_program(node: LabNode, program: str) -> int:
    """SIGKILL every process of that program (its file's name) in a node; how many were killed."""
    found = [
        record
        for record in processes_inside([node.network_namespace])
        if (arguments := _arguments(record)) and Path(arguments[0]).name == program
    ]
    processes.kill(found)
    return len(found)


def kernel_wireguard(node: LabNode) -> list[str]:
    """Names of the node's links that are the kernel's own WireGuard."""
    shown = json.loads(node.run(["ip", "-d", "-j", "link", "show"]).stdout)
    return [
        link["ifname"] for link in shown if link.get("linkinfo", {}).get("info_kind") == "wireguard"
    ]


def kill_wireguard(node: LabNode, interface: str | None = None) -> int:
    """SIGKILL the node's wireguard-go, which takes the interface with it; how many were killed."""
    found = wireguard_processes(node, interface)
    processes.kill(found)
    return len(found)


def kill_hub(node: LabNode) -> None:
    """The whole machine is gone at once: off the net first, then its agent and its WireGuard, with the
    sessions that it had: wireguard-go is killed, links of the kernel's own are deleted."""
    unplug(node)
    node.kill_agent()
    kill_wireguard(node)
    for interface in kernel_wireguard(node):
        delete_link(node, interface)


def revive_hub(node: LabNode) -> None:
    """Undo `kill_hub`: back on the net, the agent started; it has to rebuild the rest."""
    plug(node)
    node.start_agent()


def delete_link(node: LabNode, interface: str) -> None:
    """Delete a network device inside the node."""
    node.run(["ip", "link", "delete", "dev", interface])


def delete_address(node: LabNode, interface: str, address: str) -> None:
    """Delete an address (with prefix length) from a device inside the node."""
    node.run(["ip", "address", "delete", address, "dev", interface])


def delete_route(node: LabNode, interface: str, prefix: str) -> None:
    """Delete a route through a device inside the node."""
    family = "-6" if ":" in prefix else "-4"
    node.run(["ip", family, "route", "delete", prefix, "dev", interface])


def delete_peer(node: LabNode, interface: str, public_key: str) -> None:
    """Remove a WireGuard peer (by its public key, base64) behind the agent's back."""
    node.run(["wg", "set", interface, "peer", public_key, "remove"])


def rebind_nat(node: LabNode) -> None:
    """Make the NAT in front of a node forget all flows: the next packet leaves from another port."""
    gateway = node.topology.uplink(node.name).upper
    if node.topology.node(gateway).role is not Role.NAT:
        raise LabError("this node is not behind NAT", value=str(node.name))
    processes.run(
        ["nsenter", f"--net={node.paths.network_namespace(gateway)}", "--", "conntrack", "--flush"]
    )


def _change_pairs(verb: str, one: LabNode, other: LabNode) -> None:
    """nft refuses to delete an element that is not there, which is what `heal` promises."""
    lines = []
    for version, name in ((4, "pairs4"), (6, "pairs6")):
        pairs = [
            f"{source} . {target}"
            for first in _seen_as(one, version)
            for second in _seen_as(other, version)
            for source, target in ((first, second), (second, first))
        ]
        if pairs:
            lines.append(f"{verb} element inet lab_cuts {name} {{ {', '.join(pairs)} }}")
    namespaces.load_nftables(one.paths, ROUTER, "\n".join(lines) + "\n")


def _seen_as(node: LabNode, version: int) -> Sequence[IPv4Address | IPv6Address]:
    addresses = node.topology.seen_as(node.name)
    return [address for address in addresses if address.version == version]


def _change_isolated(verb: str, node: LabNode) -> None:
    device = node.topology.router_device(node.name)
    command = f'{verb} element inet lab_cuts isolated {{ "{device}" }}\n'
    namespaces.load_nftables(node.paths, ROUTER, command)


def _arguments(record: ProcessRecord) -> list[str]:
    try:
        text = Path(f"/proc/{record.pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return text.split("\0")[:-1]

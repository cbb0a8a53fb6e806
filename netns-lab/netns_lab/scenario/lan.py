"""A LAN behind a node: a bridge with something on it, so that it has a carrier, and the node's own
addresses there. It exists before anybody is told of it."""

from __future__ import annotations

from netns_lab.node import LabNode


def make_lan(node: LabNode, link: str, *addresses: str) -> None:
    """`link` is at most 13 characters; `addresses` as ip(8) takes them, such as fd00:1a5:1::1/64."""
    commands = [
        f"link add {link} type bridge",
        f"link add {link}-a type veth peer name {link}-b",
        f"link set {link}-a master {link} up",
        f"link set {link}-b up",
        f"link set {link} up",
    ]
    # An IPv6 address would not answer before it is known to be nobody else's.
    commands += [
        f"address add {each} dev {link}{' nodad' if ':' in each else ''}" for each in addresses
    ]
    for command in commands:
        node.run(["ip", *command.split()])


def remove_lan(node: LabNode, link: str) -> None:
    """Takes it away again, both ends."""
    node.run(["ip", "link", "delete", link])
    node.run(["ip", "link", "delete", f"{link}-a"])

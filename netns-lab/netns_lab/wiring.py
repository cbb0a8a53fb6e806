"""From a topology to what each namespace must be told: sysctls, `ip` commands, an nftables ruleset.

Pure, so that the lab's internet can be read and tested without root. The shell in `namespaces`
carries it out step by step, in the order of the fields of `Wiring`: a route can only be added once
the links of both ends are up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final

from netns_lab.topology import ROUTER, UPLINK, Link, Node, Role, Topology

UNDERLAY_MTU: Final = 1500

CUTS: Final = """\
table inet lab_cuts {
    set pairs4 { type ipv4_addr . ipv4_addr; }
    set pairs6 { type ipv6_addr . ipv6_addr; }
    set isolated { type ifname; }
    chain forward {
        type filter hook forward priority -100; policy accept;
        ip saddr . ip daddr @pairs4 drop
        ip6 saddr . ip6 daddr @pairs6 drop
        iifname @isolated drop
        oifname @isolated drop
    }
}
"""
"""The router's table: a cut is one set element, so cutting and healing change nothing else."""

NAT: Final = f"""\
table ip lab_nat {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{UPLINK}" masquerade fully-random
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        iifname "{UPLINK}" drop
    }}
}}
"""
"""Real NAT. `fully-random` because a NAT that happens to keep the source port hides every defect of
endpoint roaming: here the port that a hub sees is never the port that the spoke listens on."""

FIREWALL: Final = f"""\
table inet lab_firewall {{
    chain forward {{
        type filter hook forward priority filter; policy accept;
        ct state established,related accept
        iifname "{UPLINK}" meta l4proto {{ 1, 58 }} accept
        iifname "{UPLINK}" drop
    }}
}}
"""
"""A stateful site firewall: what was not asked for from inside does not come in; pings may."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """What one namespace is told. `ip` commands are lines of `ip -batch`, run inside it.

    `sysctls` are (dotted name with '/' as separator, value), set after the links exist and before
    they come up: DAD that starts cannot be called off.
    """

    node: Node
    make_links: tuple[str, ...]
    sysctls: tuple[tuple[str, str], ...]
    addresses: tuple[str, ...]
    routes: tuple[str, ...]
    nftables: str


def wire(topology: Topology, namespace_of: Callable[[str], str]) -> tuple[Wiring, ...]:
    """One `Wiring` for each node, in the topology's order.

    `namespace_of` gives the network namespace's name of a node: links are made from their upper end
    straight into the lower namespace, so that no device of the lab is ever seen on the host.
    """
    return tuple(_wire_node(topology, node, namespace_of) for node in topology.nodes)


def restore_link(topology: Topology, link: Link) -> tuple[str, ...]:
    """`ip` commands for the upper namespace of a link that was unplugged: up, with what a link that
    goes down takes with it (its IPv6 address and the routes through it)."""
    commands = [f"link set dev {link.lower} up"]
    if link.upper_ipv6 is not None:
        commands.append(f"address replace {link.upper_ipv6} dev {link.lower} nodad")
    return (*commands, *_routes_behind(topology, link))


def _wire_node(topology: Topology, node: Node, namespace_of: Callable[[str], str]) -> Wiring:
    below = tuple(link for link in topology.links if link.upper == node.name)
    above = tuple(link for link in topology.links if link.lower == node.name)
    ends = [(str(link.lower), link.upper_ipv4, link.upper_ipv6) for link in below]
    ends += [(UPLINK, link.lower_ipv4, link.lower_ipv6) for link in above]
    routes = [command for link in below for command in _routes_behind(topology, link)]
    for link in above:
        routes.append(f"route replace default via {link.upper_ipv4.ip} dev {UPLINK}")
        if link.upper_ipv6 is not None:
            routes.append(f"route replace default via {link.upper_ipv6.ip} dev {UPLINK}")
    return Wiring(
        node=node,
        make_links=tuple(
            f"link add name {link.lower} mtu {UNDERLAY_MTU} type veth"
            f" peer name {UPLINK} mtu {UNDERLAY_MTU} netns {namespace_of(link.lower)}"
            for link in below
        ),
        sysctls=_sysctls(node, [device for device, _, _ in ends]),
        addresses=(
            "link set dev lo up",
            *(command for end in ends for command in _bring_up(*end)),
        ),
        routes=tuple(routes),
        nftables={Role.ROUTER: CUTS, Role.NAT: NAT, Role.FIREWALL: FIREWALL}.get(node.role, ""),
    )


def _bring_up(device: str, ipv4: IPv4Interface, ipv6: IPv6Interface | None) -> tuple[str, ...]:
    commands = [f"address add {ipv4} dev {device}"]
    if ipv6 is not None:
        commands.append(f"address add {ipv6} dev {device} nodad")
    return (*commands, f"link set dev {device} up")


def _routes_behind(topology: Topology, link: Link) -> tuple[str, ...]:
    """What the router needs to reach public addresses behind a firewall; nothing for NAT."""
    if link.upper != ROUTER or topology.node(link.lower).role is not Role.FIREWALL:
        return ()
    commands: list[str] = []
    for inner in topology.links:
        if inner.upper != link.lower:
            continue
        commands.append(f"route replace {inner.lower_ipv4.network} via {link.lower_ipv4.ip}")
        if inner.lower_ipv6 is not None and link.lower_ipv6 is not None:
            commands.append(f"route replace {inner.lower_ipv6.network} via {link.lower_ipv6.ip}")
    return tuple(commands)


def _sysctls(node: Node, devices: list[str]) -> tuple[tuple[str, str], ...]:
    forwards = node.role in {Role.ROUTER, Role.NAT, Role.FIREWALL}
    forwarding = "1" if forwards else "0"
    # A new namespace inherits some of the host's settings, and hosts differ (a container engine
    # turns forwarding on): each node starts as a plain host would, whatever runs the lab.
    common = (
        ("net/ipv6/conf/all/disable_ipv6", "0"),
        ("net/ipv6/conf/default/disable_ipv6", "0"),
        ("net/ipv4/ip_forward", forwarding),
        ("net/ipv6/conf/all/forwarding", forwarding),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
    )
    # Duplicate address detection would hold each new link for a second or two.
    quick = tuple((f"net/ipv6/conf/{device}/accept_dad", "0") for device in devices)
    redirects = tuple(
        (f"net/ipv4/conf/{device}/send_redirects", "0") for device in devices if forwards
    )
    return common + quick + redirects

"""How the stories send packets, and the ends that packets go between."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from tests.netns.firewall.firewall_world import (
    World,
)
from tests.unit.firewall.firewall_reference import TCP, UDP, Packet

from powernode_agent.model.firewall import (
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
)
from powernode_agent.model.probe import PROBE_MARK

INGRESS, EGRESS = FirewallDirection.INGRESS, FirewallDirection.EGRESS
DROP_ALL = FirewallPolicy(FirewallAction.DROP, FirewallAction.DROP)
FAR6, FAR4 = "fd00:1::d:1", "10.9.0.44"
LAN_HOST6, LAN_HOST4 = "fd00:20::5", "10.20.0.5"
TO_NODE, TO_LAN, TO_CORE, TO_OPS = 0x04, 0x08, 0x0C, 0x10
MARKED = struct.pack("!I", PROBE_MARK) + bytes(20)


def packet(source: object, destination: object, protocol: int = TCP, port: int = 22) -> Packet:
    return Packet(
        INGRESS,
        ip_address(str(source)),
        ip_address(str(destination)),
        protocol,
        port if protocol in (TCP, UDP) else None,
    )


def passing(node: World, sent: dict[int, tuple[str, bytes]]) -> set[int]:
    """Which of these packets, by number, pass all filters; "" as link: sent by the node."""
    node.watch()
    for link, raw in sent.values():
        if link:
            node.send(link, raw)
        else:
            node.send_locally(raw)
    list(node.came())
    return node.noted()

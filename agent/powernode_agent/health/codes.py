"""The table of health codes: one row for each way in which a node is known to fail.

A code is stable: scripts, alerts and runbooks name it, so rows are added, and none changes its meaning.
Symptom, cause and fix are the runbook's where the runbook has the row. `holds_for` keeps what is merely
on its way from being reported; `depends_on` keeps a symptom quiet while its root cause is there to be
seen. Severity CRITICAL means, here and everywhere, that traffic is cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from powernode_agent.model.status import Severity


@dataclass(frozen=True, slots=True)
class Code:
    """One row. `holds_for`: seconds for which it must last before it shows. `depends_on`: codes of the
    root causes that mute it, on the same network and, where they are about a peer, of the same peer.
    `command` is what to type next where a finding knows nothing better."""

    id: str
    severity: Severity
    symptom: str
    cause: str
    fix: str
    command: str
    holds_for: float = 0.0
    depends_on: tuple[str, ...] = ()

    @property
    def cuts_traffic(self) -> bool:
        """Whether packets are lost that should arrive."""
        return self.severity is Severity.CRITICAL


LOGS: Final = "journalctl -u powernode-agent -n 50"
STATUS: Final = "powernode-agent status --json"
PLAN: Final = "powernode-agent plan"
SESSIONS: Final = "vtysh -c 'show bgp summary'"
RESTART: Final = "systemctl restart powernode-agent"

_INFO, _WARN, _CUT = Severity.INFO, Severity.WARNING, Severity.CRITICAL
_BARE: Final = ("WG-001", "LINK-001", "LINK-002")
"""Without device, link or addresses nothing of the network works."""
_OF_ROOMS: Final = (
    *_BARE, "KEY-002", "KEY-003", "FW-002", "PM-003", "PM-004", "BGP-003", "VIP-002", "PATH-001",
    "K3S-002", "AGT-001", "AGT-002",
)  # fmt: skip

_ROWS: Final = (
    Code(
        "AGT-001", _WARN, "The node was purged and is left alone",
        "powernode-agent purge was run; the daemon then writes nothing until it is started again",
        "restart the daemon if the node is to come back", RESTART,
    ),
    Code(
        "AGT-002", _WARN, "A part of the agent reports an error",
        "see the message: it says what failed, for which thing, and what was expected",
        "do what the message says; the agent retries by itself", LOGS,
    ),
    Code(
        "BGP-001", _CUT, "BGP session stuck Idle",
        "Wrong AS number or unreachable neighbor",
        "run the skill system-sdwan-bgp-session-remediate on the platform (it only plans), then the"
        " vtysh command that it recommends",
        SESSIONS, 30.0, (*_BARE, "BGP-003", "PEER-001", "PEER-002", "NAT-001", "NAT-002", "KEY-001"),
    ),
    Code(
        "BGP-002", _CUT, "BGP session stuck Active",
        "Neighbor doesn't respond to Open message",
        "verify that the neighbor is up and has the route to this peer's /128; run"
        " sdwan_peer_remediate if mTLS is the issue",
        SESSIONS, 30.0, (*_BARE, "BGP-003", "PEER-001", "PEER-002", "NAT-001", "NAT-002", "KEY-001"),
    ),
    Code(
        "BGP-003", _CUT, "FRR does not run what it should",
        "FRR is missing, stopped, owned by somebody else, or refuses the configuration",
        "see what FRR says; the agent tries again by itself", "systemctl status frr", 5.0,
    ),
    Code(
        "FW-001", _WARN, "Firewall rule shadows another",
        "Selector specificity: more specific selectors match first (peer > tag > cidr > all), then the"
        " lower priority number, then the older rule",
        "delete one of the two, or give the hidden one a lower priority number;"
        " system.sdwan_route_policy_audit lists them all",
        STATUS,
    ),
    Code(
        "FW-002", _CUT, "The firewall of a network is not in force",
        "nftables refused the rules, or somebody else keeps changing the table",
        "do what the message says; until then the network stays shut where it has rules",
        "nft list table inet powernode_sdwan", 2.0,
    ),
    Code(
        "K3S-001", _CUT, "flannel runs with another prefix for all pods than the network has",
        "k3s was bootstrapped with that prefix, and keeps it for good",
        "make the k3s cluster anew, or give the network the prefix that the cluster has",
        "cat /run/flannel/subnet.env", 120.0, ("K3S-002",),
    ),
    Code(
        "K3S-002", _WARN, "k3s is not told of the overlay",
        "the file for k3s cannot be written, is somebody else's, or k3s cannot be restarted for it",
        "do what the message says; the agent tries again by itself", LOGS, 2.0,
    ),
    Code(
        "KEY-001", _CUT, "KeysOutOfSync: no handshake since the keys changed",
        "Agent applied stale config: one end has a key that the other has not",
        "bring the end that is behind up to date; then run the skill sdwan_peer_remediate on the"
        " platform, which rotates keys and forces a new handshake",
        STATUS, 15.0, (*_BARE, "KEY-002"),
    ),
    Code(
        "KEY-002", _CUT, "KeysOutOfSync: this node uses another key than the platform lists",
        "somebody changed the device's private key, or the agent cannot write it",
        "the agent writes the key back by itself; if it does not, restart it", RESTART, 5.0, _BARE,
    ),
    Code(
        "KEY-003", _CUT, "The node's own keys cannot be made or read",
        "the state directory is full, read-only, damaged or somebody else's",
        "put the directory right; the agent tries again by itself",
        "ls -l /var/lib/powernode-agent/keys", 2.0,
    ),
    Code(
        "LINK-001", _CUT, "A link of the overlay is down",
        "somebody took it down; the agent puts it up again unless it is kept from it",
        "see who changes links on this host", "ip -d link show", 2.0, ("WG-001", "LINK-002"),
    ),
    Code(
        "LINK-002", _CUT, "A link, its addresses or its routes cannot be set",
        "the kernel refuses it: a foreign link or route in the way, or a missing permission",
        "do what the message says; the agent tries again by itself", LOGS, 2.0, ("WG-001",),
    ),
    Code(
        "NAT-001", _CUT, "Peer stuck handshaking",
        "NAT / firewall blocks WireGuard UDP",
        "make at least one peer publicly_reachable: true with its UDP port (51820) open; the others"
        " connect outbound through it",
        STATUS, 15.0, (*_BARE, "KEY-002"),
    ),
    Code(
        "NAT-002", _CUT, "EndpointUnreachableError: a peer that nobody can call",
        "neither end is publicly reachable, or nobody knows where this peer is: NAT punching failed",
        "set publicly_reachable: true on at least one hub peer (the rest connect outbound through it),"
        " or set its endpoint_address",
        STATUS, 15.0, (*_BARE, "KEY-002"),
    ),
    Code(
        "PATH-001", _WARN, "A path or prefix is refused",
        "nobody may carry it, or it covers an address that control traffic needs",
        "do what the message says on the platform", STATUS, 2.0,
    ),
    Code(
        "PEER-001", _CUT, "Peer stuck handshake_pending",
        "Agent didn't pick up config (reconcile not yet fired)",
        "wait 30 s; or force: systemctl restart powernode-agent", PLAN, 30.0, (*_BARE, "KEY-003"),
    ),
    Code(
        "PEER-002", _CUT, "Peer goes silent after working",
        "Connection lost / node rebooted",
        "look at the other node; if it is a hub, the platform says sdwan.hub_unreachable and the skill"
        " sdwan_failover plans a hub promotion",
        STATUS, 15.0, (*_BARE, "KEY-002"),
    ),
    Code(
        "PLT-001", _WARN, "The platform cannot be reached",
        "the platform, the network to it, or this node's certificate; what runs goes on as it is",
        "see the error; changes made on the platform do not arrive until then", LOGS, 20.0,
    ),
    Code(
        "PLT-002", _WARN, "The node is not enrolled",
        "it has no identity, or the platform no longer takes it",
        "get a one-time token from the platform and enrol",
        "powernode-agent enrol --token-file FILE",
    ),
    Code(
        "PM-001", _WARN, "A local service whose port is mapped gets no connection",
        "the port was mapped before the service came, and a mapping in force is not given up",
        "give the service another port, or delete the mapping", STATUS,
    ),
    Code(
        "PM-002", _WARN, "A port mapping is stopped by the network's own filter",
        "a rule or policy for what leaves by the overlay does not let it pass",
        "allow egress to the mapping's target by a rule of a narrower selector or a lower priority"
        " number",
        STATUS,
    ),
    Code(
        "PM-003", _CUT, "A port mapping is not in force",
        "the address is not this host's, a local service has the port, or the NAT64 is not running",
        "do what the message says; or map a virtual IP, which survives the loss of a hub", LOGS, 2.0,
    ),
    Code(
        "PM-004", _CUT, "Port mappings cannot be carried out",
        "the kernel or the NAT64 refuses what they need",
        "do what the message says; the agent tries again by itself", LOGS, 2.0,
    ),
    Code(
        "REV-001", _WARN, "A revision of desired state was refused",
        "it breaks a rule, or holds something that this agent does not know; the one before it stands",
        "put right on the platform what the refusal names, or update this agent", STATUS,
    ),
    Code(
        "REV-002", _CUT, "There is no desired state yet",
        "neither the platform nor the last-known-good file has given one; nothing is applied",
        "see why the platform gives none", LOGS, 20.0, ("PLT-001", "PLT-002", "REV-001", "AGT-001"),
    ),
    Code(
        "REV-003", _WARN, "The newest revision is accepted, but not applied",
        "a step of it fails, or is still on its way",
        "see what is still to be done", PLAN, 10.0, _OF_ROOMS,
    ),
    Code(
        "STO-001", _WARN, "The last-known-good state cannot be read or saved",
        "the state directory is full, read-only, damaged or somebody else's; a reboot without the"
        " platform would come up with nothing",
        "put the directory right; the agent saves by itself", "ls -l /var/lib/powernode-agent",
    ),
    Code(
        "VIP-001", _CUT, "A virtual IP should be held here, and is not",
        "its address cannot be set, or somebody removed it",
        "see what stands on the link; the agent sets it again by itself", STATUS, 5.0,
        (*_BARE, "VIP-002"),
    ),
    Code(
        "VIP-002", _CUT, "Virtual IPs cannot be held or let go",
        "the kernel refuses the address",
        "do what the message says; the agent tries again by itself", LOGS, 2.0, _BARE,
    ),
    Code(
        "WG-001", _CUT, "WireGuard cannot be set up",
        "the UDP port is taken, the link is somebody else's, or WireGuard is missing",
        "do what the message says; the agent tries again by itself", "wg show", 2.0,
    ),
)  # fmt: skip


def _table(rows: Iterable[Code]) -> Mapping[str, Code]:
    return {row.id: row for row in sorted(rows, key=lambda row: row.id)}


TABLE: Final[Mapping[str, Code]] = _table(_ROWS)
"""All codes by id, in their order."""

OF_ROOM: Final[Mapping[str, str]] = {
    "wireguard": "WG-001",
    "links": "LINK-002",
    "keys": "KEY-003",
    "firewall": "FW-002",
    "nftables": "FW-002",
    "portmap": "PM-004",
    "routing": "BGP-003",
    "virtual_ip": "VIP-002",
    "flannel": "K3S-002",
    "paths": "PATH-001",
    "store": "STO-001",
    "purge": "AGT-001",
}
"""The code of an error by the room whose work it is; any other room's is AGT-002."""

"""The runbook's troubleshooting table, row by row: each trouble is made on real nodes, recognised by
its code where an operator would look (`powernode-agent doctor` on the node, `system_sdwan_list_health`
on the platform), and gone when it is healed.

On a network of its own, of one hub and one spoke, over iBGP. The lab's agents tell of findings five
times as early as the runbook has it (`netns_lab.agent_config.PATIENCE`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from netns_lab import processes, sabotage
from netns_lab.errors import LabError
from netns_lab.scenario.bgp import established, vtysh
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, Unmet, expect
from netns_lab.topology import PLATFORM

HUB, SPOKE = "hub-1", "spoke-open"
SOON: Final = 60.0
LATE: Final = 120.0
"""Seconds: for what a node measures, and for what the platform waits for."""
SQUATTER: Final = "squatter"
_SQUAT: Final = (
    "import socket, sys, time\n"
    "taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "taken.bind(('0.0.0.0', int(sys.argv[1])))\n"
    "time.sleep(3600)\n"
)

Finding = Mapping[str, object]


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps; the network they make, they remove. `stage` is a new one."""

    def diagnosed(name: str, code: str) -> Finding:
        """The finding of a node by its own command; empty: it has none of that code."""
        done = stage.node(name).agent_command(["doctor", code, "--json"])
        try:
            found = json.loads(done.stdout).get("findings", [])
        except ValueError as error:
            raise LabError("doctor gave no JSON", value=done.stdout + done.stderr) from error
        mine = [each for each in found if each["network_id"] in (None, stage.network_id)]
        expect(not mine or done.returncode == 3, "bad news is exit 3", done.returncode)
        return mine[0] if mine else {}

    def listed(code: str) -> Finding:
        """The finding as the platform lists it; empty: it lists none."""
        arguments = {"network_id": stage.network_id} if stage.network_id else {}
        found = stage.call("system_sdwan_list_health", **arguments)["findings"]
        mine = [each for each in found if each["code"] == code] if isinstance(found, list) else []
        return mine[0] if mine else {}

    def told(code: str, on: str | None = None, timeout: float = SOON, cause: str = "") -> None:
        """Recognised: on a node and by its report on the platform, or by the platform alone. `cause`
        is what the node has to name."""
        if on is not None:

            def known() -> Finding:
                found = diagnosed(on, code)
                return found if cause in str(found.get("cause", "")) else {}

            found = stage.lab.wait_until(known, what=f"{on} to find {code}", timeout=timeout)
            teller.evidence(f"{on}: {code} {found['evidence']}")
            teller.evidence(f"    cause: {found['cause']}; next: {found['next']}")
        found = stage.lab.wait_until(
            lambda: listed(code), what=f"the platform to list {code}", timeout=timeout
        )
        if on is None:
            teller.evidence(f"platform: {code} {found['evidence']}; fix: {found['fix']}")

    def gone(code: str, on: str | None = None, timeout: float = SOON) -> None:
        if on is not None:
            stage.lab.wait_until(
                lambda: not diagnosed(on, code), what=f"{code} to go from {on}", timeout=timeout
            )
        stage.lab.wait_until(
            lambda: not listed(code), what=f"{code} to go from the platform", timeout=timeout
        )

    def sessions_up() -> None:
        stage.lab.wait_until(
            lambda: stage.addresses[HUB] in established(stage, SPOKE),
            what="the session to be established",
            timeout=LATE,
        )

    def attach(name: str) -> None:
        peer = stage.call(
            "system_sdwan_attach_peer",
            network_id=stage.network_id,
            node_instance_id=stage.instances[name],
            publicly_reachable=name == HUB,
        )
        stage.peers[name] = text(peer, "peer", "id")
        stage.addresses[name] = text(peer, "peer", "host_address")

    def without_config() -> None:
        """Row "stuck handshake_pending": the agent is kept from picking up its configuration."""
        answer = stage.call("system_sdwan_create_network", name="trouble", routing_mode="ibgp")
        stage.network_id = text(answer, "network", "id")
        stage.handle = text(answer, "network", "handle")
        attach(HUB)
        node = stage.node(SPOKE)
        node.stop_agent()
        attach(SPOKE)
        told("NODE-101")
        answer = stage.call("system_sdwan_list_peers", network_id=stage.network_id)
        port = _port(answer, stage.peers[SPOKE])
        with _squatting(stage, port):
            node.start_agent()
            told("WG-001", SPOKE)
            told("PEER-101", timeout=LATE)
        gone("WG-001", SPOKE)

    def blocked() -> None:
        """Row "stuck handshaking": WireGuard's UDP does not get through, from the first packet on."""
        stage.call("system_sdwan_detach_peer", peer_id=stage.peers[SPOKE])
        with sabotage.severed(stage.node(HUB), stage.node(SPOKE)):
            attach(SPOKE)
            told("NAT-001", SPOKE)
            found = diagnosed(SPOKE, "BGP-002")
            expect(not found, "the session that cannot come up is muted by its cause", found)
            told("NAT-101", timeout=LATE)
        gone("NAT-001", SPOKE)
        sessions_up()

    def lost() -> None:
        """Row "goes silent after working"."""
        with sabotage.severed(stage.node(HUB), stage.node(SPOKE)):
            told("PEER-002", SPOKE)
        gone("PEER-002", SPOKE)
        sessions_up()

    def wrong_as() -> None:
        """Row "BGP stuck Idle": while the hub's agent is away, somebody edits its FRR by hand."""
        hub = stage.node(HUB)
        hub.kill_agent()
        try:
            speaker, group = _spokes_group(vtysh(stage, HUB, "show running-config"))
            words = ("configure terminal", speaker, f"neighbor {group} remote-as 65099")
            hub.run(["vtysh", *(word for each in words for word in ("-c", each))])
            told("BGP-001", SPOKE, LATE, cause="wrong AS number")
        finally:
            hub.start_agent()
        gone("BGP-001", SPOKE, LATE)
        sessions_up()

    def no_answer() -> None:
        """Row "BGP stuck Active": the neighbour's bgpd is dead, and nobody there revives it."""
        hub = stage.node(HUB)
        hub.kill_agent()
        try:
            expect(
                sabotage.kill_program(hub, "bgpd") == 1, "the hub has one bgpd", "another number"
            )
            told("BGP-002", SPOKE, LATE)
        finally:
            hub.start_agent()
        gone("BGP-002", SPOKE, LATE)
        sessions_up()

    def stale() -> None:
        """KeysOutOfSync: the node refuses what it is sent, and goes on with what it had."""
        node_id = stage.instances[SPOKE]
        foreign = {"id": stage.peers[HUB], "network_id": stage.network_id, "name": HUB}
        stage.call("lab_push_raw", node_instance_id=node_id, upserts={"peers": [foreign]})
        told("REV-001", SPOKE)
        told("KEY-101", timeout=LATE)
        stage.call("lab_push_raw", node_instance_id=node_id, upserts={})
        gone("REV-001", SPOKE)
        gone("KEY-101", timeout=LATE)

    def platform_away() -> None:
        """The node's way to the platform is cut: traffic goes on, and both sides say so."""
        node, platform = stage.node(SPOKE), stage.node(PLATFORM)
        with sabotage.severed(node, platform):
            stage.lab.wait_until(
                lambda: diagnosed(SPOKE, "PLT-001"), what="PLT-001 on the spoke", timeout=LATE
            )
            told("NODE-101", timeout=LATE)
            expect(node.answers(stage.addresses[HUB]), "traffic goes on", "no answer")
        gone("PLT-001", SPOKE, LATE)

    def shadowed() -> None:
        """Row "firewall rule shadows another"."""
        rules = []
        for priority in (10, 20):
            made = stage.call(
                "system_sdwan_create_firewall_rule",
                network_id=stage.network_id,
                direction="ingress",
                action="accept",
                selector={"kind": "all"},
                protocol="tcp",
                port_range="8443",
                priority=priority,
            )
            rules.append(text(made, "firewall_rule", "id"))
        told("FW-001", SPOKE)
        for rule in rules:
            stage.call("system_sdwan_delete_firewall_rule", firewall_rule_id=rule)
        gone("FW-001", SPOKE)

    def holder_silent() -> None:
        """Rows "VIP failover doesn't promote" and "marks anycast": the holder is cut off."""
        made = []
        for anycast in (False, True):
            answer = stage.call(
                "system_sdwan_create_virtual_ip",
                network_id=stage.network_id,
                name=f"trouble-{'any' if anycast else 'one'}",
                primary_holder_peer_id=stage.peers[SPOKE],
                failover_holder_peer_ids=[stage.peers[HUB]],
                anycast=anycast,
            )
            made.append(text(answer, "virtual_ip", "id"))
        gone("VIP-101")
        sabotage.isolate(stage.node(SPOKE))
        try:
            told("VIP-102", timeout=LATE)
            told("VIP-103", timeout=LATE)
        finally:
            sabotage.rejoin(stage.node(SPOKE))
        for id_ in made:
            stage.call("system_sdwan_delete_virtual_ip", virtual_ip_id=id_)
        gone("VIP-102", timeout=LATE)

    def expired() -> None:
        """Row "user device can't connect": its bootstrap URL ended before it was opened."""
        stage.call(
            "system_sdwan_create_access_grant",
            network_id=stage.network_id,
            device_name_hint="late-laptop",
            expires_in_seconds=1,
        )
        told("DEV-101")

    def removed() -> None:
        stage.call("system_sdwan_delete_network", network_id=stage.network_id, force=True)
        stage.network_id = ""
        stage.lab.wait_until(
            lambda: not diagnosed(SPOKE, "FW-001") and not diagnosed(SPOKE, "PEER-002"),
            what="nothing of it to be left",
            timeout=SOON,
        )

    return [
        Step("handshake_pending: the agent cannot pick up its configuration", without_config),
        Step("handshaking: WireGuard's UDP is blocked", blocked),
        Step("silent after working: the way to the hub is lost", lost),
        Step("BGP Idle: somebody gave the hub a wrong AS number by hand", wrong_as),
        Step("BGP Active: the neighbour's bgpd is dead", no_answer),
        Step("KeysOutOfSync: the node refuses what it is sent", stale),
        Step("the way to the platform is cut", platform_away),
        Step("a firewall rule that is never reached", shadowed),
        Step("VIP failover waits for approval; anycast is informational", holder_silent),
        Step("a bootstrap URL that expired unused", expired),
        Step("delete the network", removed),
    ]


@contextmanager
def _squatting(stage: Stage, port: int) -> Iterator[None]:
    """Somebody else has the UDP port of the spoke."""
    record = stage.node(SPOKE).spawn(SQUATTER, [sys.executable, "-c", _SQUAT, str(port)])
    try:
        yield
    finally:
        processes.kill([record])


def _spokes_group(config: str) -> tuple[str, str]:
    """The line that opens the hub's BGP, and the peer group of its spoke on our network."""
    lines = [line.strip() for line in config.splitlines()]
    speaker = next((line for line in lines if line.startswith("router bgp ")), "")
    groups = [line.split()[1] for line in lines if line.startswith("neighbor pn.troubl.")]
    if not speaker or not groups:
        raise Unmet(f"no BGP of our network in FRR of the hub: {config[:400]}")
    return speaker, groups[0]


def _port(answer: Mapping[str, object], peer_id: str) -> int:
    peers = answer["peers"]
    for each in peers if isinstance(peers, list) else ():
        if each["id"] == peer_id:
            return int(each["listen_port"])
    raise Unmet(f"list_peers has no {peer_id}")

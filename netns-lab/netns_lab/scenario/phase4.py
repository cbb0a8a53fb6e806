"""Phase 4 of the runbook: port mappings. What outsiders reach at a hub's public IPv4 address is a
service inside, which has IPv6 alone."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from netns_lab.errors import LabError
from netns_lab.scenario.connections import (
    CONNECTED,
    REFUSED,
    attempt,
    become,
    echoes,
    hold,
    serving,
    transfer,
)
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect

HUB_1, NAT, FIREWALLED, OPEN = "hub-1", "spoke-nat", "spoke-fw", "spoke-open"
OUTSIDE: Final = "platform"
"""A host of the internet that is on no overlay."""
EXTERNAL, INTERNAL, TAKEN = 443, 8443, 2222
LARGE: Final = 4 << 20
"""Bytes; many times what fits a window, so that a packet that is too large would stop it."""


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps of phase 4; what they make, the last one removes."""
    hub = stage.node(HUB_1)
    address = str(hub.ipv4)
    made: dict[int, str] = {}

    def mapping(port: int, **wish: object) -> str:
        answer = stage.call(
            "system_sdwan_create_port_mapping",
            network_id=stage.network_id,
            external_address=address,
            external_port=port,
            internal_port=INTERNAL,
            protocol="tcp",
            **wish,
        )
        made[port] = text(answer, "port_mapping", "id")
        return made[port]

    def outside(port: int, patience: float = 0.7) -> str:
        return attempt(stage.node(OUTSIDE), address, port, patience)

    def said(port: int) -> Mapping[str, object]:
        """What the hub reports of the mapping of this port."""
        answer = stage.call("system_sdwan_list_port_mappings", network_id=stage.network_id)
        mappings = answer["port_mappings"]
        for each in mappings if isinstance(mappings, list) else ():
            if each["id"] == made[port] and isinstance(each["hub"], Mapping):
                found: Mapping[str, object] = each["hub"]
                return found
        return {}

    def mapped() -> None:
        expect(outside(EXTERNAL) == REFUSED, "nothing is there before")
        started = time.monotonic()
        mapping(EXTERNAL, internal_peer_id=stage.peers[FIREWALLED])
        with serving(stage.node(FIREWALLED), stage.addresses[FIREWALLED], INTERNAL):
            become(stage, lambda: outside(EXTERNAL, 0.05), CONNECTED, "the mapping to be reached")
            seconds = time.monotonic() - started
            rows = [
                ("a host outside", outside(EXTERNAL)),
                ("spoke-nat, through its NAT", attempt(stage.node(NAT), address, EXTERNAL)),
                ("hub-1 itself", attempt(hub, address, EXTERNAL)),
                ("hub-2", attempt(stage.node("hub-2"), address, EXTERNAL)),
            ]
        teller.evidence(
            f"{address}:{EXTERNAL} (IPv4) -> [{stage.addresses[FIREWALLED]}]:{INTERNAL}, reached"
            f" {seconds * 1000:.0f} ms after the action"
        )
        teller.table(("FROM", "SEEN"), rows)
        listed = hub.run(["nft", "list", "table", "inet", "powernode_sdwan"]).stdout
        teller.evidence("\n".join(line.strip() for line in listed.splitlines() if "nat " in line))
        for source, seen in rows:
            expect(seen == CONNECTED, f"{source} gets through", seen)

    def carries() -> None:
        """Through NAT64, over a path that is narrower inside than outside."""
        with serving(stage.node(FIREWALLED), stage.addresses[FIREWALLED], INTERNAL):
            seconds = transfer(stage.node(OUTSIDE), address, EXTERNAL, LARGE)
        rate = 2 * LARGE * 8 / seconds / 1e6
        mtu = hub.run(["cat", f"/sys/class/net/{stage.link}/mtu"]).stdout.strip()
        teller.evidence(
            f"{LARGE >> 20} MiB there and back in {seconds:.2f} s ({rate:.0f} Mbit/s);"
            f" MTU 1500 outside, {mtu} inside"
        )

    def counted() -> None:
        def connections() -> int:
            mappings = hub.status()["port_mappings"]
            for each in mappings if isinstance(mappings, list) else ():
                if each["id"] == made[EXTERNAL]:
                    return int(each["connections"] or 0)
            return 0

        stage.lab.wait_until(lambda: connections() >= 5, what="connections to be counted")
        teller.evidence(hub.agent_command(["status"]).stdout)
        expect(said(EXTERNAL).get("result") == "ok", "the hub says that it is mapped")

    def service_keeps_its_port() -> None:
        with serving(hub, address, TAKEN):
            mapping(TAKEN, internal_peer_id=stage.peers[FIREWALLED])
            stage.lab.wait_until(
                lambda: said(TAKEN).get("result") == "error", what="the clash to be reported"
            )
            seen = outside(TAKEN)
            because = said(TAKEN).get("message")
        teller.evidence(str(because))
        expect(seen == CONNECTED, "the hub's own service keeps its port", seen)
        expect(str(TAKEN) in str(because), "the port is named", because)
        stage.call("system_sdwan_delete_port_mapping", port_mapping_id=made.pop(TAKEN))

    def refused() -> None:
        rows = []
        cases: list[tuple[dict[str, object], str]] = [
            ({"external_address": "203.0.113.250"}, "external_address"),
            ({"external_port": EXTERNAL}, "external_port"),
            ({"external_port": 0}, "external_port"),
            ({"internal_peer_id": "peer-nobody"}, "internal_peer_id"),
        ]
        for wish, field in cases:
            arguments = {
                "network_id": stage.network_id,
                "external_address": address,
                "external_port": 444,
                "internal_peer_id": stage.peers[FIREWALLED],
                "internal_port": INTERNAL,
                "protocol": "tcp",
                **wish,
            }
            try:
                stage.lab.call("system_sdwan_create_port_mapping", arguments)
            except LabError as error:
                rows.append((field, str(error)))
                expect(field in str(error), f"the error names {field}", error)
            else:
                expect(False, f"a mapping with a bad {field} is refused", wish)
        teller.table(("FIELD", "RULE"), rows)

    def agent_away() -> None:
        with (
            serving(stage.node(FIREWALLED), stage.addresses[FIREWALLED], INTERNAL),
            hold(stage.node(OUTSIDE), address, EXTERNAL) as held,
        ):
            hub.stop_agent()
            expect(echoes(held), "a mapped connection outlives the agent")
            expect(outside(EXTERNAL) == CONNECTED, "new ones are made without it")
            hub.start_agent()
            hub.await_agent()
            expect(echoes(held), "and outlives its return")
        teller.evidence("hub-1's agent stopped and started: mapped connections go on")

    def removed() -> None:
        with (
            serving(stage.node(FIREWALLED), stage.addresses[FIREWALLED], INTERNAL),
            hold(stage.node(OUTSIDE), address, EXTERNAL) as held,
        ):
            stage.call("system_sdwan_delete_port_mapping", port_mapping_id=made.pop(EXTERNAL))
            become(stage, lambda: outside(EXTERNAL), REFUSED, "the port to be closed")
            expect(not echoes(held), "a connection of a removed mapping ends")
        stage.lab.wait_until(
            lambda: "pn-nat64" not in hub.run(["ip", "link"]).stdout,
            what="the NAT64 that nobody needs to be gone",
        )
        teller.evidence("closed, its connection ended, and the NAT64 is gone")

    return [
        Step(f"map {address}:{EXTERNAL} to port {INTERNAL} of spoke-fw, inside", mapped),
        Step("a large transfer through the mapping", carries),
        Step("the hub counts and reports", counted),
        Step("a service of the hub keeps its port", service_keeps_its_port),
        Step("bad mappings are refused, by field and rule", refused),
        Step("the hub's agent goes and comes", agent_away),
        Step("delete the mapping", removed),
    ]

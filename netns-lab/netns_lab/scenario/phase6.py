"""Phase 6 of the runbook: route policies on the iBGP network of phase 8; the last step deletes it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from netns_lab.errors import LabError
from netns_lab.scenario.bgp import named, next_hops, vtysh
from netns_lab.scenario.phase8 import LAN, LAN_HOST, NODES
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect
from netns_lab.scenario.traffic import probe, settle

HUB_1 = "hub-1"
NAT, FIREWALLED, OPEN = "spoke-nat", "spoke-fw", "spoke-open"
HOLDERS: Final = (OPEN, FIREWALLED)


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps; the last one deletes the network."""
    made: dict[str, str] = {}
    shared: dict[str, str] = {}

    def policy(name: str, direction: str, *statements: Mapping[str, object]) -> None:
        answer = stage.call(
            "system_sdwan_create_route_policy",
            network_id=stage.network_id,
            name=name,
            direction=direction,
            statements=list(statements),
        )
        made[name] = text(answer, "route_policy", "id")

    def drop(name: str) -> None:
        stage.call("system_sdwan_delete_route_policy", route_policy_id=made.pop(name))

    def serving() -> str:
        """The holder to which hub-1 sends the shared address."""
        hops = named(stage, next_hops(stage, HUB_1, f"{shared['address']}/128"))
        return hops[0] if len(hops) == 1 else ""

    def prefer() -> None:
        answer = stage.call(
            "system_sdwan_create_virtual_ip",
            network_id=stage.network_id,
            name="shared",
            primary_holder_peer_id=stage.peers[OPEN],
            failover_holder_peer_ids=[stage.peers[FIREWALLED]],
            anycast=True,
        )
        shared["id"] = text(answer, "virtual_ip", "id")
        shared["address"] = text(answer, "virtual_ip", "address")
        before = stage.lab.wait_until(serving, what="hub-1 to know a holder")
        other = next(holder for holder in HOLDERS if holder != before)
        began = time.monotonic()
        policy(
            "prefer-one-holder",
            "import",
            {
                "seq": 10,
                "match": {"prefix": f"{shared['address']}/128", "peer": stage.peers[other]},
                "set": {"local_pref": 200},
                "action": "permit",
            },
            {
                "seq": 20,
                "match": {"prefix": f"{shared['address']}/128"},
                "set": {"local_pref": 100},
                "action": "permit",
            },
        )
        stage.lab.wait_until(lambda: serving() == other, what=f"hub-1 to prefer {other}")
        teller.evidence(
            f"hub-1 sends {shared['address']} to {other} instead of {before},"
            f" {(time.monotonic() - began) * 1000:.0f} ms after the action"
        )
        shown = vtysh(stage, HUB_1, f"show bgp ipv6 unicast {shared['address']}/128")
        teller.evidence("\n".join(line for line in shown.splitlines() if "localpref" in line))
        drop("prefer-one-holder")
        # Which of the two is served then is a matter of who is closer.
        command = f"show bgp ipv6 unicast {shared['address']}/128"
        stage.lab.wait_until(
            lambda: "localpref 200" not in vtysh(stage, HUB_1, command),
            what="the preference to go with it",
        )

    def deny() -> None:
        stage.lab.wait_until(lambda: next_hops(stage, NAT, LAN), what=f"spoke-nat to know {LAN}")
        policy(
            "no-office", "export", {"seq": 10, "match": {"prefix": LAN}, "action": "deny"}
        )  # fmt: skip
        stage.lab.wait_until(lambda: not next_hops(stage, NAT, LAN), what=f"{LAN} to be denied")
        with stage.node(NAT).probe(LAN_HOST, source=stage.addresses[NAT]) as running:
            settle(running, 30)
        expect(running.result().received == 0, "the LAN is not reached", running.result().summary())
        drop("no-office")
        stage.lab.wait_until(lambda: next_hops(stage, NAT, LAN), what=f"{LAN} to be back")
        teller.evidence(f"{LAN} gone from spoke-nat while an export policy denied it, back without")

    def isolated() -> None:
        """No policy lets in what a peer may not announce."""
        policy("everything", "import", {"seq": 10, "action": "permit"})
        with probe(stage, NAT, OPEN) as running:
            settle(running, 50)
        expect(running.result().lost <= 1, "traffic goes on", running.result().summary())
        shown = vtysh(stage, HUB_1, "show running-config")
        expect("prefix-list pn-nothing in" in shown, "what peers may announce is still limited")
        teller.evidence(
            "\n".join(line for line in shown.splitlines() if "call " in line or "pn-policy" in line)
        )
        drop("everything")

    def audited() -> None:
        policy(
            "shadowed",
            "import",
            {"seq": 10, "match": {"prefix": LAN}, "set": {"local_pref": 200}, "action": "permit"},
            {"seq": 20, "match": {"prefix": LAN}, "set": {"local_pref": 100}, "action": "permit"},
        )
        answer = stage.call("system_sdwan_route_policy_audit", network_id=stage.network_id)
        found = str(answer)
        expect("shadowed" in found and "20" in found, "statement 20 is found", found[:500])
        for finding in _findings(answer):
            teller.evidence(finding)
        listed = stage.call("system_sdwan_list_route_policies", network_id=stage.network_id)
        expect("shadowed" in str(listed), "the policy is listed", listed)
        drop("shadowed")

    def refused() -> None:
        good = {"seq": 10, "match": {"prefix": LAN}, "action": "permit"}
        cases: list[tuple[list[dict[str, object]], str]] = [
            ([good, good], "seq"),
            ([{**good, "match": {"peer": "peer-nobody"}}], "peer"),
            ([{**good, "match": {"community": "65000"}}], "community"),
            ([{**good, "match": {"as_path": '^65001"$\nexit'}}], "as_path"),
            ([{**good, "match": {"prefix": "fd00::1/64"}}], "prefix"),
            ([{**good, "action": "deny", "set": {"local_pref": 1}}], "set"),
        ]
        rows = []
        for statements, field in cases:
            arguments: dict[str, object] = {
                "network_id": stage.network_id,
                "name": "bad",
                "direction": "import",
                "statements": statements,
            }
            try:
                stage.lab.call("system_sdwan_create_route_policy", arguments)
            except LabError as error:
                rows.append((field, str(error)))
                expect(field in str(error), f"the error names {field}", error)
            else:
                expect(False, f"a policy with a bad {field} is refused", statements)
        teller.table(("FIELD", "RULE"), rows)
        listed = stage.call("system_sdwan_list_route_policies", network_id=stage.network_id)
        expect("bad" not in str(listed["route_policies"]), "nothing was half applied", listed)

    def deleted() -> None:
        """With its last iBGP network a node gives FRR back."""
        stage.call("system_sdwan_delete_virtual_ip", virtual_ip_id=shared.pop("id"))
        stage.call("system_sdwan_delete_network", network_id=stage.network_id, force=True)

        def left() -> list[str]:
            return [
                name
                for name in NODES
                if stage.node(name).path("/etc/frr/frr.conf").exists()
                or not stage.node(name)
                .run(["ip", "link", "show", stage.link], check=False)
                .returncode
            ]

        stage.lab.wait_until(lambda: not left(), what="link and FRR to be gone", timeout=30)
        teller.evidence(f"{stage.link} and our frr.conf are gone on {', '.join(NODES)}")

    return [
        Step("import policy: prefer one holder of a shared address", prefer),
        Step("export policy: deny a LAN", deny),
        Step("a policy that permits everything loosens nothing", isolated),
        Step("the audit finds a statement that is never reached", audited),
        Step("bad policies are refused, by field and rule", refused),
        Step("delete the iBGP network", deleted),
    ]


def _findings(answer: Mapping[str, object]) -> list[str]:
    return [
        str(each)
        for listed in answer.values()
        if isinstance(listed, list)
        for each in listed
        if "shadowed" in str(each)
    ]

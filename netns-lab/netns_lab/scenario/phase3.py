"""Phase 3 of the runbook: virtual IPs, on the first network (static) and on the iBGP one beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from netns_lab import sabotage
from netns_lab.errors import LabError
from netns_lab.scenario.bgp import named, next_hops
from netns_lab.scenario.phase8 import FAILOVER_TARGET, await_all, await_bfd
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect
from netns_lab.scenario.traffic import interruption, settle

HUB_1, HUB_2 = "hub-1", "hub-2"
NAT, FIREWALLED, OPEN = "spoke-nat", "spoke-fw", "spoke-open"
MOVE_TARGET: Final = 50.0
"""Milliseconds that a planned move may interrupt traffic."""


def steps(static: Stage, fabric: Stage, teller: Teller) -> list[Step]:
    """The steps; what they make, they remove. `fabric` is the iBGP network of phase 8."""
    made: dict[str, str] = {}
    addresses: dict[str, str] = {}

    def create(stage: Stage, name: str, primary: str, *others: str, anycast: bool = False) -> None:
        answer = stage.call(
            "system_sdwan_create_virtual_ip",
            network_id=stage.network_id,
            name=name,
            primary_holder_peer_id=stage.peers[primary],
            failover_holder_peer_ids=[stage.peers[other] for other in others],
            anycast=anycast,
        )
        made[name] = text(answer, "virtual_ip", "id")
        addresses[name] = text(answer, "virtual_ip", "address")

    def delete(stage: Stage, name: str) -> None:
        stage.call("system_sdwan_delete_virtual_ip", virtual_ip_id=made.pop(name))

    def holders(stage: Stage, name: str) -> list[str]:
        """Nodes whose kernel has the address."""
        return [node for node in stage.addresses if _has(stage, node, addresses[name])]

    def held(stage: Stage, name: str, *by: str) -> None:
        stage.lab.wait_until(
            lambda: sorted(holders(stage, name)) == sorted(by),
            what=f"{name} to be held by {' and '.join(by)} alone",
            timeout=20,
        )

    def reached(stage: Stage, source: str, name: str) -> None:
        with stage.node(source).probe(addresses[name], source=stage.addresses[source]) as running:
            stage.lab.wait_until(
                lambda: running.snapshot().received > 0, what=f"{name} to answer {source}"
            )

    def held_and_reached(stage: Stage) -> None:
        name = f"api-{stage.handle}"
        create(stage, name, OPEN, FIREWALLED)
        held(stage, name, OPEN)
        reached(stage, NAT, name)
        command = ["ip", "-6", "-o", "address", "show", "dev", stage.link, "to", addresses[name]]
        shown = stage.node(OPEN).run(command).stdout
        teller.evidence(" ".join(shown.split()))
        expect("deprecated" in shown, "it never becomes a source address", shown)

    def previewed(stage: Stage) -> None:
        answer = stage.call(
            "system_sdwan_failover_virtual_ip",
            virtual_ip_id=made[f"api-{stage.handle}"],
            dry_run=True,
        )
        teller.evidence(
            f"resolved {answer['resolved']}, dry_run {answer['dry_run']}: "
            f"{_node(stage, answer['previous_holder'])} -> {_node(stage, answer['new_holder'])}"
        )
        expect(answer["resolved"] is False, "a preview resolves nothing", answer)
        held(stage, f"api-{stage.handle}", OPEN)

    def moved(stage: Stage) -> None:
        """Make before break, under traffic at 100 packets a second."""
        name = f"api-{stage.handle}"
        source = stage.addresses[NAT]
        with stage.node(NAT).probe(addresses[name], source=source) as running:
            settle(running, 50)
            began = time.monotonic()
            stage.call("system_sdwan_failover_virtual_ip", virtual_ip_id=made[name])
            held(stage, name, FIREWALLED)
            seconds = time.monotonic() - began
            settle(running, 100)
        result = running.result()
        gap = interruption(result)
        teller.evidence(
            f"spoke-open -> spoke-fw, released after {seconds * 1000:.0f} ms: {result.summary()}"
            f" (target {MOVE_TARGET:.0f} ms, at most 1 lost)"
        )
        expect(gap < 4 * MOVE_TARGET, "the move is hardly seen", result.summary())
        answer = stage.call("system_sdwan_get_virtual_ip", virtual_ip_id=made[name])
        teller.evidence(_holders_said(stage, answer))

    def through_the_hub() -> None:
        """From the hub that everybody goes by to a spoke, and back: while both hold, it leads there."""
        name = "at-the-hub"
        create(fabric, name, HUB_1, FIREWALLED)
        held(fabric, name, HUB_1)
        reached(fabric, NAT, name)
        source = fabric.addresses[NAT]
        for old, new in ((HUB_1, FIREWALLED), (FIREWALLED, HUB_1)):
            with fabric.node(NAT).probe(addresses[name], source=source) as running:
                settle(running, 50)
                fabric.call(
                    "system_sdwan_failover_virtual_ip",
                    virtual_ip_id=made[name],
                    target_peer_id=fabric.peers[new],
                )
                # A holder that yields has the address made anew: for a moment it looks released.
                fabric.lab.wait_until(
                    lambda: _move_state(fabric, made[name]) == "done", what="the move to be done"
                )
                held(fabric, name, new)
                settle(running, 100)
            result = running.result()
            gap = interruption(result)
            teller.evidence(
                f"{old} -> {new}: {result.summary()} (target {MOVE_TARGET:.0f} ms, at most 1 lost)"
            )
            expect(gap < 4 * MOVE_TARGET, "the move is hardly seen", result.summary())
        delete(fabric, name)
        held(fabric, name)

    def holder_lost() -> None:
        """The holder dies; the platform proposes, an operator approves, another one has it."""
        name = f"api-{static.handle}"
        dead = static.node(FIREWALLED)
        source = static.addresses[NAT]
        sabotage.isolate(dead)
        try:
            queued = static.lab.wait_until(
                lambda: _waiting(static, made[name]), what="a failover to wait for approval",
                timeout=90,
            )  # fmt: skip
            teller.evidence(
                f"in the queue: {queued['skill']}, {queued['policy']}: {queued['because']}"
            )
            with static.node(NAT).probe(addresses[name], source=source) as running:
                static.call("system_sdwan_approve", approval_id=str(queued["id"]))
                static.lab.wait_until(
                    lambda: running.snapshot().received > 0,
                    what="the virtual IP to answer from its new holder",
                    timeout=30,
                )
        finally:
            sabotage.rejoin(dead)
        held(static, name, OPEN)
        teller.evidence("approved; it answers from spoke-open, and the old holder let go of it")

    def anycast() -> None:
        """Two holders at once; the loss of one is covered by the other."""
        name = "anycast"
        create(fabric, name, OPEN, FIREWALLED, anycast=True)
        held(fabric, name, OPEN, FIREWALLED)
        reached(fabric, NAT, name)
        await_bfd(fabric)
        hub = named(fabric, next_hops(fabric, NAT, f"{addresses[name]}/128"))[0]
        near = named(fabric, next_hops(fabric, hub, f"{addresses[name]}/128"))[0]
        source = fabric.addresses[NAT]
        with fabric.node(NAT).probe(addresses[name], source=source) as running:
            settle(running, 50)
            sabotage.isolate(fabric.node(near))
            try:
                settle(running, 150)
            finally:
                sabotage.rejoin(fabric.node(near))
        result = running.result()
        gap = interruption(result)
        teller.evidence(
            f"{near} cut off, of {OPEN} and {FIREWALLED}: {result.summary()}"
            f" (target {FAILOVER_TARGET:.0f} ms)"
        )
        expect(gap < 4 * FAILOVER_TARGET, "the other holder serves", result.summary())
        answer = fabric.call("system_sdwan_failover_virtual_ip", virtual_ip_id=made[name])
        teller.evidence(f"failover of anycast: {answer['reason']}")
        expect(answer["new_holder"] is None, "failover of anycast moves nothing", answer)
        await_all(fabric)

    def refused() -> None:
        rows = []
        cases: list[tuple[dict[str, object], str]] = [
            ({"address": "fd00:1234::1"}, "address"),
            ({"address": fabric.addresses[HUB_1]}, "address"),
            ({"primary_holder_peer_id": static.peers[OPEN]}, "primary_holder_peer_id"),
            ({"primary_holder_peer_id": "peer-nobody"}, "primary_holder_peer_id"),
        ]
        for wish, field in cases:
            arguments = {
                "network_id": fabric.network_id,
                "name": "bad",
                "primary_holder_peer_id": fabric.peers[OPEN],
                **wish,
            }
            try:
                fabric.lab.call("system_sdwan_create_virtual_ip", arguments)
            except LabError as error:
                rows.append((field, str(error)))
                expect(field in str(error), f"the error names {field}", error)
            else:
                expect(False, f"a virtual IP with a bad {field} is refused", wish)
        teller.table(("FIELD", "RULE"), rows)

    def removed() -> None:
        for stage in (static, fabric):
            delete(stage, f"api-{stage.handle}")
        delete(fabric, "anycast")
        for stage, name in (
            (static, f"api-{static.handle}"),
            (fabric, f"api-{fabric.handle}"),
            (fabric, "anycast"),
        ):
            held(stage, name)
        teller.evidence("no node holds any of them")

    def of(stage: Stage, mode: str) -> list[Step]:
        return [
            Step(f"{mode}: spoke-open holds a virtual IP", lambda: held_and_reached(stage)),
            Step(f"{mode}: preview a failover", lambda: previewed(stage)),
            Step(f"{mode}: a planned move, under traffic", lambda: moved(stage)),
        ]

    return [
        *of(static, "static"),
        Step("static: the holder is gone, an operator approves the failover", holder_lost),
        *of(fabric, "iBGP"),
        Step("iBGP: planned moves from a hub to a spoke, and back", through_the_hub),
        Step("iBGP: anycast, and the loss of the nearest holder", anycast),
        Step("bad input is refused, by field and rule", refused),
        Step("delete the virtual IPs", removed),
    ]


def _has(stage: Stage, node: str, address: str) -> bool:
    shown = stage.node(node).run(["ip", "-6", "-o", "address", "show", "dev", stage.link])
    return f" {address}/128 " in shown.stdout


def _node(stage: Stage, peer_id: object) -> str:
    return next((name for name, id_ in stage.peers.items() if id_ == peer_id), str(peer_id))


def _holders_said(stage: Stage, answer: Mapping[str, object]) -> str:
    """What the platform says of each holder."""
    virtual_ip = answer["virtual_ip"]
    listed = virtual_ip.get("holders", []) if isinstance(virtual_ip, Mapping) else []
    return "; ".join(f"{_node(stage, each['peer_id'])} {each['state']}" for each in listed)


def _move_state(stage: Stage, virtual_ip_id: str) -> str:
    answer = stage.call("system_sdwan_get_virtual_ip", virtual_ip_id=virtual_ip_id)
    return text(answer, "virtual_ip", "move", "state")


def _waiting(stage: Stage, virtual_ip_id: str) -> Mapping[str, object]:
    """The approval that waits for a failover of this virtual IP; empty while there is none."""
    found = stage.call("system_sdwan_list_approvals", state="pending")["approvals"]
    for each in found if isinstance(found, list) else ():
        if virtual_ip_id in str(each):
            return each if isinstance(each, Mapping) else {}
    return {}

"""Phase 2 of the runbook: attach peers, and see the overlay converge, carry and survive."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from netns_lab import sabotage
from netns_lab.scenario.stage import Stage, age, text
from netns_lab.scenario.telling import Step, Teller, expect
from netns_lab.scenario.traffic import interruption, probe, probe_for, round_trip, settle

ROTATION_TARGET: Final = 100.0
"""Milliseconds a key rotation may interrupt traffic."""
FAILOVER_TARGET: Final = 3000.0
"""Milliseconds in which a dead hub's prefixes are with the other one."""
REPAIR_TARGET: Final = 1.0
"""Seconds in which drift is repaired."""
HUB_1, HUB_2 = "hub-1", "hub-2"
NAT, FIREWALLED, OPEN = "spoke-nat", "spoke-fw", "spoke-open"
NODES: Final = (HUB_1, HUB_2, NAT, FIREWALLED, OPEN)
OVERLAY: Final = "fd00:abcd:1::/64"


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps of phase 2."""

    def attach() -> None:
        stage.attach_began = time.monotonic()
        for name in NODES:
            # spoke-open could be a hub, and would be made one; an operator may decide otherwise.
            # spoke-fw could not, which its address does not tell: the platform has to find out.
            # Its private key never leaves spoke-open; the others get theirs from the platform.
            wish: dict[str, object] = (
                {"publicly_reachable": False, "key_source": "node"} if name == OPEN else {}
            )
            answer = stage.call(
                "system_sdwan_attach_peer",
                network_id=stage.network_id,
                node_instance_id=stage.instances[name],
                **wish,
            )
            stage.peers[name] = text(answer, "peer", "id")
            stage.addresses[name] = text(answer, "peer", "host_address")

    def detected() -> None:
        wanted = {HUB_1: "hub", HUB_2: "hub", NAT: "spoke", FIREWALLED: "spoke", OPEN: "spoke"}
        decided: dict[str, float] = {}
        started = time.monotonic()

        def as_expected() -> bool:
            peers = stage.listed_peers()
            for name, peer in peers.items():
                because = str(peer["publicly_reachable_evidence"])
                undecided = because.startswith(("not detected", "not decided"))
                if peer["role"] == wanted[name] and not undecided:
                    decided.setdefault(name, time.monotonic() - started)
                else:
                    decided.pop(name, None)
            return decided.keys() == wanted.keys()

        stage.lab.wait_until(
            as_expected, what="the platform to find out who is publicly reachable", timeout=30
        )
        rows = [
            (name, peer["role"], peer["endpoint"], f"{decided[name]:.1f} s",
             peer["publicly_reachable_evidence"])
            for name, peer in stage.listed_peers().items()
        ]  # fmt: skip
        teller.table(("NODE", "ROLE", "ENDPOINT", "DECIDED AFTER", "BECAUSE"), rows)

    def connected() -> None:
        def all_connected() -> bool:
            peers = stage.listed_peers()
            told = len(peers) == len(NODES) and all(
                peer["status"] == "connected" for peer in peers.values()
            )
            # The platform judges a peer by one session; here it is about all of them.
            return told and all(
                line.handshake for name in NODES for line in stage.wireguard(name).values()
            )

        stage.lab.wait_until(all_connected, what="every peer to be connected", timeout=30)
        # Before this step, the roles were decided: nothing is left that could end a session again.
        seconds = time.monotonic() - stage.attach_began
        teller.evidence(f"first attach -> roles decided and all sessions up: {seconds:.1f} s")
        rows: list[tuple[object, ...]] = []
        for name in NODES:
            for line in stage.wireguard(name).values():
                rows.append(
                    (name, line.public_key[:8] + "…", line.endpoint, age(line.handshake),
                     " ".join(sorted(line.allowed_ips)))
                )  # fmt: skip
        teller.table(("ON", "PEER", "ENDPOINT", "HANDSHAKE", "ALLOWED IPS (wg show)"), rows)

    def applied() -> None:
        name = NAT
        done = stage.node(name).run(["ip", "-d", "address", "show", "dev", stage.link])
        teller.evidence(done.stdout)
        routes = stage.node(name).run(["ip", "-6", "route", "show", "dev", stage.link]).stdout
        teller.evidence(routes)
        expect(f"{stage.addresses[name]}/128" in done.stdout, "the host address stands as /128")
        expect(OVERLAY in routes, "the overlay's prefix leaves by our link", routes)

    def seen() -> None:
        def all_well() -> str:
            done = stage.node(NAT).agent_command(["status"])
            return done.stdout if done.returncode == 0 else ""

        teller.evidence(
            stage.lab.wait_until(all_well, what="status to say that all is well", timeout=15)
        )

    def pinged() -> None:
        # A first handshake that lost its race makes hub-1 look dead for a moment; the platform then
        # goes back to it after its hold-down, which must not fall into the steps that count packets.
        _await_carrier(stage, (NAT, FIREWALLED, OPEN), HUB_1, timeout=60)
        for source, target in ((NAT, FIREWALLED), (FIREWALLED, NAT), (NAT, OPEN), (OPEN, HUB_1)):
            result = probe_for(stage, source, target, 1.0)
            teller.evidence(f"{source} -> {target}: {result.summary()}, {round_trip(result)}")
            expect(result.lost == 0, f"{source} reaches {target} without loss", result.summary())

    def rotated(name: str, source: str, target: str) -> Step:
        def run() -> None:
            listed = stage.listed_peers()[name]
            before = str(listed["public_key"])
            with probe(stage, source, target) as running:
                stage.call("sdwan_peer_remediate", peer_id=stage.peers[name])
                stage.lab.wait_until(
                    lambda: _rotation_done(stage, name), what="the rotation to end", timeout=15
                )
                settle(running)
            after = str(stage.listed_peers()[name]["public_key"])
            result = running.result()
            own = stage.node(name).run(["wg", "show", stage.link, "public-key"]).stdout.strip()
            teller.evidence(
                f"key {before[:8]}… -> {after[:8]}… (made by the {listed['key_source']}),"
                f" {source} -> {target}: {result.summary()}"
            )
            expect(after != before and own == after, "the node uses the new key", own[:8])
            gap = interruption(result)
            expect(
                gap < ROTATION_TARGET, f"interrupted for less than {ROTATION_TARGET:.0f} ms", gap
            )

        return Step(f"rotate the key of {name} under traffic of 100 packets a second", run)

    def restarted() -> None:
        with probe(stage, NAT, FIREWALLED) as running:
            for name in (HUB_1, NAT):
                node = stage.node(name)
                node.stop_agent()
                node.start_agent()
                node.await_agent()
            node = stage.node(HUB_1)
            node.kill_agent()
            node.start_agent()
            node.await_agent()
            settle(running)
        result = running.result()
        teller.evidence(f"hub-1 and spoke-nat restarted, hub-1 killed: {result.summary()}")
        for window in result.windows:
            teller.evidence(f"{window.lost} lost, {window.start_ms:.0f} ms after the first probe")
        expect(result.lost == 0, "an agent's restart loses no packet", result.summary())

    def repaired() -> None:
        node, address = stage.node(OPEN), stage.addresses[OPEN]
        peer = next(iter(stage.wireguard(OPEN)))
        rows = []

        def one(what: str, damage: list[str], check: list[str], expected: str) -> None:
            node.run(damage)
            started = time.monotonic()
            stage.lab.wait_until(
                lambda: expected in node.run(check, check=False).stdout,
                what=f"{what} to be repaired",
                timeout=5,
            )
            seconds = time.monotonic() - started
            rows.append((what, f"{seconds * 1000:.0f} ms"))
            expect(seconds < REPAIR_TARGET, f"{what}: repaired within a second", seconds)

        show = ["ip", "address", "show", "dev", stage.link]
        one("deleted address", ["ip", "address", "del", f"{address}/128", "dev", stage.link],
            show, address)  # fmt: skip
        one("deleted route", ["ip", "-6", "route", "del", OVERLAY, "dev", stage.link],
            ["ip", "-6", "route", "show", "dev", stage.link], OVERLAY)  # fmt: skip
        was = node.run(["cat", f"/sys/class/net/{stage.link}/mtu"]).stdout.strip()
        one("changed MTU", ["ip", "link", "set", stage.link, "mtu", "1300"], show, f"mtu {was} ")
        one("downed link", ["ip", "link", "set", stage.link, "down"], show, ",UP,")
        one("deleted peer", ["wg", "set", stage.link, "peer", peer, "remove"],
            ["wg", "show", stage.link, "allowed-ips"], peer)  # fmt: skip
        one("deleted link", ["ip", "link", "del", stage.link],
            ["wg", "show", stage.link, "allowed-ips"], OVERLAY)  # fmt: skip
        sabotage.kill_wireguard(node)
        one("killed wireguard-go", ["true"], ["wg", "show", stage.link, "allowed-ips"], OVERLAY)
        teller.table(("DAMAGE", "REPAIRED AFTER"), rows)
        expect(
            "dev eth0" in node.run(["ip", "route"]).stdout, "the node's own routes are untouched"
        )

    def hub_killed() -> None:
        spokes = (NAT, FIREWALLED, OPEN)
        _await_carrier(stage, spokes, HUB_1)
        with probe(stage, NAT, FIREWALLED) as running:
            sabotage.kill_hub(stage.node(HUB_1))
            _await_carrier(stage, spokes, HUB_2)
            settle(running)
        outage = running.result()
        gap = interruption(outage)
        teller.evidence(f"killed: traffic back by hub-2 after {gap:.0f} ms; {outage.summary()}")
        expect(gap < FAILOVER_TARGET, f"moved within {FAILOVER_TARGET:.0f} ms", gap)
        with probe(stage, NAT, FIREWALLED) as running:
            sabotage.revive_hub(stage.node(HUB_1))
            stage.node(HUB_1).await_agent()
            _await_carrier(stage, spokes, HUB_1, timeout=60)
            settle(running)
        back = running.result()
        teller.evidence(f"revived: moved back to hub-1; {back.summary()}")
        interruption(back)
        expect(back.lost <= 5, "coming back costs next to nothing", back.summary())

    def partly_cut() -> None:
        spokes = (NAT, FIREWALLED, OPEN)
        _await_carrier(stage, spokes, HUB_1)
        with probe(stage, NAT, FIREWALLED) as running:
            with sabotage.severed(stage.node(FIREWALLED), stage.node(HUB_1)):
                _await_carrier(stage, spokes, HUB_2)
                settle(running)
            _await_carrier(stage, spokes, HUB_1, timeout=60)
            settle(running)
        result = running.result()
        gap = interruption(result)
        teller.evidence(
            "spoke-fw lost hub-1 only: the whole network moved to hub-2, and back afterwards;"
            f" {result.summary()}"
        )
        expect(gap < FAILOVER_TARGET, f"moved within {FAILOVER_TARGET:.0f} ms", gap)

    def rejected() -> None:
        node = stage.instances[OPEN]
        before = stage.wireguard(OPEN)
        stage.call(
            "lab_push_raw",
            node_instance_id=node,
            upserts={"peers": [_bad_peer(stage)]},
        )

        def told() -> object:
            report = stage.call("lab_node_reports", node_instance_id=node).get("report")
            return report.get("rejected") if isinstance(report, Mapping) else None

        rejected = stage.lab.wait_until(told, what="the rejection to be reported", timeout=10)
        teller.evidence(f"reported: {rejected}")
        done = stage.node(OPEN).agent_command(["status"])
        teller.evidence("\n".join(done.stdout.splitlines()[:4]))
        expect(done.returncode == 3, "status exits with 3, bad news", done.returncode)
        expect(stage.wireguard(OPEN).keys() == before.keys(), "the running state stays")
        stage.call("lab_push_raw", node_instance_id=node)
        stage.lab.wait_until(lambda: not told(), what="the rejection to be over", timeout=10)

    return [
        Step("attach five nodes, no endpoint given", attach),
        Step("the platform finds out who is publicly reachable, and makes them hubs", detected),
        Step("handshakes: every peer is connected", connected),
        Step("what was applied on spoke-nat", applied),
        Step("powernode-agent status on spoke-nat", seen),
        Step("pings across hub and NAT, 100 a second", pinged),
        rotated(NAT, NAT, FIREWALLED),
        rotated(HUB_1, NAT, FIREWALLED),
        rotated(OPEN, NAT, OPEN),
        Step("restart agents under traffic", restarted),
        Step("repair drift on spoke-open", repaired),
        Step("kill hub-1, then revive it", hub_killed),
        Step("spoke-fw loses only its way to hub-1", partly_cut),
        Step("a malformed revision is refused, reported and shown", rejected),
    ]


def _rotation_done(stage: Stage, name: str) -> bool:
    answer = stage.call("system_sdwan_list_rotations", peer_id=stage.peers[name])
    rotations = answer["rotations"]
    if not isinstance(rotations, list) or not rotations:
        return False
    state = str(rotations[0]["state"])
    expect(state not in {"failed", "aborted"}, "the rotation succeeds", rotations[0])
    return state == "done"


def _await_carrier(stage: Stage, names: tuple[str, ...], hub: str, timeout: float = 20.0) -> None:
    key = str(stage.listed_peers()[hub]["public_key"])
    stage.lab.wait_until(
        lambda: all(stage.carrier(name, OVERLAY) == key for name in names),
        what=f"{OVERLAY} to be carried by {hub} on {', '.join(names)}",
        timeout=timeout,
    )


def _bad_peer(stage: Stage) -> dict[str, object]:
    return {
        "id": "bad",
        "network_id": stage.network_id,
        "name": "bad",
        "kind": "PEER_KIND_NODE",
        "role": "PEER_ROLE_SPOKE",
        "public_key": "not a key",
        "host_address": "fd00:abcd:2::1",
    }

"""A second network of another topology, on nodes that are on the first one already: every peer talks to
every other directly. It comes and goes without leaving anything on the nodes.
"""

from __future__ import annotations

import time
from itertools import permutations
from typing import Final

from netns_lab.scenario.stage import Stage, age, text
from netns_lab.scenario.telling import Step, Teller, expect
from netns_lab.scenario.traffic import probe_for, round_trip

NODES: Final = ("hub-1", "hub-2", "spoke-open")


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps, on a `stage` of their own."""

    def create() -> None:
        answer = stage.call(
            "system_sdwan_create_network",
            name="mesh",
            routing_mode="static",
            topology="full_mesh",
        )
        stage.network_id = text(answer, "network", "id")
        stage.handle = text(answer, "network", "handle")
        stage.attach_began = time.monotonic()
        for name in NODES:
            attached = stage.call(
                "system_sdwan_attach_peer",
                network_id=stage.network_id,
                node_instance_id=stage.instances[name],
            )
            stage.peers[name] = text(attached, "peer", "id")
            stage.addresses[name] = text(attached, "peer", "host_address")
        teller.evidence(f"{text(answer, 'network', 'prefix')}, link {stage.link}")

    def connected() -> None:
        def all_direct() -> bool:
            return all(
                _direct(stage, name) == {stage.addresses[other] for other in NODES if other != name}
                for name in NODES
            )

        stage.lab.wait_until(all_direct, what="every peer to talk to every other", timeout=30)
        seconds = time.monotonic() - stage.attach_began
        teller.evidence(
            f"first attach -> all {len(NODES) * (len(NODES) - 1) // 2} sessions up: {seconds:.1f} s"
        )
        rows = [
            (name, line.public_key[:8] + "…", line.endpoint, age(line.handshake),
             " ".join(sorted(line.allowed_ips)))
            for name in NODES
            for line in stage.wireguard(name).values()
        ]  # fmt: skip
        teller.table(("ON", "PEER", "ENDPOINT", "HANDSHAKE", "ALLOWED IPS (wg show)"), rows)

    def pinged() -> None:
        for source, target in permutations(NODES, 2):
            result = probe_for(stage, source, target, 0.3)
            teller.evidence(f"{source} -> {target}: {result.summary()}, {round_trip(result)}")
            expect(result.lost == 0, f"{source} reaches {target} without loss", result.summary())

    def deleted() -> None:
        stage.call("system_sdwan_delete_network", network_id=stage.network_id, force=True)

        def standing() -> list[str]:
            return [
                name
                for name in NODES
                if not stage.node(name)
                .run(["ip", "link", "show", stage.link], check=False)
                .returncode
            ]

        stage.lab.wait_until(
            lambda: not standing(), what=f"{stage.link} to be gone everywhere", timeout=15
        )
        teller.evidence(f"{stage.link} is gone on {', '.join(NODES)}")

    return [
        Step("create network mesh (full_mesh) and attach hub-1, hub-2, spoke-open", create),
        Step("every peer has a session with every other", connected),
        Step("pings between all of them, 100 a second", pinged),
        Step("delete the network", deleted),
    ]


def _direct(stage: Stage, name: str) -> set[str]:
    """Overlay addresses to which a node has a session of its own, by `wg show`: a peer with a completed
    handshake carries its own address, whatever else it carries for others."""
    return {
        prefix.removesuffix("/128")
        for line in stage.wireguard(name).values()
        if line.handshake
        for prefix in line.allowed_ips
        if prefix.endswith("/128")
    }

"""Phase 5 of the runbook: firewall rules, seen from both ends of connections and in the kernel."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from netns_lab.scenario.connections import (
    CONNECTED,
    DROPPED,
    REFUSED,
    attempt,
    become,
    echoes,
    hold,
    serving,
)
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect

HUB_1, NAT, FIREWALLED, OPEN = "hub-1", "spoke-nat", "spoke-fw", "spoke-open"
NODES: Final = (HUB_1, "hub-2", NAT, FIREWALLED, OPEN)
DATABASE, WEB = 5432, 8080
TABLE: Final = ("inet", "powernode_sdwan")
REPAIR_TARGET: Final = 1.0
"""Seconds in which a table that somebody flushed stands again."""


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps of phase 5; what they make, the last one removes."""
    made: list[str] = []

    def rule(**wish: object) -> str:
        answer = stage.call(
            "system_sdwan_create_firewall_rule", network_id=stage.network_id, **wish
        )
        made.append(text(answer, "firewall_rule", "id"))
        return made[-1]

    def tag(name: str, *tags: str) -> None:
        stage.call("system_sdwan_update_peer_tags", peer_id=stage.peers[name], tags=list(tags))

    def to_open(name: str, port: int, patience: float = 0.7) -> str:
        return attempt(stage.node(name), stage.addresses[OPEN], port, patience)

    def in_force() -> None:
        """Every node says that all rules are in force."""

        def said() -> bool:
            answer = stage.call("system_sdwan_list_firewall_rules", network_id=stage.network_id)
            nodes = answer["nodes"]
            return isinstance(nodes, list) and all(
                isinstance(node, Mapping) and node.get("rules_in_force") == len(made)
                for node in nodes
            )

        stage.lab.wait_until(said, what="every node to have all rules in force", timeout=10)

    def default_deny() -> None:
        """The runbook's own example."""
        tag(NAT, "tenant-A")
        rule(
            direction="ingress",
            action="accept",
            selector={"kind": "tag", "tag": "tenant-A"},
            protocol="tcp",
            port_range=str(DATABASE),
        )
        rule(
            direction="ingress",
            action="drop",
            selector={"kind": "all"},
            protocol="tcp",
            port_range=str(DATABASE),
        )
        in_force()
        with serving(stage.node(OPEN), stage.addresses[OPEN], DATABASE, WEB):
            rows = [
                (source, port, to_open(source, port), wanted)
                for source, port, wanted in (
                    (NAT, DATABASE, CONNECTED),
                    (FIREWALLED, DATABASE, DROPPED),
                    (HUB_1, DATABASE, DROPPED),
                    (FIREWALLED, WEB, CONNECTED),
                )
            ]
        teller.table(("FROM", "TO spoke-open, PORT", "SEEN", "WANTED"), rows)
        listed = stage.node(OPEN).run(["nft", "list", "chain", *TABLE, _name(stage, "in")]).stdout
        teller.evidence(listed)
        for source, port, seen, wanted in rows:
            expect(seen == wanted, f"{source} to port {port}: {wanted}", seen)

    def member_joins() -> None:
        with serving(stage.node(OPEN), stage.addresses[OPEN], DATABASE):
            expect(to_open(FIREWALLED, DATABASE) == DROPPED, "not a member yet")
            started = time.monotonic()
            tag(FIREWALLED, "tenant-A")
            become(
                stage,
                lambda: to_open(FIREWALLED, DATABASE, 0.05),
                CONNECTED,
                "the new member to get in",
            )
            joined = time.monotonic() - started
            with hold(stage.node(FIREWALLED), stage.addresses[OPEN], DATABASE) as held:
                expect(echoes(held), "its connection carries")
                tag(FIREWALLED)
                become(stage, lambda: to_open(FIREWALLED, DATABASE), DROPPED, "it to be shut out")
                expect(echoes(held), "a conversation that was let in goes on")
        teller.evidence(f"joined tenant-A -> let in after {joined * 1000:.0f} ms; left -> shut out")

    def rejected() -> None:
        rule(
            direction="ingress",
            action="reject",
            selector={"kind": "peer", "peer_id": stage.peers[FIREWALLED]},
            protocol="tcp",
            port_range=f"{WEB}-{WEB + 10}",
        )
        in_force()
        with serving(stage.node(OPEN), stage.addresses[OPEN], WEB):
            started = time.monotonic()
            seen = to_open(FIREWALLED, WEB)
            seconds = time.monotonic() - started
            other = to_open(NAT, WEB)
        teller.evidence(f"spoke-fw: {seen} after {seconds * 1000:.0f} ms; spoke-nat: {other}")
        expect(seen == REFUSED, "a rejected connection ends at once", seen)
        expect(other == CONNECTED, "the rule is about one peer", other)

    def shut() -> None:
        """The policy drops, and what the overlay lives on goes on."""

        def pinged() -> str:
            node = stage.node(NAT)
            return CONNECTED if node.answers(stage.addresses[FIREWALLED], timeout=0.3) else DROPPED

        stage.call("system_sdwan_set_firewall_policy", network_id=stage.network_id, ingress="drop")
        become(stage, pinged, DROPPED, "pings to be dropped by the policy")
        # A new daemon's probes belong to no conversation that was let in before.
        node = stage.node(NAT)
        node.stop_agent()
        node.start_agent()
        node.await_agent()

        def probed() -> bool:
            alive = {peer.get("liveness") for peer in _items(node.status(), "peers")}
            return alive == {"alive"}

        stage.lab.wait_until(probed, what="our own probes to pass under drop", timeout=15)
        peers = stage.listed_peers()
        ping = rule(
            direction="ingress", action="accept", selector={"kind": "all"}, protocol="icmp6"
        )
        become(stage, pinged, CONNECTED, "pings to pass by the rule for icmp6")
        states = {name: peer["status"] for name, peer in peers.items()}
        teller.evidence(f"under drop: {states}; probes of a restarted agent are answered")
        expect(set(states.values()) == {"connected"}, "sessions stand under drop", states)
        stage.call(
            "system_sdwan_set_firewall_policy", network_id=stage.network_id, ingress="accept"
        )
        stage.call("system_sdwan_delete_firewall_rule", firewall_rule_id=ping)
        made.remove(ping)

    def flushed() -> None:
        node = stage.node(OPEN)
        node.run(["nft", "add table inet operator; add chain inet operator mine"])
        foreign = node.run(["nft", "list", "table", "inet", "operator"]).stdout
        before = _at_rest(stage, OPEN)
        rows = []
        for damage in (
            ["flush", "table", *TABLE],
            ["delete", "table", *TABLE],
            ["flush", "chain", *TABLE, _name(stage, "in")],
        ):
            node.run(["nft", *damage])
            started = time.monotonic()
            stage.lab.wait_until(
                lambda: _listed(stage, OPEN) == before, what="the table to stand again", timeout=10
            )
            seconds = time.monotonic() - started
            rows.append((f"nft {' '.join(damage)}", f"{seconds * 1000:.0f} ms"))
            expect(seconds < REPAIR_TARGET, "put right within a second", seconds)
        teller.table(("DAMAGE", "REPAIRED AFTER"), rows)
        kept = node.run(["nft", "list", "table", "inet", "operator"]).stdout
        expect(kept == foreign, "an operator's own table is as it was", kept)
        node.run(["nft", "delete", "table", "inet", "operator"])

    def restarted() -> None:
        node = stage.node(OPEN)
        with (
            serving(node, stage.addresses[OPEN], DATABASE),
            hold(stage.node(NAT), stage.addresses[OPEN], DATABASE) as held,
        ):
            handles = node.run(["nft", "-a", "list", "table", *TABLE]).stdout
            node.stop_agent()
            expect(to_open(FIREWALLED, DATABASE) == DROPPED, "it filters without the agent")
            node.start_agent()
            node.await_agent()
            in_force()
            same = node.run(["nft", "-a", "list", "table", *TABLE]).stdout == handles
            expect(echoes(held), "an open connection outlives the restart")
        teller.evidence("agent restarted: the table has the same handles, nothing was written")
        expect(same, "a restart writes nothing to the table")

    def shadowed() -> None:
        hidden = rule(
            direction="ingress",
            action="accept",
            selector={"kind": "all"},
            protocol="tcp",
            port_range=str(DATABASE),
            priority=100,
        )

        def told() -> str:
            answer = stage.call("system_sdwan_route_policy_audit", network_id=stage.network_id)
            for entry in _items(answer, "shadowed_rules"):
                shadow = entry.get("firewall_rule")
                if isinstance(shadow, Mapping) and shadow.get("id") == hidden:
                    return str(_items(entry, "nodes")[0].get("evidence"))
            return ""

        said = stage.lab.wait_until(told, what="the audit to show the shadowed rule", timeout=10)
        teller.evidence(str(said))
        expect(hidden in str(said) and made[1] in str(said), "both rules are named", said)

    def removed() -> None:
        for rule_id in list(made):
            stage.call("system_sdwan_delete_firewall_rule", firewall_rule_id=rule_id)
            made.remove(rule_id)
        tag(NAT)
        with serving(stage.node(OPEN), stage.addresses[OPEN], DATABASE):
            become(stage, lambda: to_open(FIREWALLED, DATABASE), CONNECTED, "the door to be open")
        left = stage.node(OPEN).run(["nft", "list", "tables"]).stdout.split()
        teller.evidence(
            f"spoke-open forwards nothing and filters nothing; its tables: {left or None}"
        )

    return [
        Step("tenant-A may reach the database, nobody else (the runbook's example)", default_deny),
        Step("a peer joins and leaves the tag", member_joins),
        Step("a rejected peer is told at once", rejected),
        Step("the policy drops everything; the overlay lives on", shut),
        Step("somebody flushes the table", flushed),
        Step("the agent restarts", restarted),
        Step("the audit finds a rule that is never reached", shadowed),
        Step("delete the rules", removed),
    ]


def _name(stage: Stage, chain: str) -> str:
    return f"n_{stage.handle}_{chain}"


def _at_rest(stage: Stage, name: str) -> list[str]:
    """The table once nothing is under way any more: what the step before asked for has come."""
    seen: list[list[str]] = []

    def settled() -> bool:
        revision = stage.node(name).status()["revision"]
        applied = isinstance(revision, Mapping) and revision["accepted"] == revision["applied"]
        seen.append(_listed(stage, name) if applied else [])
        return len(seen) > 10 and all(each == seen[-1] for each in seen[-10:]) and bool(seen[-1])

    stage.lab.wait_until(settled, what=f"the table of {name} to rest")
    return seen[-1]


def _listed(stage: Stage, name: str) -> list[str]:
    """Our table on a node, without its counts and without regard to the order of its objects."""
    listed = stage.node(name).run(["nft", "-s", "list", "table", *TABLE], check=False).stdout
    return sorted(listed.split("\n"))


def _items(document: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = document.get(key)
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []

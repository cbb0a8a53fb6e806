"""Phase 8 of the runbook: iBGP on a second network of these nodes. FRR decides, WireGuard follows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from netns_lab import sabotage
from netns_lab.errors import LabError
from netns_lab.probe_stats import ProbeResult
from netns_lab.prober import Probe
from netns_lab.scenario.bgp import established, named, neighbors, next_hops, vtysh
from netns_lab.scenario.lan import make_lan
from netns_lab.scenario.stage import Stage, text
from netns_lab.scenario.telling import Step, Teller, expect
from netns_lab.scenario.traffic import interruption, probe, settle

HUB_1, HUB_2 = "hub-1", "hub-2"
NAT, FIREWALLED, OPEN = "spoke-nat", "spoke-fw", "spoke-open"
NODES: Final = (HUB_1, HUB_2, NAT, FIREWALLED, OPEN)
SESSIONS: Final = {HUB_1: 4, HUB_2: 4, NAT: 2, FIREWALLED: 2, OPEN: 2}
"""Spokes have one with each hub, hubs with each other too."""
LAN, LAN_HOST = "fd00:1a5:1::/64", "fd00:1a5:1::1"
LAN_IPV4, LAN_HOST_IPV4 = "192.168.77.0/24", "192.168.77.1"
LAN_LINK: Final = "office"
FAILOVER_TARGET: Final = 500.0
LAN_TARGET: Final = 300.0
"""Milliseconds."""


def steps(stage: Stage, teller: Teller) -> list[Step]:
    """The steps; the network they make stays for the phases after it."""

    def create() -> None:
        answer = stage.call("system_sdwan_update_account_as_number", as_number=65000)
        teller.evidence(str(answer))
        answer = stage.call(
            "system_sdwan_create_network", name="fabric", routing_mode="ibgp",
            overlay_ipv4_prefix="10.77.0.0/24",
        )  # fmt: skip
        stage.network_id = text(answer, "network", "id")
        stage.handle = text(answer, "network", "handle")
        stage.attach_began = time.monotonic()
        for name in NODES:
            wish = {"publicly_reachable": False} if name == OPEN else {}
            attached = stage.call(
                "system_sdwan_attach_peer",
                network_id=stage.network_id,
                node_instance_id=stage.instances[name],
                **wish,
            )
            stage.peers[name] = text(attached, "peer", "id")
            stage.addresses[name] = text(attached, "peer", "host_address")

    def converged() -> None:
        def all_up() -> bool:
            return all(len(established(stage, name)) == SESSIONS[name] for name in NODES)

        stage.lab.wait_until(all_up, what="every BGP session to be established", timeout=60)
        seconds = time.monotonic() - stage.attach_began
        teller.evidence(f"first attach -> every session established: {seconds:.1f} s")
        teller.evidence(vtysh(stage, NAT, "show bgp ipv6 unicast summary"))

        def told() -> list[Mapping[str, object]]:
            found = sessions(stage)
            well = all(session["state"] == "Established" for session in found)
            return found if well and len(found) == sum(SESSIONS.values()) else []

        listed = stage.lab.wait_until(told, what="get_bgp_sessions to say so", timeout=15)
        names = {peer: name for name, peer in stage.peers.items()}
        teller.table(
            ("PEER", "NEIGHBOR", "STATE", "UPTIME", "RECEIVED", "SENT"),
            [
                (names[str(each["peer_id"])], names[str(each["neighbor_id"])], each["state"],
                 each["uptime"], each["prefixes_received"], each["prefixes_sent"])
                for each in listed
            ],
        )  # fmt: skip

    def carried() -> None:
        """Cryptokey routing is what BGP chose."""
        stage.lab.wait_until(
            lambda: next_hops(stage, NAT, f"{stage.addresses[OPEN]}/128"),
            what="spoke-nat to learn spoke-open's address",
        )
        teller.evidence(stage.node(NAT).run(["ip", "-6", "route", "show", "proto", "bgp"]).stdout)
        for source, target in ((NAT, OPEN), (OPEN, FIREWALLED), (FIREWALLED, NAT)):
            with probe(stage, source, target) as running:
                settle(running, 100)
            result = running.result()
            teller.evidence(f"{source} -> {target}: {result.summary()}")
            expect(result.lost <= 1, f"{source} reaches {target}", result.summary())

    def lan() -> None:
        """A LAN behind spoke-open: first it exists, then it is announced, then others reach it."""
        node = stage.node(OPEN)
        make_lan(node, LAN_LINK, f"{LAN_HOST}/64", f"{LAN_HOST_IPV4}/24")
        with (
            stage.node(NAT).probe(LAN_HOST, source=stage.addresses[NAT]) as running,
            stage.node(FIREWALLED).probe(LAN_HOST_IPV4) as running_ipv4,
        ):
            settle(running, 10)
            began = time.monotonic()
            announce(stage, [LAN, LAN_IPV4])
            answered = first_answer(stage, running, began)
            answered_ipv4 = first_answer(stage, running_ipv4, began)
        teller.evidence(
            f"action -> first answer at spoke-nat (IPv6) {answered:.0f} ms, at spoke-fw (IPv4)"
            f" {answered_ipv4:.0f} ms (target {LAN_TARGET:.0f} ms)"
        )
        for name, prefix in ((NAT, LAN), (FIREWALLED, LAN_IPV4)):
            hops = named(stage, next_hops(stage, name, prefix))
            key = stage.carrier(name, prefix)[:8]
            teller.evidence(f"{name}: {prefix} by BGP via {', '.join(hops)}; allowed IPs of {key}…")

    def absent() -> None:
        """A LAN whose link is down is not announced, and comes back with it."""
        node = stage.node(OPEN)
        node.run(["ip", "link", "set", LAN_LINK, "down"])
        began = time.monotonic()
        stage.lab.wait_until(lambda: not next_hops(stage, NAT, LAN), what=f"{LAN} to be withdrawn")
        gone = (time.monotonic() - began) * 1000
        stage.lab.wait_until(
            lambda: not stage.carrier(NAT, LAN), what="no peer to carry what nobody announces"
        )
        node.run(["ip", "link", "set", LAN_LINK, "up"])
        node.run(["ip", "address", "replace", f"{LAN_HOST}/64", "dev", LAN_LINK, "nodad"])
        stage.lab.wait_until(lambda: next_hops(stage, NAT, LAN), what=f"{LAN} to be announced")
        teller.evidence(f"withdrawn {gone:.0f} ms after its link went down; back with it")

    def hub_lost() -> None:
        """The whole hub, without a word: BFD notices, BGP moves, allowed IPs follow."""
        hub = stage.node(serving_hub(stage, NAT, OPEN))
        await_bfd(stage)
        with probe(stage, NAT, OPEN) as running:
            settle(running, 50)
            sabotage.isolate(hub)
            try:
                settle(running, 150)
            finally:
                sabotage.rejoin(hub)
        told(teller, f"{hub.name} cut off", running.result())
        await_all(stage)

    def hub_lost_to_one() -> None:
        """One spoke alone loses the hub: both ends must agree on the other one."""
        hub = serving_hub(stage, NAT, OPEN)
        await_bfd(stage)
        with probe(stage, NAT, OPEN) as running:
            settle(running, 50)
            with sabotage.severed(stage.node(hub), stage.node(OPEN)):
                settle(running, 150)
        told(teller, f"{hub} lost to spoke-open alone", running.result())
        await_all(stage)

    def agent_restarts() -> None:
        before = neighbors(stage, NAT)
        with probe(stage, NAT, OPEN) as running:
            settle(running, 50)
            stage.node(NAT).stop_agent()
            stage.node(NAT).start_agent()
            stage.node(NAT).await_agent()
            settle(running, 100)
        result = running.result()
        after = neighbors(stage, NAT)
        teller.evidence(f"spoke-nat's agent restarted: {result.summary()}")
        expect(result.lost == 0, "no packet is lost", result.summary())
        for address, peer in before.items():
            now = after[address]
            expect(
                now["connectionsDropped"] == peer["connectionsDropped"],
                "no session is reset",
                (address, now),
            )

    def frr_killed() -> None:
        """bgpd killed and zebra's configuration untouched: it is back, configured, within seconds."""
        node = stage.node(FIREWALLED)
        pid = node.path("/run/frr/bgpd.pid").read_text().strip()
        node.run(["kill", "-9", pid])
        began = time.monotonic()
        stage.lab.wait_until(
            lambda: len(established(stage, FIREWALLED)) == SESSIONS[FIREWALLED],
            what="bgpd of spoke-fw to be back, with its sessions",
            timeout=30,
        )
        teller.evidence(f"bgpd killed -> sessions established: {time.monotonic() - began:.1f} s")
        node.run(["vtysh", "-c", "configure terminal", "-c", "no router bgp 65000"])
        began = time.monotonic()
        stage.lab.wait_until(
            lambda: len(established(stage, FIREWALLED)) == SESSIONS[FIREWALLED],
            what="a configuration that somebody removed to be back",
            timeout=30,
        )
        teller.evidence(f"`no router bgp` by hand -> put right: {time.monotonic() - began:.1f} s")

    def diagnosed() -> None:
        """A session that is down, and what the planning-only skill makes of it."""
        with sabotage.severed(stage.node(HUB_2), stage.node(OPEN)):

            def down() -> Mapping[str, object] | None:
                for session in sessions(stage):
                    ends = (session["peer_id"], session["neighbor_id"])
                    if ends == (stage.peers[OPEN], stage.peers[HUB_2]):
                        return session if session["state"] != "Established" else None
                return None

            session = stage.lab.wait_until(down, what="the session to be reported down") or {}
            answer = stage.lab.wait_until(
                lambda: likely(stage, str(session["id"])), what="a likely cause", timeout=30
            )
        teller.evidence(f"state {session['state']}: {answer}")
        await_all(stage)

    def refused() -> None:
        rows = []
        cases: list[tuple[str, dict[str, object], str]] = [
            ("system_sdwan_update_account_as_number", {"as_number": 64511}, "as_number"),
            ("system_sdwan_update_account_as_number", {"as_number": 65535}, "as_number"),
            (
                "system_sdwan_update_peer_lan_subnets",
                {"peer_id": stage.peers[NAT], "subnets": [{"prefix": LAN}]},
                "prefix",
            ),
            (
                "system_sdwan_update_peer_lan_subnets",
                {"peer_id": stage.peers[NAT], "subnets": [{"prefix": "fd00:9::1/64"}]},
                "prefix",
            ),
        ]
        for action, wish, field in cases:
            try:
                stage.lab.call(action, wish)
            except LabError as error:
                rows.append((field, str(error)))
                expect(field in str(error), f"the error names {field}", error)
            else:
                expect(False, f"{action} refuses a bad {field}", wish)
        teller.table(("FIELD", "RULE"), rows)

    return [
        Step("one AS number, an iBGP network beside the first, five peers", create),
        Step("every session is established, and reported", converged),
        Step("spokes reach each other by BGP's routes", carried),
        Step("a LAN behind spoke-open is announced, IPv6 and IPv4", lan),
        Step("a LAN that is not there is not announced", absent),
        Step("a hub is cut off: traffic goes by the other one", hub_lost),
        Step("one spoke alone loses the hub", hub_lost_to_one),
        Step("an agent restarts: no packet, no session", agent_restarts),
        Step("bgpd killed, configuration removed by hand", frr_killed),
        Step("a session that is down is explained", diagnosed),
        Step("bad input is refused, by field and rule", refused),
    ]


def announce(stage: Stage, prefixes: list[str]) -> None:
    """The LANs of spoke-open."""
    stage.call(
        "system_sdwan_update_peer_lan_subnets",
        peer_id=stage.peers[OPEN],
        subnets=[{"prefix": prefix, "description": "office"} for prefix in prefixes],
    )


def sessions(stage: Stage) -> list[Mapping[str, object]]:
    """`system_sdwan_get_bgp_sessions`."""
    found = stage.call("system_sdwan_get_bgp_sessions", network_id=stage.network_id)["sessions"]
    return list(found) if isinstance(found, list) else []


def likely(stage: Stage, session_id: str) -> str:
    """What the remediation skill says of a session; empty while it has no cause yet."""
    answer = stage.call(
        "execute_skill",
        skill="system-sdwan-bgp-session-remediate",
        inputs={"bgp_session_id": session_id, "dry_run": True},
    )
    result = answer.get("result", answer)
    if not isinstance(result, Mapping) or not result.get("likely_cause"):
        return ""
    return f"{result['likely_cause']}; {result['recommended_action']}"


def serving_hub(stage: Stage, source: str, target: str) -> str:
    """The hub by which the kernel of `source` sends to `target`."""
    hops = named(stage, next_hops(stage, source, f"{stage.addresses[target]}/128"))
    expect(len(hops) == 1, f"{source} has one way to {target}", hops)
    return hops[0]


def await_all(stage: Stage) -> None:
    """Every session is up again."""
    stage.lab.wait_until(
        lambda: all(len(established(stage, name)) == SESSIONS[name] for name in NODES),
        what="every BGP session to be back",
        timeout=60,
    )


def await_bfd(stage: Stage) -> None:
    """BFD comes up a moment after BGP; until then only the hold timer would notice."""

    def up() -> bool:
        said = [vtysh(stage, name, "show bfd peers brief") for name in (NAT, OPEN, FIREWALLED)]
        return all(each.count(" up ") >= 2 for each in said)

    stage.lab.wait_until(up, what="BFD to be up between spokes and hubs", timeout=30)


def first_answer(stage: Stage, running: Probe, began: float) -> float:
    """Milliseconds from `began` to when a probe that got no answers gets its first."""
    stage.lab.wait_until(lambda: running.snapshot().received > 0, what="the first answer")
    return (time.monotonic() - began) * 1000


def told(teller: Teller, what: str, result: ProbeResult) -> None:
    """Evidence of an interruption, held against the target."""
    gap = interruption(result)
    teller.evidence(f"{what}: {result.summary()} (target {FAILOVER_TARGET:.0f} ms)")
    expect(gap < 4 * FAILOVER_TARGET, "traffic goes on by the other hub", result.summary())

"""Routes that somebody else puts on our link, as zebra does it: AllowedIPs follow, and packets arrive.

Real agents, real kernel routes by `ip` with protocol `bgp`; both hubs have the same addresses behind
them, so that only WireGuard's choice says which of the two answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
from overlay_world import (
    LINK,
    Overlay,
    allowed_ips,
    await_applied,
    await_ping,
    ip_json,
    start,
    write_state,
)

from netns_lab import processes
from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.topology import Topology, plain_topology

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

HUBS, SPOKE = ("hub-1", "hub-2"), "spoke-1"
LAN, LAN_HOST = "fd77::/64", "fd77::1"
LAN4, LAN4_HOST = "10.77.0.0/24", "10.77.0.1"
SPOKE4 = "10.78.0.1"
FORBIDDEN = "fd66::/64"


@pytest.fixture(scope="module")
def lab(module_lab: Callable[[Topology], Lab]) -> Lab:
    return module_lab(plain_topology(hubs=2, spokes=1, platform=False))


@pytest.fixture(scope="module")
def overlay(lab: Lab) -> Overlay:
    """It stands; both hubs answer for the LANs' hosts."""
    permitted = dict.fromkeys(HUBS, (LAN, LAN4)) | {SPOKE: (f"{SPOKE4}/32",)}
    overlay = Overlay.of(lab, "ibgp", permitted)
    for node in lab.agents():
        write_state(node, overlay.state(node.name))
        start(node)
        await_applied(node, 1)
    for hub in HUBS:
        node = lab.node(hub)
        for address in (f"{LAN_HOST}/128", f"{LAN4_HOST}/32"):
            node.run(["ip", "addr", "add", address, "dev", "lo"])
        await_ping(lab.node(SPOKE), overlay.members[hub].address)
        # For the replies to IPv4: as its LAN would be learned there.
        spoke = overlay.members[SPOKE].address
        route(node, "add", f"{SPOKE4}/32", "via", "inet6", spoke, "onlink")
    lab.node(SPOKE).run(["ip", "addr", "add", f"{SPOKE4}/32", "dev", "lo"])
    return overlay


@pytest.fixture
def spoke(lab: Lab, overlay: Overlay) -> Iterator[LabNode]:
    """The spoke, without routes of others before and after."""
    node = lab.node(SPOKE)
    yield node
    for family in ("-4", "-6"):
        node.run(["ip", family, "route", "flush", "dev", LINK, "proto", "bgp"], check=False)
    node.run(["ip", "nexthop", "flush"], check=False)
    await_prefixes(node, overlay, "hub-1", set(), {LAN, LAN4})
    await_prefixes(node, overlay, "hub-2", set(), {LAN, LAN4})


def route(node: LabNode, verb: str, prefix: str, *how: str) -> None:
    family = "-6" if ":" in prefix else "-4"
    link = ("dev", LINK) if how and how[0] != "nhid" else ()
    node.run(["ip", family, "route", verb, prefix, *how[:4], *link, *how[4:], "proto", "bgp"])


def via(overlay: Overlay, hub: str) -> tuple[str, str]:
    return ("via", overlay.members[hub].address)


def await_prefixes(
    node: LabNode, overlay: Overlay, hub: str, there: set[str], absent: set[str] | None = None
) -> None:
    key = overlay.members[hub].public_key

    def agrees() -> bool:
        found = allowed_ips(node)[key]
        return there <= found and not found & (absent or set())

    processes.wait_until(
        agrees,
        what=f"{hub} to carry {there} and not {absent}",
        interval=0.01,
        seen=lambda: f"{allowed_ips(node)}\n{node.agent_log()[-2000:]}",
    )


def changes(node: LabNode) -> int:
    """How often the agent has changed something."""
    return node.agent_log().count("reconcile.changed")


def received(node: LabNode) -> int:
    """Echo requests that the node itself took in."""
    text = node.run(["cat", "/proc/net/snmp6"]).stdout
    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith("Icmp6InEchos"))


def answering(lab: Lab, spoke: LabNode, address: str) -> set[str]:
    """Which hubs take in an IPv6 ping of the spoke's."""
    before = {hub: received(lab.node(hub)) for hub in HUBS}
    # Our agents' own probes are counted too, so many more are sent.
    done = spoke.run(["ping", "-6", "-q", "-c", "50", "-i", "0.01", "-W", "1", address])
    assert " 0% packet loss" in done.stdout
    return {hub for hub in HUBS if received(lab.node(hub)) - before[hub] >= 50}


def test_a_learned_prefix_is_carried_by_its_next_hop_and_moves_with_it(
    lab: Lab, overlay: Overlay, spoke: LabNode
) -> None:
    for hub, other in (HUBS, HUBS[::-1], HUBS):
        route(spoke, "replace", LAN, *via(overlay, hub))
        route(spoke, "replace", LAN4, "via", "inet6", overlay.members[hub].address, "onlink")
        await_prefixes(spoke, overlay, hub, {LAN, LAN4})
        await_prefixes(spoke, overlay, other, set(), {LAN, LAN4})
        assert answering(lab, spoke, LAN_HOST) == {hub}
        assert spoke.run(["ping", "-c", "1", "-W", "2", "-I", SPOKE4, LAN4_HOST])


def test_routes_made_with_nexthop_objects_as_zebra_makes_them(
    lab: Lab, overlay: Overlay, spoke: LabNode
) -> None:
    def nexthop(verb: str, *what: str) -> None:
        spoke.run(["ip", "nexthop", verb, *what, "proto", "bgp"])

    nexthop("add", "id", "21", *via(overlay, "hub-1"), "dev", LINK, "onlink")
    route(spoke, "add", LAN, "nhid", "21")
    route(spoke, "add", LAN4, "nhid", "21")
    await_prefixes(spoke, overlay, "hub-1", {LAN, LAN4})
    # The object moves, and with it all its routes.
    nexthop("replace", "id", "21", *via(overlay, "hub-2"), "dev", LINK, "onlink")
    await_prefixes(spoke, overlay, "hub-2", {LAN, LAN4})
    assert answering(lab, spoke, LAN_HOST) == {"hub-2"}
    # It goes, and the kernel takes its IPv4 routes along without a word.
    spoke.run(["ip", "nexthop", "del", "id", "21"])
    assert not ip_json(spoke, "-4", "route", "show", "dev", LINK, "proto", "bgp")
    await_prefixes(spoke, overlay, "hub-2", set(), {LAN, LAN4})


def test_of_several_next_hops_the_first_that_is_permitted(
    lab: Lab, overlay: Overlay, spoke: LabNode
) -> None:
    hops = [word for hub in HUBS for word in ("nexthop", *via(overlay, hub), "dev", LINK)]
    spoke.run(["ip", "-6", "route", "add", LAN, "proto", "bgp", *hops])
    await_prefixes(spoke, overlay, "hub-1", {LAN})
    spoke.run(["ip", "-6", "route", "del", LAN, *via(overlay, "hub-1"), "dev", LINK])
    await_prefixes(spoke, overlay, "hub-2", {LAN})
    assert answering(lab, spoke, LAN_HOST) == {"hub-2"}


def test_what_a_peer_may_not_carry_is_refused_and_told(
    lab: Lab, overlay: Overlay, spoke: LabNode
) -> None:
    route(spoke, "add", FORBIDDEN, *via(overlay, "hub-1"))
    route(spoke, "add", LAN, *via(overlay, "hub-1"))
    await_prefixes(spoke, overlay, "hub-1", {LAN}, {FORBIDDEN})

    def told() -> bool:
        outcomes = spoke.status()["outcomes"]
        assert isinstance(outcomes, list)
        return any(
            each["subsystem"] == "paths" and FORBIDDEN in each["message"] for each in outcomes
        )

    processes.wait_until(told, what="the refusal in the status", seen=spoke.agent_log)
    route(spoke, "del", FORBIDDEN, *via(overlay, "hub-1"))
    processes.wait_until(lambda: not told(), what="the refusal to be over")


def test_a_hub_keeps_every_spokes_own_address_on_the_spoke(lab: Lab, overlay: Overlay) -> None:
    hub = lab.node("hub-1")
    address = overlay.members[SPOKE].address
    host = f"{address}/128"
    route(hub, "add", host, *via(overlay, "hub-2"))
    route(hub, "add", LAN4, "via", "inet6", overlay.members["hub-2"].address, "onlink")
    try:
        # LAN4 shows that the routes were looked at.
        await_prefixes(hub, overlay, "hub-2", {LAN4}, {host})
        assert host in allowed_ips(hub)[overlay.members[SPOKE].public_key]
    finally:
        route(hub, "del", host, *via(overlay, "hub-2"))
        route(hub, "del", LAN4, "via", "inet6", overlay.members["hub-2"].address)
    await_prefixes(hub, overlay, "hub-2", set(), {LAN4})


def test_delete_and_add_as_zebra_replaces_changes_nothing(overlay: Overlay, spoke: LabNode) -> None:
    route(spoke, "add", LAN, *via(overlay, "hub-1"))
    await_prefixes(spoke, overlay, "hub-1", {LAN})
    how = f"{LAN} via {overlay.members['hub-1'].address} dev {LINK} proto bgp"
    before = changes(spoke)
    # So many that the agent looks again and again, and often enough between the two.
    batch = f"route del {how}\nroute add {how}\n" * 3000
    processes.run(spoke.argv(["ip", "-6", "-batch", "-"]), stdin=batch)
    # The last in a row that is handled in order.
    route(spoke, "add", LAN4, "via", "inet6", overlay.members["hub-2"].address, "onlink")
    await_prefixes(spoke, overlay, "hub-2", {LAN4})
    processes.wait_until(lambda: changes(spoke) > before, what="the last change in the log")
    assert changes(spoke) == before + 1, spoke.agent_log()[-3000:]


def test_a_restart_changes_nothing_that_was_learned(
    lab: Lab, overlay: Overlay, spoke: LabNode
) -> None:
    route(spoke, "add", LAN, *via(overlay, "hub-2"))
    await_prefixes(spoke, overlay, "hub-2", {LAN})
    with spoke.probe(LAN_HOST) as probe:
        before = changes(spoke)
        spoke.kill_agent()
        start(spoke)
        await_applied(spoke, 1)
        await_prefixes(spoke, overlay, "hub-2", {LAN})
        result = probe.stop()
    assert result.lost == 0, result
    assert changes(spoke) == before, spoke.agent_log()[-3000:]


def test_the_agent_itself_routes_the_overlay_alone(overlay: Overlay, spoke: LabNode) -> None:
    ours = ip_json(spoke, "-6", "route", "show", "dev", LINK, "proto", "241")
    assert {each["dst"] for each in ours} == {"fd00:c0e::/64"}

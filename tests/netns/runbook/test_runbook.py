"""The runbook is a test: its calls are made in its order, from its own text, against a lab, and what
they do is looked up on the nodes with wg, ip, nft, vtysh and packets, never in our own reports.

The tests of this file are one story, told in the order in which they stand. Where the guide names
alternatives (`routing_mode: "ibgp"`, `dry_run`) the call is made again with them, as its reader would:
phases 6 and 8 are about iBGP, so the first call makes a second network beside the static one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pytest

from netns_lab.lab import Lab
from netns_lab.node import LabNode
from netns_lab.platform.device_config import NO_PRIVATE_KEY
from netns_lab.platform_client import Answer
from netns_lab.runbook import reader
from netns_lab.runbook.operator import Operator
from netns_lab.scenario.connections import CONNECTED, DROPPED, attempt, serving
from netns_lab.scenario.lan import make_lan, remove_lan
from netns_lab.scenario.laptop import LAPTOP, bring_down, bring_up, key_pair, open_url
from netns_lab.scenario.stage import Stage
from netns_lab.topology import Topology, two_account_topology

HUB_1, HUB_2 = "hub-1", "hub-2"
NAT, FIREWALLED, OPEN = "spoke-nat", "spoke-fw", "spoke-open"
OUTSIDE: Final = "platform"
"""A host of the internet that is on no overlay."""
EXAMPLE_HUB: Final = "203.0.113.5"
"""The public address of a hub in the guide's examples."""
POLICY_LAN, POLICY_HOST = "fd00:abcd:1:cafe::/96", "fd00:abcd:1:cafe::1"
LAN, LAN_HOST = "fd00:abcd:1:1::/64", "fd00:abcd:1:1::1"
OTHER_ACCOUNT, HUB_B, SPOKE_B = "globex", "hub-b", "spoke-b"


class Overlay:
    """One of the guide's networks: the ids of its peers and their addresses, by node name."""

    def __init__(self, network: Mapping[str, Any]) -> None:
        self.id, self.link = str(network["id"]), f"wg-sdwan-{network['handle']}"
        self.peers: dict[str, str] = {}
        self.addresses: dict[str, str] = {}

    def add(self, name: str, answer: Answer) -> None:
        peer: Any = answer["peer"]
        self.peers[name], self.addresses[name] = str(peer["id"]), str(peer["host_address"])


class Story:
    """What one phase leaves to the next."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        places = {EXAMPLE_HUB: str(lab.node(HUB_1).ipv4)}
        self.operator = Operator(reader.text(), lab.call, places)
        self.instances = lab.start(without=(HUB_B, SPOKE_B))
        self.static: Overlay
        self.ibgp: Overlay
        self.virtual_ip = ""

    def node(self, name: str) -> LabNode:
        return self.lab.node(name)

    def await_true(self, check: Callable[[], object], what: str, timeout: float = 40.0) -> None:
        self.lab.wait_until(check, what=what, timeout=timeout)

    def await_ping(self, source: str, address: str) -> None:
        self.await_true(lambda: self.node(source).answers(address), f"{source} to reach {address}")

    def holds(self, name: str, address: str) -> bool:
        """Whether a node has an address, by ip(8)."""
        done = self.node(name).run(["ip", "-6", "-j", "address", "show"])
        return any(
            each["local"] == address
            for link in json.loads(done.stdout)
            for each in link.get("addr_info", [])
        )

    def handshakes(self, name: str, link: str) -> list[int]:
        """When each peer last shook hands, in seconds since the epoch, by wg(8); 0: never."""
        shown = self.node(name).run(["wg", "show", link, "latest-handshakes"]).stdout
        return [int(line.split()[1]) for line in shown.splitlines()]

    def keys(self, name: str, link: str) -> list[str]:
        """The public keys of a node's peers, by wg(8)."""
        return self.node(name).run(["wg", "show", link, "peers"]).stdout.split()

    def vtysh(self, name: str, command: str) -> str:
        return self.node(name).run(["vtysh", "-c", command], check=False).stdout

    def bgp_sessions(self, name: str) -> Mapping[str, Mapping[str, object]]:
        """bgpd's own sessions, by the neighbour's address."""
        found = json.loads(self.vtysh(name, "show bgp ipv6 unicast summary json") or "{}")
        peers: Mapping[str, Mapping[str, object]] = found.get("peers", {})
        return peers

    def to(self, source: str, target: str, port: int) -> str:
        """What comes of a TCP connection over the static network."""
        return attempt(self.node(source), self.static.addresses[target], port)

    @contextmanager
    def lan(self, name: str, link: str, host: str, length: int) -> Iterator[None]:
        """A LAN behind a node, which exists before anyone is told of it."""
        make_lan(self.node(name), link, f"{host}/{length}")
        try:
            yield
        finally:
            remove_lan(self.node(name), link)


@pytest.fixture(scope="module")
def story(module_lab: Callable[[Topology], Lab]) -> Story:
    return Story(module_lab(two_account_topology()))


def test_phase_1_create_an_overlay_network(story: Story) -> None:
    answer: Any = story.operator.follow("system_sdwan_create_network")
    story.static = Overlay(answer["network"])
    # "ibgp": for phases 6 and 8. The prefix is "auto-allocated if omitted".
    varied: Any = story.operator.vary(
        without=("prefix", "pod_subnet_prefix"), name="tokyo-fabric", routing_mode="ibgp"
    )
    story.ibgp = Overlay(varied["network"])
    assert story.ibgp.link != story.static.link


def test_phase_2_attach_node_instances(story: Story) -> None:
    follow, static = story.operator.follow, story.static
    given = {"network-id": static.id, "instance-id": story.instances[HUB_1]}
    static.add(HUB_1, follow("system_sdwan_attach_peer", given))
    optional = ("publicly_reachable", "endpoint_address")
    for overlay in (static, story.ibgp):
        for name in (HUB_1, HUB_2, NAT, FIREWALLED, OPEN):
            if name not in overlay.peers:
                given = {"network-id": overlay.id, "instance-id": story.instances[name]}
                hub = {"publicly_reachable": name in (HUB_1, HUB_2)}
                overlay.add(name, story.operator.vary(given, without=optional, **hub))

    def connected(answer: Answer) -> bool:
        peers: Any = answer["peers"]
        return len(peers) == 5 and all(
            peer["status"] == "connected" and peer["last_handshake_at"] for peer in peers
        )

    follow(
        "system_sdwan_list_peers",
        {"network-id": static.id},
        until=connected,
        wait=lambda check: story.await_true(check, "every peer to be connected"),
    )
    for overlay in (static, story.ibgp):
        for name, number in ((NAT, 2), (FIREWALLED, 2), (OPEN, 2), (HUB_1, 4)):
            story.await_true(
                lambda name=name, link=overlay.link, number=number: (
                    sum(at > 0 for at in story.handshakes(name, link)) == number
                ),
                f"{name} to have shaken hands with {number} peers",
            )
            assert len(story.handshakes(name, overlay.link)) == number
    port = story.node(HUB_1).run(["wg", "show", static.link, "listen-port"]).stdout.strip()
    assert port == "51820", "the endpoint that the guide gives"
    for source, target in ((NAT, OPEN), (OPEN, FIREWALLED), (FIREWALLED, NAT)):
        story.await_ping(source, static.addresses[target])


def test_phase_3_virtual_ips(story: Story) -> None:
    follow, static = story.operator.follow, story.static
    answer: Any = follow(
        "system_sdwan_create_virtual_ip",
        {
            "network-id": static.id,
            "peer-id-of-k3s-server-bootstrap-node": static.peers[NAT],
            "peer-id-of-k3s-server-2": static.peers[FIREWALLED],
            "peer-id-of-k3s-server-3": static.peers[OPEN],
        },
    )
    address = story.virtual_ip = str(answer["virtual_ip"]["address"])
    story.await_true(lambda: story.holds(NAT, address), "the primary holder to have the address")
    story.await_ping(OPEN, address)
    given = {"vip-id": answer["virtual_ip"]["id"], "peer-id": static.peers[FIREWALLED]}
    preview = follow("system_sdwan_failover_virtual_ip", given)
    assert story.holds(NAT, address)
    assert not story.holds(FIREWALLED, address), f"a preview moves nothing: {preview}"
    story.operator.vary(given, dry_run=False)
    story.await_true(
        lambda: story.holds(FIREWALLED, address) and not story.holds(NAT, address),
        "the address to move to the failover holder",
    )
    for source in (HUB_1, NAT, OPEN):
        story.await_ping(source, address)


def test_phase_4_port_mappings(story: Story) -> None:
    hub = story.node(HUB_1)
    assert attempt(story.node(OUTSIDE), str(hub.ipv4), 443) != CONNECTED
    given = {"network-id": story.static.id, "target-peer-id": story.static.peers[OPEN]}
    story.operator.follow("system_sdwan_create_port_mapping", given)
    with serving(story.node(OPEN), story.static.addresses[OPEN], 8443):
        story.await_true(
            lambda: attempt(story.node(OUTSIDE), str(hub.ipv4), 443) == CONNECTED,
            "a host outside to reach the service inside",
        )
    table = hub.run(["nft", "list", "table", "inet", "powernode_sdwan"]).stdout
    assert "443" in table


def test_phase_5_firewall_rules(story: Story) -> None:
    follow, static = story.operator.follow, story.static
    create = "system_sdwan_create_firewall_rule"
    story.lab.call(
        "system_sdwan_update_peer_tags", {"peer_id": static.peers[FIREWALLED], "tags": ["tenant-A"]}
    )
    follow(create, {"network-id": static.id, "source-peer-id": static.peers[FIREWALLED]})
    follow(create, {"net": static.id})
    with serving(story.node(OPEN), static.addresses[OPEN], 5432, 8443):
        # Accepting some does not yet refuse the others.
        story.await_true(lambda: story.to(NAT, OPEN, 5432) == CONNECTED, "spoke-nat to get in")
        follow(create, {"net": static.id})
        story.await_true(lambda: story.to(NAT, OPEN, 5432) == DROPPED, "spoke-nat to be kept out")
        assert story.to(FIREWALLED, OPEN, 5432) == CONNECTED, "tenant-A gets in"
        assert story.to(FIREWALLED, OPEN, 8443) == CONNECTED
    listed = story.node(OPEN).run(["nft", "list", "table", "inet", "powernode_sdwan"]).stdout
    assert "5432" in listed
    assert static.addresses[FIREWALLED] in listed, "the tag's member"


def test_phase_6_route_policies(story: Story) -> None:
    follow, ibgp = story.operator.follow, story.ibgp
    given = {"network-id": ibgp.id, "tokyo-aggregator-peer-id": ibgp.peers[HUB_1]}
    follow("system_sdwan_create_route_policy", given)
    listed: Any = follow("system_sdwan_list_route_policies", given)
    assert [each["name"] for each in listed["route_policies"]] == ["prefer-tokyo-via-aggregator"]
    file = "/etc/frr/frr.conf"
    story.await_true(
        lambda: "local-preference 200" in story.node(NAT).path(file).read_text(),
        "the policy to be in frr.conf",
    )
    assert f"permit {POLICY_LAN}" in story.node(NAT).path(file).read_text()

    def preferences() -> dict[str, int]:
        shown = story.vtysh(NAT, f"show bgp ipv6 unicast {POLICY_LAN} json")
        paths = json.loads(shown or "{}").get("paths", [])
        return {path["peer"]["peerId"]: path.get("locPrf", 100) for path in paths}

    with story.lan(OPEN, "cafe", POLICY_HOST, 96):
        story.lab.call(
            "system_sdwan_update_peer_lan_subnets",
            {"peer_id": ibgp.peers[OPEN], "subnets": [{"prefix": POLICY_LAN}]},
        )
        story.await_true(
            lambda: preferences() == {ibgp.addresses[HUB_1]: 200, ibgp.addresses[HUB_2]: 100},
            f"spoke-nat to prefer the aggregator; bgpd has {preferences()}",
        )
        story.await_ping(NAT, POLICY_HOST)


def test_phase_7_user_devices(story: Story) -> None:
    follow, static, laptop = story.operator.follow, story.static, story.node(LAPTOP)
    # Step 1, by the operator.
    answer: Any = follow("system_sdwan_create_access_grant", {"network-id": static.id})
    grant = answer["access_grant"]
    # Step 2, by the user: the URL gives a configuration, and the key is his own.
    private, public = key_pair(laptop)
    page = open_url(Stage(story.lab, story.instances), grant["bootstrap_url"])
    assert page.status == 200, page.text
    assert NO_PRIVATE_KEY in page.text
    # Step 3, by the operator.
    given = {"network-id": static.id, "grant-id": grant["id"], "AbCd...=": public}
    issued: Any = follow("system_sdwan_issue_user_device", given)
    device = issued["user_device"]
    assert f"{device['host_address']}/128" in page.text
    for hub in (HUB_1, HUB_2):
        story.await_true(
            lambda hub=hub: public in story.keys(hub, static.link), f"{hub} to have the device"
        )
    bring_up(laptop, "alice", page.text.replace(NO_PRIVATE_KEY, private))
    try:
        for address in (static.addresses[NAT], static.addresses[OPEN], story.virtual_ip):
            story.await_ping(LAPTOP, address)
        story.await_ping(FIREWALLED, device["host_address"])
        used = open_url(Stage(story.lab, story.instances), grant["bootstrap_url"])
        assert used.status == 410, "the URL is for one use"

        # It cuts off a user, so somebody has to approve it.
        asked: Any = follow("system_sdwan_revoke_user_device", {"id": device["id"]})
        assert laptop.answers(static.addresses[OPEN]), f"nothing is done yet: {asked}"
        waiting: Any = story.lab.call("system_sdwan_list_approvals")["approvals"]
        approval = next(each for each in waiting if each["subject_id"] == device["id"])
        story.lab.call("system_sdwan_approve", {"approval_id": approval["id"]})
        for hub in (HUB_1, HUB_2):
            story.await_true(
                lambda hub=hub: public not in story.keys(hub, static.link),
                f"the device to be gone from {hub}",
            )
        assert not laptop.answers(static.addresses[OPEN])
    finally:
        bring_down(laptop, "alice")


def test_phase_8_ibgp(story: Story) -> None:
    follow, ibgp = story.operator.follow, story.ibgp
    follow("system_sdwan_update_account_as_number")
    for name in ibgp.peers:
        story.await_true(
            lambda name=name: "router bgp 65000\n" in story.vtysh(name, "show running-config"),
            f"{name} to speak with the new AS number",
        )
    with story.lan(OPEN, "office", LAN_HOST, 64):
        follow("system_sdwan_update_peer_lan_subnets", {"peer-id": ibgp.peers[OPEN]})
        assert f"network {LAN}" not in story.vtysh(NAT, "show running-config")
        story.await_true(
            lambda: f"network {LAN}" in story.vtysh(OPEN, "show running-config"),
            "a network statement for the LAN",
        )
        for name in (HUB_1, HUB_2, NAT, FIREWALLED):
            story.await_ping(name, LAN_HOST)
            shown = story.node(name).run(["ip", "-6", "-j", "route", "show", LAN]).stdout
            assert [route["protocol"] for route in json.loads(shown)] == ["bgp"], name
    sessions: Any = follow(
        "system_sdwan_get_bgp_sessions",
        {"network-id": ibgp.id},
        until=lambda answer: all(
            each["state"] == "Established" for each in _objects(answer["sessions"])
        ),
        wait=lambda check: story.await_true(check, "every session to be established"),
    )
    assert len(sessions["sessions"]) == 14
    for name, peers in ((NAT, 2), (HUB_1, 4)):
        states = [each["state"] for each in story.bgp_sessions(name).values()]
        assert states == ["Established"] * peers

    # A session that is not healthy: bgpd of spoke-nat is told, behind the agent's back, that the
    # neighbour has another AS number.
    session = next(
        each
        for each in _objects(sessions["sessions"])
        if (each["peer_id"], each["neighbor_id"]) == (ibgp.peers[NAT], ibgp.peers[HUB_2])
    )

    def broken() -> None:
        lines = ["configure terminal", "router bgp 65000"]
        lines.append(f"neighbor {ibgp.addresses[HUB_2]} shutdown")
        story.node(NAT).run(["vtysh", *(word for line in lines for word in ("-c", line))])

    def wait(check: Callable[[], bool]) -> None:
        # The agent mends it within seconds, so it is broken again until the platform has heard.
        def look() -> bool:
            broken()
            return check()

        story.await_true(look, "the platform to hear of the session")

    plan = follow("execute_skill", {"session-id": session["id"]}, wait=wait)
    assert plan["planning_only"] is True
    story.await_true(
        lambda: {each["state"] for each in story.bgp_sessions(NAT).values()} == {"Established"},
        "the agent to mend what was done to FRR",
    )


def test_phase_9_federation_peers(story: Story) -> None:
    follow, ours = story.operator.follow, story.static
    account: Any = story.lab.call("lab_create_account", {"name": OTHER_ACCOUNT})["account"]

    def by_them(action: str, arguments: dict[str, object]) -> Answer:
        return story.lab.call(action, arguments, account=OTHER_ACCOUNT)

    instances = {}
    for name in (HUB_B, SPOKE_B):
        instances[name] = story.lab.enrol(story.node(name), account=OTHER_ACCOUNT)
        story.node(name).start_agent()
    for name in (HUB_B, SPOKE_B):
        story.node(name).await_agent()
    network: Any = by_them("system_sdwan_create_network", {"name": "globex-core"})["network"]
    theirs = Overlay(network)
    for name in (HUB_B, SPOKE_B):
        attach: dict[str, object] = {
            "network_id": theirs.id,
            "node_instance_id": instances[name],
            "publicly_reachable": name == HUB_B,
        }
        theirs.add(name, by_them("system_sdwan_attach_peer", attach))
    story.await_ping(SPOKE_B, theirs.addresses[HUB_B])
    given = {
        "account-a-network-id": ours.id,
        "account-b-id": account["id"],
        "account-b-network-id": theirs.id,
        "network-id": ours.id,
    }
    proposed: Any = follow("system_sdwan_propose_federation_peer", given)
    given["fed-peer-id"] = proposed["federation_peer"]["id"]
    alone = len(story.keys(HUB_B, theirs.link))
    assert not story.node(NAT).answers(theirs.addresses[SPOKE_B]), "nothing crosses before"
    follow("system_sdwan_accept_federation_peer", given, by=by_them)
    story.await_ping(NAT, theirs.addresses[SPOKE_B])
    story.await_ping(SPOKE_B, ours.addresses[OPEN])
    assert len(story.keys(HUB_B, theirs.link)) > alone
    follow("system_sdwan_revoke_federation_peer", given)
    story.await_true(
        lambda: len(story.keys(HUB_B, theirs.link)) == alone, "the bridge to be gone from hub-b"
    )
    assert not story.node(NAT).answers(theirs.addresses[SPOKE_B])
    listed: Any = follow("system_sdwan_list_federation_peers", given)
    assert [each["status"] for each in listed["federation_peers"]] == ["revoked"]


def test_nothing_of_the_runbook_was_left_out(story: Story) -> None:
    story.operator.finish()


def _objects(value: object) -> list[Mapping[str, Any]]:
    assert isinstance(value, list)
    return value

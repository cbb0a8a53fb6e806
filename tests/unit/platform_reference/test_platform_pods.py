"""Pod networks on the platform: every rule of the runbook, k3s clusters, what nodes report of their
pods, and what each node gets of them, as a property: packets from pod to pod arrive, and answers too.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import cast

import pytest
from firewall_world import Json, call
from hypothesis import given
from hypothesis import strategies as st
from platform_world import Lab

from netns_lab.platform.compile import compile_network
from netns_lab.platform.errors import ActionError
from netns_lab.platform.intent import (
    Keys,
    KeySource,
    NetworkIntent,
    PeerIntent,
    Role,
    RoutingMode,
    Topology,
)
from netns_lab.platform.pod_intent import K3sRole, PodNode
from netns_lab.platform.revisions import Resource
from powernode.sdwan.v1 import bgp_pb2, flannel_pb2, status_pb2
from powernode.sdwan.v1 import desired_state_pb2 as pb

CREATE = "system_sdwan_create_network"
UPDATE = "system_sdwan_update_network"
CLUSTER = "system_create_k3s_cluster"
PODS = "10.42.0.0/16"


def refused(lab: Lab, action: str, **arguments: object) -> ActionError:
    before = dict(lab.platform.publisher.intents)
    with pytest.raises(ActionError) as caught:
        call(lab, action, **arguments)
    assert dict(lab.platform.publisher.intents) == before
    return caught.value


def set_pods(lab: Lab, prefix: str | None = PODS) -> Json:
    return cast(
        Json, call(lab, UPDATE, network_id=lab.network_id, pod_subnet_prefix=prefix)["network"]
    )


def make_cluster(lab: Lab, *agents: str, server: str = "a", **more: object) -> Json:
    arguments: Json = {
        "network_id": lab.network_id,
        "name": "edge",
        "cni_plugin": "flannel",
        "server_peer_ids": [lab.peers[server]],
        "agent_peer_ids": [lab.peers[name] for name in agents],
        **more,
    }
    return cast(Json, call(lab, CLUSTER, **arguments)["cluster"])


def say_pods(lab: Lab, name: str, subnet: str, *, full: bool = False, **more: object) -> None:
    report = status_pb2.StatusReport(sequence=2, full=full)
    report.flannel.CopyFrom(
        status_pb2.FlannelStatus(
            result=status_pb2.RESULT_OK,
            pod_subnet=subnet,
            **more,  # type: ignore[arg-type]
        )
    )
    lab.platform.observer.take(lab.nodes[name], report, None)


def resources(lab: Lab, name: str) -> list[Resource]:
    return list(lab.current(name).resources.values())


def bootstrap_on(lab: Lab, name: str) -> flannel_pb2.FlannelBootstrap | None:
    found = [e for e in resources(lab, name) if isinstance(e, flannel_pb2.FlannelBootstrap)]
    assert len(found) <= 1
    return found[0] if found else None


def pod_paths(lab: Lab, name: str) -> dict[str, list[str]]:
    names = {peer: name for name, peer in lab.peers.items()}
    return {
        each.prefix: [names[candidate.peer_id] for candidate in each.candidates]
        for each in resources(lab, name)
        if isinstance(each, pb.Path) and each.purpose == pb.PATH_PURPOSE_POD_SUBNET
    }


def node_in(cluster: Json, lab: Lab, name: str) -> Json:
    nodes = cast(list[Json], cluster["nodes"])
    return next(each for each in nodes if each["peer_id"] == lab.peers[name])


def get_cluster(lab: Lab, cluster: Json) -> Json:
    return cast(Json, call(lab, "system_get_k3s_cluster", cluster_id=cluster["id"])["cluster"])


# The prefix of pods.


@pytest.mark.parametrize(
    ("prefix", "rule"),
    [
        ("fd00:abcd:9::/64", "the network's own prefix"),
        ("fd00:abcd::/32", "the network's own prefix"),
        ("10.99.0.0/16", "the network's own overlay_ipv4_prefix"),
        ("10.0.0.0/8", "the network's own overlay_ipv4_prefix"),
        ("192.168.5.0/24", "lan_subnets 192.168.5.0/24 of peer"),
        ("192.168.0.0/16", "lan_subnets 192.168.5.0/24 of peer"),
        ("10.50.1.0/24", "pod_subnet_prefix 10.50.0.0/16 of network ops"),
        ("10.48.0.0/13", "pod_subnet_prefix 10.50.0.0/16 of network ops"),
        ("203.0.113.0/24", "the endpoint 203.0.113.1 of hub-1"),
        ("10.42.0.0/25", "/24 or shorter"),
        ("fd42::/65", "/64 or shorter"),
        ("10.42.0.1/16", "without host bits"),
        ("0.0.0.0/0", "default route"),
        ("127.0.0.0/8", "routed"),
        ("169.254.0.0/16", "routed"),
        ("fe80::/56", "routed"),
        ("banana", "prefix"),
        ("", "prefix"),
    ],
)
def test_a_prefix_that_collides_is_refused_by_rule(star: Lab, prefix: str, rule: str) -> None:
    star.attach("c", lan_subnets=["192.168.5.0/24"])
    call(star, CREATE, name="ops", pod_subnet_prefix="10.50.0.0/16")
    error = refused(
        star,
        CREATE,
        name="new",
        prefix="fd00:abcd:9::/64",
        overlay_ipv4_prefix="10.99.0.0/24",
        pod_subnet_prefix=prefix,
    )
    assert (error.field, rule in error.rule) == ("pod_subnet_prefix", True), error.rule


def test_a_prefix_must_not_cover_a_virtual_ip(star: Lab) -> None:
    made = call(star, CREATE, name="v6", prefix="fd00:abcd:7::/64")["network"]
    assert isinstance(made, dict)
    # A virtual IP is inside its network's /64, and so refused with it.
    error = refused(star, UPDATE, network_id=star.network_id, pod_subnet_prefix="fd00:abcd::/32")
    assert error.field == "pod_subnet_prefix"


@pytest.mark.parametrize("value", [42, True, ["10.42.0.0/16"], {"prefix": PODS}])
def test_a_prefix_of_another_type_is_refused(star: Lab, value: object) -> None:
    for action, more in ((CREATE, {"name": "x"}), (UPDATE, {"network_id": star.network_id})):
        assert refused(star, action, pod_subnet_prefix=value, **more).field == "pod_subnet_prefix"


def test_what_comes_later_must_not_collide_with_pods(star: Lab) -> None:
    set_pods(star)
    peer_id = star.peers["a"]
    for action, field, arguments in (
        (
            "system_sdwan_update_peer_lan_subnets",
            "subnets.0.prefix",
            {"peer_id": peer_id, "subnets": [{"prefix": "10.42.7.0/24"}]},
        ),
        (
            "system_sdwan_update_peer",
            "lan_subnets.0",
            {"peer_id": peer_id, "lan_subnets": ["10.32.0.0/11"]},
        ),
        (
            "system_sdwan_update_peer",
            "endpoint_address",
            {"peer_id": peer_id, "endpoint_address": "10.42.0.9"},
        ),
        (CREATE, "pod_subnet_prefix", {"name": "x", "pod_subnet_prefix": "10.42.0.0/20"}),
        (CREATE, "overlay_ipv4_prefix", {"name": "x", "overlay_ipv4_prefix": "10.42.3.0/24"}),
    ):
        error = refused(star, action, **arguments)
        assert (error.field, PODS in error.rule) == (field, True), error.rule
    call(star, UPDATE, network_id=star.network_id, pod_subnet_prefix="fd42:1::/48")
    error = refused(star, CREATE, name="x", prefix="fd42:1:0:5::/64")
    assert (error.field, "fd42:1::/48" in error.rule) == ("prefix", True)


def test_ipv4_pods_bring_an_ipv4_overlay_and_every_peer_gets_an_address(star: Lab) -> None:
    assert star.interface("a").overlay_ipv4 == ""
    network = set_pods(star)
    assert network["overlay_ipv4_prefix"] == "10.200.0.0/20"
    addresses = {star.interface(name).overlay_ipv4 for name in star.nodes}
    assert len(addresses) == len(star.nodes)
    assert all(ip_address(each) in ip_network("10.200.0.0/20") for each in addresses)
    assert star.seen("a", "hub-1").host_ipv4 == star.interface("hub-1").overlay_ipv4
    star.attach("late")
    assert star.interface("late").overlay_ipv4


def test_an_overlay_that_nobody_chose_overlaps_nothing(star: Lab) -> None:
    star.attach("c", lan_subnets=["10.200.0.0/16"])
    assert set_pods(star)["overlay_ipv4_prefix"] == "10.201.0.0/20"
    other = call(star, CREATE, name="ops", pod_subnet_prefix="10.201.16.0/20")["network"]
    assert isinstance(other, dict)
    assert other["overlay_ipv4_prefix"] == "10.201.32.0/20"


def test_ipv6_pods_need_none(star: Lab) -> None:
    assert set_pods(star, "fd42:1::/56")["overlay_ipv4_prefix"] is None


def test_an_update_that_says_nothing_or_something_unknown_is_refused(star: Lab) -> None:
    assert refused(star, UPDATE, network_id=star.network_id).field == "arguments"
    assert refused(star, UPDATE, network_id=star.network_id, color="red").field == "color"
    assert refused(star, UPDATE, network_id="net-nobody", description="x").field == "network_id"


def test_an_ipv4_overlay_stays_once_it_is_there(star: Lab) -> None:
    set_pods(star)
    for wanted in ("10.77.0.0/24", None):
        error = refused(star, UPDATE, network_id=star.network_id, overlay_ipv4_prefix=wanted)
        assert error.field == "overlay_ipv4_prefix"


# Clusters.


def test_a_prefix_is_immutable_while_a_cluster_references_the_network(star: Lab) -> None:
    set_pods(star)
    set_pods(star, "10.44.0.0/16")  # nobody minds
    cluster = make_cluster(star)
    for wanted in ("10.46.0.0/16", None, "10.44.0.0/15"):
        error = refused(star, UPDATE, network_id=star.network_id, pod_subnet_prefix=wanted)
        assert (error.field, "edge" in error.rule) == ("pod_subnet_prefix", True)
    set_pods(star, "10.44.0.0/16")  # the same again
    call(star, "system_delete_k3s_cluster", cluster_id=cluster["id"])
    assert set_pods(star, "10.46.0.0/16")["pod_subnet_prefix"] == "10.46.0.0/16"


def test_a_prefix_may_be_set_under_clusters_that_are_there(star: Lab) -> None:
    cluster = make_cluster(star, "b")
    assert cluster["status"] == "inactive"
    assert bootstrap_on(star, "a") is None
    set_pods(star)
    assert get_cluster(star, cluster)["status"] == "pending"
    assert bootstrap_on(star, "a") is not None


def test_each_node_is_told_its_bootstrap_and_others_none(star: Lab) -> None:
    set_pods(star)
    cluster = make_cluster(star, "b")
    a, b = bootstrap_on(star, "a"), bootstrap_on(star, "b")
    assert a is not None
    assert b is not None
    assert (a.role, b.role) == (flannel_pb2.K3S_ROLE_SERVER, flannel_pb2.K3S_ROLE_AGENT)
    assert (a.flannel_iface, a.flannel_backend, a.cluster_cidr) == (
        "wg-sdwan-core",
        "host-gw",
        PODS,
    )
    assert bootstrap_on(star, "hub-1") is None
    call(star, "system_remove_k3s_node", cluster_id=cluster["id"], peer_id=star.peers["b"])
    assert bootstrap_on(star, "b") is None
    call(
        star,
        "system_add_k3s_node",
        cluster_id=cluster["id"],
        peer_id=star.peers["b"],
        role="server",
    )
    again = bootstrap_on(star, "b")
    assert again is not None
    assert again.role == flannel_pb2.K3S_ROLE_SERVER
    call(star, "system_sdwan_detach_peer", peer_id=star.peers["b"])
    assert len(cast(list[Json], get_cluster(star, cluster)["nodes"])) == 1


def test_a_cluster_is_ready_when_each_node_says_that_its_k3s_is_told(star: Lab) -> None:
    set_pods(star)
    cluster = make_cluster(star, "b")
    assert node_in(cluster, star, "a")["configured"] is None
    say_pods(star, "a", "")
    assert get_cluster(star, cluster)["status"] == "pending"
    say_pods(star, "b", "", restarted_at_ms=1_000_000)
    ready = get_cluster(star, cluster)
    assert ready["status"] == "ready"
    assert node_in(ready, star, "b")["k3s_restarted_at"] == "1970-01-01T00:16:40.000+00:00"
    report = status_pb2.StatusReport(sequence=3)
    report.flannel.CopyFrom(
        status_pb2.FlannelStatus(result=status_pb2.RESULT_ERROR, message="a foreign file")
    )
    star.platform.observer.take(star.nodes["b"], report, None)
    failed = get_cluster(star, cluster)
    assert failed["status"] == "pending"
    assert node_in(failed, star, "b")["problem"] == "a foreign file"


def test_bad_clusters_are_refused_by_field(star: Lab) -> None:
    set_pods(star)
    good = {"network_id": star.network_id, "name": "x", "cni_plugin": "flannel"}
    a, b = star.peers["a"], star.peers["b"]
    call(star, CREATE, name="ops")
    ops = next(
        n["id"]
        for n in cast(list[Json], call(star, "system_sdwan_list_networks")["networks"])
        if n["name"] == "ops"
    )
    cases: list[tuple[Json, str]] = [
        ({**good, "server_peer_ids": []}, "server_peer_ids"),
        ({**good}, "server_peer_ids"),
        ({**good, "server_peer_ids": ["peer-nobody"]}, "server_peer_ids.0"),
        ({**good, "server_peer_ids": [a], "agent_peer_ids": [b, a]}, "agent_peer_ids.1"),
        ({**good, "server_peer_ids": [a], "cni_plugin": "cilium"}, "cni_plugin"),
        ({**good, "server_peer_ids": a}, "server_peer_ids"),
        ({**good, "server_peer_ids": [a], "name": ""}, "name"),
        ({**good, "server_peer_ids": [a], "network_id": "net-nobody"}, "network_id"),
        ({**good, "server_peer_ids": [a], "network_id": ops}, "server_peer_ids.0"),
        ({**good, "server_peer_ids": [a], "extra": 1}, "extra"),
    ]
    for arguments, field in cases:
        assert refused(star, CLUSTER, **arguments).field == field
    assert call(star, "system_list_k3s_clusters", network_id=star.network_id)["clusters"] == []
    cluster = make_cluster(star, "b")
    assert (
        refused(star, CLUSTER, **{**good, "name": "edge", "server_peer_ids": [a]}).field == "name"
    )
    assert refused(star, CLUSTER, **{**good, "server_peer_ids": [a]}).field == "server_peer_ids.0"
    id_ = cluster["id"]
    for action, arguments, field in (
        ("system_add_k3s_node", {"cluster_id": id_, "peer_id": a, "role": "agent"}, "peer_id"),
        ("system_add_k3s_node", {"cluster_id": id_, "peer_id": a, "role": "king"}, "role"),
        ("system_remove_k3s_node", {"cluster_id": id_, "peer_id": a}, "peer_id"),
        ("system_remove_k3s_node", {"cluster_id": id_, "peer_id": star.peers["hub-1"]}, "peer_id"),
        ("system_get_k3s_cluster", {"cluster_id": "k3s-nobody"}, "cluster_id"),
        ("system_delete_k3s_cluster", {"cluster_id": "k3s-nobody"}, "cluster_id"),
        ("system_sdwan_delete_network", {"network_id": ops, "force": "yes"}, "force"),
    ):
        assert refused(star, action, **arguments).field == field


def test_a_network_with_a_cluster_is_deleted_by_force_alone(star: Lab) -> None:
    set_pods(star)
    cluster = make_cluster(star)
    for name in ("hub-1", "hub-2", "b"):
        call(star, "system_sdwan_detach_peer", peer_id=star.peers[name])
    call(star, "system_sdwan_delete_network", network_id=star.network_id, force=True)
    assert refused(star, "system_get_k3s_cluster", cluster_id=cluster["id"]).field == "cluster_id"
    assert bootstrap_on(star, "a") is None


# What nodes report.


def test_hubs_give_each_nodes_pods_to_that_node_and_to_no_other(star: Lab) -> None:
    set_pods(star)
    make_cluster(star, "b")
    assert pod_paths(star, "a") == {PODS: ["hub-1", "hub-2"]}
    assert pod_paths(star, "hub-1") == {}
    say_pods(star, "a", "10.42.0.0/24")
    say_pods(star, "b", "10.42.1.0/24")
    for hub in ("hub-1", "hub-2"):
        assert pod_paths(star, hub) == {"10.42.0.0/24": ["a"], "10.42.1.0/24": ["b"]}
        assert list(star.seen(hub, "a").permitted_prefixes) == ["10.42.0.0/24"]
    assert pod_paths(star, "a") == {PODS: ["hub-1", "hub-2"]}
    assert PODS in star.seen("a", "hub-1").permitted_prefixes
    assert len(star.events("pods.subnet_reported")) == 2


@pytest.mark.parametrize(
    ("subnet", "why"),
    [
        ("10.42.0.0/24", "is that of peer"),
        ("10.42.0.128/25", "is that of peer"),
        ("10.42.0.0/20", "is that of peer"),
        (PODS, "not a part"),
        ("10.0.0.0/8", "not a part"),
        ("192.168.1.0/24", "not a part"),
        ("fd42::/64", "not a part"),
        ("10.42.1.1/24", "no prefix"),
        ("0.0.0.0/0", "not a part"),
        ("banana", "no prefix"),
    ],
)
def test_nobody_takes_pods_that_are_not_its_own(star: Lab, subnet: str, why: str) -> None:
    set_pods(star)
    cluster = make_cluster(star, "b")
    say_pods(star, "a", "10.42.0.0/24")
    for _ in range(3):
        say_pods(star, "b", subnet)
    assert pod_paths(star, "hub-1") == {"10.42.0.0/24": ["a"]}
    assert list(star.seen("hub-1", "b").permitted_prefixes) == []
    (event,) = star.events("pods.subnet_refused")
    assert why in str(event["because"])
    assert why in str(node_in(get_cluster(star, cluster), star, "b")["problem"])
    say_pods(star, "b", "10.42.1.0/24")
    assert node_in(get_cluster(star, cluster), star, "b")["problem"] is None


def test_who_is_in_no_cluster_has_no_pods(star: Lab) -> None:
    set_pods(star)
    make_cluster(star)
    say_pods(star, "b", "10.42.1.0/24")
    assert pod_paths(star, "hub-1") == {}


def test_a_subnet_stays_while_its_node_is_silent_and_moves_with_its_word(star: Lab) -> None:
    set_pods(star)
    cluster = make_cluster(star, "b")
    say_pods(star, "a", "10.42.0.0/24")
    say_pods(star, "a", "")
    star.report("a", full=True)
    assert pod_paths(star, "hub-1") == {"10.42.0.0/24": ["a"]}
    say_pods(star, "a", "10.42.5.0/24")
    assert pod_paths(star, "hub-1") == {"10.42.5.0/24": ["a"]}
    # What one has left another may have, and who is taken out has none.
    say_pods(star, "b", "10.42.0.0/24")
    assert pod_paths(star, "hub-1") == {"10.42.5.0/24": ["a"], "10.42.0.0/24": ["b"]}
    call(star, "system_remove_k3s_node", cluster_id=cluster["id"], peer_id=star.peers["b"])
    assert pod_paths(star, "hub-1") == {"10.42.5.0/24": ["a"]}


def test_on_a_bgp_network_a_node_announces_its_pods(ibgp: Lab) -> None:
    set_pods(ibgp)
    make_cluster(ibgp, "b")

    def announced(name: str) -> list[str]:
        (instance,) = [e for e in resources(ibgp, name) if isinstance(e, bgp_pb2.BgpInstance)]
        return [each.prefix for each in instance.advertisements if each.description == "pods"]

    assert announced("a") == []
    say_pods(ibgp, "a", "10.42.0.0/24")
    assert announced("a") == ["10.42.0.0/24"]
    assert announced("hub-1") == []
    assert pod_paths(ibgp, "b") == {}
    assert list(ibgp.seen("hub-1", "a").permitted_prefixes) == ["10.42.0.0/24"]
    assert list(ibgp.seen("b", "hub-1").permitted_prefixes).count(PODS) == 1


# As a property.


def peer_intent(number: int, hub: bool, endpoint: bool) -> PeerIntent:
    public = hub or endpoint
    return PeerIntent(
        id=f"peer-{number}",
        node_id=f"node-{number}",
        name=f"n{number}",
        role=Role.HUB if hub else Role.SPOKE,
        host_address=f"fd00:abcd:1::{number + 1:x}",
        host_ipv4=f"10.200.0.{number + 1}",
        listen_port=51820,
        keys=Keys(KeySource.PLATFORM, "k", "", "p", 1, 0),
        endpoint=f"203.0.113.{number + 1}:51820" if public else "",
        publicly_reachable=public,
        lan_subnets=(),
    )


@st.composite
def pod_networks(draw: st.DrawFn) -> NetworkIntent:
    count = draw(st.integers(2, 7))
    hubs = draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3))
    reachable = draw(st.sets(st.integers(0, count - 1)))
    members = draw(st.sets(st.integers(0, count - 1), min_size=1))
    peers = tuple(peer_intent(n, n in hubs, n in reachable) for n in range(count))
    order = draw(st.permutations([f"peer-{n}" for n in sorted(hubs)]))
    return NetworkIntent(
        id="net",
        name="net",
        handle="net",
        prefix="fd00:abcd:1::/64",
        overlay_ipv4_prefix="10.200.0.0/20",
        pod_subnet_prefix=PODS,
        topology=draw(st.sampled_from(list(Topology))),
        peers=peers,
        hub_order=tuple(order),
        pods=tuple(
            PodNode(f"peer-{n}", "c", K3sRole.SERVER, f"10.42.{n}.0/24") for n in sorted(members)
        ),
    )


class Wire:
    """Cryptokey routing as each node is told it."""

    def __init__(self, network: NetworkIntent) -> None:
        compiled = compile_network(network)
        self.network = network
        self.own = {node.peer_id: ip_network(node.subnet) for node in network.pods}
        self.hosts = {ip_address(p.host_ipv4): p.id for p in network.peers}
        self.resources = {p.id: list(compiled.nodes[p.node_id].values()) for p in network.peers}

    def carrier(self, at: str, address: str) -> str | None:
        """The peer that `at` gives an address to: the longest prefix, of a first candidate that may."""
        target = ip_address(address)
        best: tuple[int, str] | None = None
        for each in self.resources[at]:
            if isinstance(each, pb.Peer):
                ways = [(f"{each.host_ipv4}/32", each.id)]
            elif isinstance(each, pb.Path):
                ways = [(each.prefix, each.candidates[0].peer_id)]
            else:
                continue
            for text, peer_id in ways:
                prefix = ip_network(text)
                if prefix.version == target.version and target in prefix:
                    assert self.permitted(at, peer_id, text)
                    if best is None or prefix.prefixlen > best[0]:
                        best = (prefix.prefixlen, peer_id)
        return None if best is None else best[1]

    def permitted(self, at: str, peer_id: str, text: str) -> bool:
        peer = next(e for e in self.resources[at] if isinstance(e, pb.Peer) and e.id == peer_id)
        prefix = ip_network(text)
        permitted = [*peer.permitted_prefixes, f"{peer.host_ipv4}/32", f"{peer.host_address}/128"]
        return any(
            prefix.version == p.version and prefix.subnet_of(p)  # type: ignore[arg-type]
            for p in map(ip_network, permitted)
        )

    def send(self, at: str, source: str, target: str) -> str | None:
        """Where a packet ends up; None: WireGuard drops it on the way."""
        for _ in range(4):
            if (
                ip_address(target) in self.own.get(at, ())
                or self.hosts.get(ip_address(target)) == at
            ):
                return at
            following = self.carrier(at, target)
            if following is None or self.carrier(following, source) != at:
                return None  # nobody, or the far end takes the source from somebody else
            at = following
        return None


@given(pod_networks())
def test_pods_reach_each_other_and_every_node(network: NetworkIntent) -> None:
    wire = Wire(network)
    for member in network.pods:
        source = member.subnet.replace(".0/24", ".7")
        for other in network.pods:
            if other is not member:
                target = other.subnet.replace(".0/24", ".9")
                assert wire.send(member.peer_id, source, target) == other.peer_id
        for peer in network.peers:
            if peer.id != member.peer_id:
                assert wire.send(peer.id, peer.host_ipv4, source) == member.peer_id


@given(pod_networks())
def test_a_changed_subnet_compiles_as_if_it_had_always_been_so(network: NetworkIntent) -> None:
    before = compile_network(replace(network, pods=network.pods[1:]))
    again = compile_network(network, before)
    fresh = compile_network(network)
    assert again.nodes == fresh.nodes


@given(pod_networks())
def test_a_bgp_network_has_no_paths_to_pods(network: NetworkIntent) -> None:
    compiled = compile_network(replace(network, routing_mode=RoutingMode.IBGP))
    for node in compiled.nodes.values():
        for each in node.values():
            assert not (isinstance(each, pb.Path) and each.purpose == pb.PATH_PURPOSE_POD_SUBNET)

"""What follows from a bootstrap elsewhere: readiness waits for the file, the status tells what was
measured, the node forwards, and addresses on the bridge of pods are no way to the node."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import cast

import pytest
from flannel_cases import CORE, CountingK3s, bootstrap, places, room, state

from powernode_agent.control.flannel_document import flannel_document
from powernode_agent.daemon.flannels import k3s_misses, measure_flannel
from powernode_agent.firewall.compile import compile_filter
from powernode_agent.flannel.compile import FILE_NAME, compile_drop_in
from powernode_agent.links.target import compile_links
from powernode_agent.model.change import Phase, Step, Verb
from powernode_agent.model.ruleset import Hook
from powernode_agent.model.status import AgentStatus, FlannelReading, NodeStatus, Result
from powernode_agent.reconcile.ledger import Ledger
from powernode_agent.report.endpoints import InterfaceAddress, endpoint_candidates

WANTED, NONE = state(bootstrap()), state(None)
ENV = "FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={subnet}\nFLANNEL_MTU=1420\nFLANNEL_IPMASQ=true\n"


async def test_the_daemon_is_not_ready_before_k3s_would_find_its_file(tmp_path: Path) -> None:
    flannel = room(tmp_path, CountingK3s(running=False))
    flannel.observe(WANTED)
    assert "not written yet" in k3s_misses(WANTED, flannel)
    assert k3s_misses(NONE, flannel) == ""
    (change,) = flannel.plan(compile_drop_in(WANTED))
    await change.apply()
    assert k3s_misses(WANTED, flannel) == ""
    # Nor once it says something else than wanted.
    (places(tmp_path).directory / FILE_NAME).write_text("# Written by powernode-agent\n")
    flannel.observe(WANTED)
    assert k3s_misses(WANTED, flannel) != ""


@pytest.mark.parametrize("phase", [Phase.DEVICE, Phase.LINK, Phase.GUARD])
def test_nothing_holds_the_file_back(phase: Phase) -> None:
    failed = Step("wireguard", CORE, phase, Verb.ADD)
    assert not failed.hinders(Step("flannel", CORE, Phase.BOOTSTRAP, Verb.CHANGE))


@pytest.mark.parametrize(
    ("network", "subnet", "pods", "other"),
    [
        ("10.42.0.0/16", "10.42.3.1/24", "10.42.3.0/24", None),
        ("10.44.0.0/16", "10.44.3.1/24", None, "10.44.0.0/16"),
        ("10.42.0.0/16", "10.99.3.1/24", None, None),
        ("banana", "10.42.3.1/24", None, None),
    ],
)
async def test_a_subnet_counts_where_flannel_has_the_networks_prefix(
    tmp_path: Path, network: str, subnet: str, pods: str | None, other: str | None
) -> None:
    places(tmp_path).subnet.write_text(ENV.format(network=network, subnet=subnet))
    flannel = room(tmp_path, CountingK3s())
    flannel.observe(WANTED)
    for change in flannel.plan(compile_drop_in(WANTED)):
        await change.apply()
    flannel.observe(WANTED)
    reading = measure_flannel(WANTED, flannel, Ledger(lambda: 0.0))
    assert reading == FlannelReading(
        CORE,
        Result.OK,
        "",
        1_000_500,
        None if pods is None else ip_network(pods),
        None if other is None else ip_network(other),
    )
    assert measure_flannel(NONE, flannel, Ledger(lambda: 0.0)) is None
    assert measure_flannel(None, flannel, Ledger(lambda: 0.0)) is None


def test_unknown_is_null() -> None:
    agent = AgentStatus("1", "6", 0.0, 0)
    assert flannel_document(NodeStatus(1.0, agent, "n", "n", "away"), 2.0) is None
    reading = FlannelReading(CORE, restarted_at_ms=1000)
    found = flannel_document(NodeStatus(1.0, agent, "n", "n", "away", flannel=reading), 3.0)
    assert found == {
        "network_id": "core",
        "result": Result.NOT_MEASURED.value,
        "message": None,
        "k3s_restarted_at": 1.0,
        "k3s_restarted_age_s": 2.0,
        "pod_subnet": None,
        "other_network": None,
    }


def test_a_node_with_pods_forwards_and_clamps_what_it_forwards() -> None:
    for whole, forwards in ((WANTED, True), (NONE, False)):
        target = compile_links(whole, {}, {})[CORE]
        assert target.forwards is forwards
        keys = {setting.key for setting in target.settings}
        assert ("net/ipv4/conf/wg-sdwan-core/forwarding" in keys) is forwards
        before = compile_filter(state(None).networks[CORE], (), 1420)
        found = compile_filter(whole.networks[CORE], (), 1420, before)
        assert (Hook.CLAMP in found.fragment.hooks) is forwards


def test_the_bridge_of_pods_is_no_way_to_the_node() -> None:
    addresses = [
        InterfaceAddress("cni0", ip_address("10.42.3.1")),
        InterfaceAddress("eth0", ip_address("203.0.113.9")),
    ]
    found = {str(each.endpoint.address) for each in endpoint_candidates(WANTED, addresses)}
    assert found == {"203.0.113.9"}


def test_a_document_is_made_of_what_json_has() -> None:
    reading = FlannelReading(CORE, pod_subnet=ip_network("10.42.3.0/24"))
    agent = AgentStatus("1", "6", 0.0, 0)
    found = flannel_document(NodeStatus(1.0, agent, "n", "n", "away", flannel=reading), 3.0)
    assert cast(Mapping[str, object], found)["pod_subnet"] == "10.42.3.0/24"

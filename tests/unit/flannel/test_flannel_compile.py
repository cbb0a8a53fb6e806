"""The file for k3s, byte for byte; and that nothing else passes for one."""

from __future__ import annotations

import pytest
import yaml
from flannel_cases import bootstrap, network, state

from powernode_agent.flannel.compile import compile_drop_in, is_ours, parsed
from powernode_agent.model.flannel import FlannelBootstrap, FlannelBootstrapId, K3sRole
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.values import NetworkId
from powernode_agent.model.violation import ModelError

SERVER = """\
# Written by powernode-agent: pods of this node go over the SD-WAN. Changes are undone.
flannel-iface: "wg-sdwan-core"
flannel-backend: "host-gw"
cluster-cidr: "10.42.0.0/16"
"""
AGENT = """\
# Written by powernode-agent: pods of this node go over the SD-WAN. Changes are undone.
flannel-iface: "wg-sdwan-core"
"""


@pytest.mark.parametrize(
    ("role", "text", "unit"), [(K3sRole.SERVER, SERVER, "k3s"), (K3sRole.AGENT, AGENT, "k3s-agent")]
)
def test_each_role_is_told_what_it_takes(role: K3sRole, text: str, unit: str) -> None:
    found = compile_drop_in(state(bootstrap(role)))
    assert found is not None
    assert (found.text, found.unit) == (text, unit)
    assert is_ours(found.text)
    assert parsed(found.text) == found.text


def test_yaml_reads_text_in_each_value() -> None:
    found = compile_drop_in(state(bootstrap(cidr="fd42:1::/56")))
    assert found is not None
    assert yaml.safe_load(found.text) == {
        "flannel-iface": "wg-sdwan-core",
        "flannel-backend": "host-gw",
        "cluster-cidr": "fd42:1::/56",
    }


def test_without_a_bootstrap_there_is_no_file() -> None:
    assert compile_drop_in(state(None)) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        SERVER + "data-dir: /tmp/evil\n",
        "data-dir: /tmp/evil\n" + SERVER,
        SERVER.replace("wg-sdwan-core", "eth0"),
        SERVER.replace("wg-sdwan-core", 'wg-sdwan-core"\ndata-dir: "/x'),
        SERVER.replace("wg-sdwan-core", "wg-sdwan-toolong"),
        SERVER.replace("host-gw", "vxlan"),
        SERVER.replace("10.42.0.0/16", "10.42.0.1/16"),
        SERVER.replace("10.42.0.0/16", "999.42.0.0/16"),
        SERVER.replace('cluster-cidr: "10.42.0.0/16"\n', ""),
        SERVER.rstrip("\n"),
        SERVER.replace("\n", "\r\n"),
        AGENT + "\n",
        AGENT.replace("# Written", "#  Written"),
    ],
)
def test_nothing_else_passes_for_our_file(text: str) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize(
    ("wanted", "field", "expected"),
    [
        (bootstrap(cidr="10.43.0.0/16"), "cluster_cidr", "pod_subnet_prefix 10.42.0.0/16"),
        (bootstrap(iface="eth0"), "flannel_iface", "wg-sdwan-core"),
        (bootstrap(iface='x"\ndata-dir: "/x'), "flannel_iface", "wg-sdwan-core"),
    ],
)
def test_a_bootstrap_that_does_not_fit_its_network_is_refused(
    wanted: FlannelBootstrap, field: str, expected: str
) -> None:
    with pytest.raises(ModelError) as caught:
        NetworkState(network(), flannel=wanted)
    assert any(v.field == field and expected in v.expected for v in caught.value.violations)


def test_ipv4_pods_need_an_ipv4_next_hop() -> None:
    with pytest.raises(ModelError, match="host-gw needs it as next hop"):
        NetworkState(network(ipv4=False), flannel=bootstrap())


def test_a_network_without_pods_takes_no_bootstrap() -> None:
    with pytest.raises(ModelError, match="none given"):
        NetworkState(network(pods=None), flannel=bootstrap())


def test_another_backend_is_refused() -> None:
    with pytest.raises(ModelError, match="host-gw"):
        FlannelBootstrap(
            FlannelBootstrapId("k"),
            NetworkId("core"),
            K3sRole.SERVER,
            "wg-sdwan-core",
            bootstrap().cluster_cidr,
            "vxlan",
        )

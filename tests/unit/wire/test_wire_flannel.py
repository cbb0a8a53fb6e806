"""Bootstrap fields of k3s from the wire: what is refused, that deltas bring and take them, and how what
is measured of them is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

import pytest
from wire_states import network

from powernode.sdwan.v1 import desired_state_pb2 as pb
from powernode.sdwan.v1 import flannel_pb2 as flannel_pb
from powernode.sdwan.v1 import status_pb2
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.flannel import K3sRole
from powernode_agent.model.status import AgentStatus, FlannelReading, NodeStatus, Result
from powernode_agent.model.values import NetworkId
from powernode_agent.model.violation import ModelError
from powernode_agent.wire.decode import decode_state, rebuild
from powernode_agent.wire.encode import difference_report, full_report, urgent_change
from powernode_agent.wire.resources import FLANNEL_BOOTSTRAP, ResourceChange

CORE = NetworkId("core")


def message() -> pb.DesiredState:
    core = network()
    core.pod_subnet_prefix = "10.42.0.0/16"
    return pb.DesiredState(
        revision=1,
        node=pb.Node(id="n", name="n"),
        networks=[core],
        flannel_bootstraps=[bootstrap()],
    )


def bootstrap(id_: str = "k3s.edge", network_id: str = "core") -> flannel_pb.FlannelBootstrap:
    return flannel_pb.FlannelBootstrap(
        id=id_,
        network_id=network_id,
        role=flannel_pb.K3S_ROLE_SERVER,
        flannel_iface="wg-sdwan-core",
        cluster_cidr="10.42.0.0/16",
    )


def test_a_bootstrap_is_read_and_its_backend_is_host_gw() -> None:
    found = decode_state(message()).networks[CORE].flannel
    assert found is not None
    assert (found.role, found.flannel_backend) == (K3sRole.SERVER, "host-gw")
    assert found.cluster_cidr == ip_network("10.42.0.0/16")


def first(change: Callable[[flannel_pb.FlannelBootstrap], None]) -> pb.DesiredState:
    made = message()
    change(made.flannel_bootstraps[0])
    return made


def with_another(network_id: str) -> pb.DesiredState:
    made = message()
    ops = network("ops", 2)
    ops.pod_subnet_prefix = "10.44.0.0/16"
    made.networks.append(ops)
    other = bootstrap("k3s.other", network_id)
    if network_id == "ops":
        other.flannel_iface, other.cluster_cidr = "wg-sdwan-ops", "10.44.0.0/16"
    made.flannel_bootstraps.append(other)
    return made


@pytest.mark.parametrize(
    ("broken", "field", "expected"),
    [
        (first(lambda b: setattr(b, "role", 0)), "role", "server or agent"),
        (first(lambda b: setattr(b, "role", 9)), "role", "server or agent"),
        (first(lambda b: setattr(b, "flannel_iface", "eth0")), "flannel_iface", "wg-sdwan-core"),
        (first(lambda b: setattr(b, "flannel_iface", "")), "flannel_iface", "wg-sdwan-core"),
        (first(lambda b: setattr(b, "flannel_backend", "vxlan")), "flannel_backend", "host-gw"),
        (first(lambda b: setattr(b, "cluster_cidr", "")), "cluster_cidr", "prefix"),
        (first(lambda b: setattr(b, "cluster_cidr", "10.42.0.1/16")), "cluster_cidr", "host bits"),
        (
            first(lambda b: setattr(b, "cluster_cidr", "10.43.0.0/16")),
            "cluster_cidr",
            "10.42.0.0/16",
        ),
        (first(lambda b: setattr(b, "cluster_cidr", "127.0.0.0/8")), "cluster_cidr", "unicast"),
        (first(lambda b: setattr(b, "network_id", "nope")), "network_id", "networks"),
        (first(lambda b: setattr(b, "id", "k3s edge")), "id", "characters"),
        (with_another("core"), "network_id", "none that has"),
        (with_another("ops"), "network_id", "none beside"),
    ],
)
def test_a_bad_bootstrap_refuses_the_revision(
    broken: pb.DesiredState, field: str, expected: str
) -> None:
    with pytest.raises(ModelError) as caught:
        decode_state(broken)
    assert any(v.field == field and expected in v.expected for v in caught.value.violations)


def test_a_prefix_that_goes_from_under_a_bootstrap_refuses_the_revision() -> None:
    made = message()
    made.networks[0].pod_subnet_prefix = ""
    with pytest.raises(ModelError, match="none given"):
        decode_state(made)


def step(before: DesiredState, *changes: ResourceChange) -> DesiredState:
    return rebuild(before, before.revision + 1, changes)[0]


def test_deltas_bring_change_and_take_it() -> None:
    whole = decode_state(message())
    key = (FLANNEL_BOOTSTRAP, "k3s.edge")
    gone = step(whole, ResourceChange(key, bootstrap(), None))
    assert gone.networks[CORE].flannel is None
    agent = bootstrap()
    agent.role = flannel_pb.K3S_ROLE_AGENT
    back = step(gone, ResourceChange(key, None, agent))
    found = back.networks[CORE].flannel
    assert found is not None
    assert found.role is K3sRole.AGENT
    same = step(back, ResourceChange(key, agent, agent))
    assert same.networks[CORE] is back.networks[CORE]


READING = FlannelReading(
    CORE, Result.OK, restarted_at_ms=1000, pod_subnet=ip_network("10.42.3.0/24")
)


def status(reading: FlannelReading | None) -> NodeStatus:
    return NodeStatus(1.0, AgentStatus("1", "6", 0.0, 0), "n", "n", "connected", flannel=reading)


def test_a_reading_is_reported_when_it_changes_and_is_missed_when_it_goes() -> None:
    full = full_report(status(READING), 1)
    assert full.flannel == status_pb2.FlannelStatus(
        result=status_pb2.RESULT_OK, restarted_at_ms=1000, pod_subnet="10.42.3.0/24"
    )
    assert not full_report(status(None), 1).HasField("flannel")
    assert difference_report(status(READING), status(READING), 2) is None
    other = replace(READING, pod_subnet=None)
    change = difference_report(status(READING), status(other), 2)
    assert change is not None
    assert change.HasField("flannel")
    assert not change.full
    assert urgent_change(status(READING), status(other))
    gone = difference_report(status(READING), status(None), 2)
    assert gone is not None
    assert gone.full


def test_an_error_has_its_message_and_the_rest_has_none() -> None:
    failed = replace(READING, result=Result.ERROR, message="cannot write")
    assert full_report(status(failed), 1).flannel.message == "cannot write"
    assert full_report(status(replace(READING, message="old")), 1).flannel.message == ""

"""A scrape, over a real socket, parsed as Prometheus would."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address

import pytest
from prometheus_client.parser import text_string_to_metric_families

from powernode_agent.model.status import (
    AgentStatus,
    Backend,
    BgpSession,
    BgpState,
    HolderState,
    NetworkStatus,
    NodeStatus,
    PeerState,
    PeerStatus,
    Result,
    SubsystemOutcome,
    VirtualIpReading,
)
from powernode_agent.model.values import Endpoint, NetworkId, PeerId, Revision
from powernode_agent.model.virtual_ip import VirtualIpId
from powernode_agent.observability.metrics import Metrics
from powernode_agent.observability.metrics_server import MetricsError, MetricsServer

NOW = 1_800_000_000.0
CORE = NetworkId("n-1")
SEVEN = Revision(7)


def node(count: int = 3, *, applied: Revision | None = SEVEN) -> NodeStatus:
    states = (PeerState.CONNECTED, PeerState.CONNECTED, None)
    peers = {
        (CORE, PeerId(f"p-{i}")): PeerStatus(
            PeerId(f"p-{i}"),
            CORE,
            f"peer-{i}",
            states[i % 3],
            last_handshake=NOW - 10 - i if states[i % 3] else None,
            endpoint=Endpoint(ip_address("203.0.113.5"), 51820),
        )
        for i in range(count)
    }
    return NodeStatus(
        at=NOW - 1,
        agent=AgentStatus("0.1.0", "6.12", NOW - 100, 2),
        node_id="node-1",
        node_name="edge",
        platform="connected",
        accepted_revision=Revision(8),
        applied_revision=applied,
        networks={
            CORE: NetworkStatus(
                CORE, "core", "core", "wg-sdwan-core", "spoke", "static", backend=Backend.KERNEL
            )
        },
        peers=peers,
        outcomes=(
            SubsystemOutcome("links", CORE, Result.OK, "", NOW),
            SubsystemOutcome("wireguard", CORE, Result.ERROR, "port taken", NOW),
            SubsystemOutcome("paths", None, Result.NOT_MEASURED, "", NOW),
        ),
    )


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[str]], float]:
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def test_a_pass_is_counted_by_trigger_and_subsystem() -> None:
    metrics = Metrics("0.1.0")
    metrics.observe_pass("revision", 0.041, writes={"wireguard": 3}, failed=True)
    metrics.observe_pass("timer", 0.002, drift={"links": 1})
    metrics.revision_rejected()
    found = samples(metrics)
    name = "powernode_agent_reconcile_duration_seconds"
    assert found[f"{name}_count", frozenset({"revision"})] == 1
    assert found[f"{name}_bucket", frozenset({"revision", "0.05"})] == 1
    assert found[f"{name}_bucket", frozenset({"revision", "0.025"})] == 0
    assert found["powernode_agent_reconcile_errors_total", frozenset({"revision"})] == 1
    assert found["powernode_agent_kernel_writes_total", frozenset({"wireguard"})] == 3
    assert found["powernode_agent_drift_repaired_total", frozenset({"links"})] == 1
    assert found["powernode_agent_revisions_rejected_total", frozenset()] == 1


def test_gauges_come_from_the_status() -> None:
    metrics = Metrics("0.1.0", clock=lambda: NOW)
    metrics.set_backend("kernel")
    metrics.set_status(node())
    metrics.set_platform_connected(True)
    metrics.set_certificate_expiry(NOW + 3600)
    found = samples(metrics)
    assert found["powernode_agent_info", frozenset({"0.1.0", "kernel"})] == 1
    assert found["powernode_agent_revision_accepted", frozenset()] == 8
    assert found["powernode_agent_revision_applied", frozenset()] == 7
    assert found["powernode_agent_peers", frozenset({"core", "connected"})] == 2
    assert found["powernode_agent_peers", frozenset({"core", "silent"})] == 0
    assert found["powernode_agent_peers", frozenset({"core", "not_measured"})] == 1
    assert (
        found["powernode_agent_oldest_handshake_age_seconds", frozenset({"core", "connected"})]
        == 11
    )
    assert found["powernode_agent_platform_connected", frozenset()] == 1
    assert found["powernode_agent_certificate_expiry_timestamp_seconds", frozenset()] == NOW + 3600
    assert found["powernode_agent_subsystem_ok", frozenset({"links", "core"})] == 1
    assert found["powernode_agent_subsystem_ok", frozenset({"wireguard", "core"})] == 0


def test_what_is_not_known_has_no_sample() -> None:
    metrics = Metrics("0.1.0")
    assert {name for name, _ in samples(metrics)} == {
        "powernode_agent_info",
        "powernode_agent_revisions_rejected_total",
        "powernode_agent_revisions_rejected_created",
    }
    metrics.set_status(node(applied=None))
    names = {name for name, _ in samples(metrics)}
    assert "powernode_agent_revision_applied" not in names
    assert "powernode_agent_platform_connected" not in names
    assert ("powernode_agent_subsystem_ok", frozenset({"paths", ""})) not in samples(metrics)


def test_more_peers_make_no_more_series() -> None:
    metrics = Metrics("0.1.0")
    metrics.set_status(node(3))
    few = len(samples(metrics))
    metrics.set_status(node(3000))
    assert len(samples(metrics)) == few


@pytest.fixture
async def server() -> AsyncIterator[MetricsServer]:
    server = MetricsServer("127.0.0.1", 0, lambda: b"up 1\n")
    await server.start()
    yield server
    await server.close()


async def request(server: MetricsServer, text: bytes) -> tuple[str, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(text)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


async def test_a_scrape(server: MetricsServer) -> None:
    head, body = await request(server, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 OK")
    assert "Content-Type: text/plain; version=0.0.4" in head
    assert f"Content-Length: {len(body)}" in head
    assert body == b"up 1\n"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.1", "404"),
        (b"POST /metrics HTTP/1.1", "405"),
        (b"nonsense", "400"),
        (b"GET /metrics?a=b HTTP/1.0", "200"),
    ],
)
async def test_other_requests(server: MetricsServer, line: bytes, status: str) -> None:
    head, _ = await request(server, line + b"\r\n\r\n")
    assert head.split(" ")[1] == status


async def test_a_head_request_has_no_body(server: MetricsServer) -> None:
    head, body = await request(server, b"HEAD /metrics HTTP/1.1\r\n\r\n")
    assert "Content-Length: 5" in head
    assert body == b""


async def test_an_endless_request_is_cut_off(server: MetricsServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /metrics HTTP/1.1\r\n" + b"a: b\r\n" * 10_000)
    try:
        assert await reader.read() == b""
    except ConnectionResetError:
        pass
    finally:
        writer.close()


async def test_a_port_in_use_is_a_named_error(server: MetricsServer) -> None:
    second = MetricsServer("127.0.0.1", server.port, lambda: b"")
    with pytest.raises(MetricsError, match="cannot serve metrics"):
        await second.start()


def test_sessions_and_virtual_ips_are_counted_by_state() -> None:
    metrics = Metrics("1.4.2")
    up, down, unknown = PeerId("p-0"), PeerId("p-1"), PeerId("p-2")
    vip = VirtualIpId("v")
    status = replace(
        node(),
        bgp_sessions={
            (CORE, up): BgpSession(CORE, up, BgpState.ESTABLISHED, 5, 12, 3),
            (CORE, down): BgpSession(CORE, down, BgpState.ACTIVE, None, 4, 0),
            (CORE, unknown): BgpSession(CORE, unknown),
        },
        virtual_ips={vip: VirtualIpReading(vip, CORE, HolderState.HOLDING, 0)},
    )
    metrics.set_status(status)
    text = metrics.render().decode()
    for state in ("Established", "Active", "not_measured"):
        assert f'bgp_sessions{{network="core",state="{state}"}} 1.0' in text
    assert 'bgp_prefixes_received{network="core"} 16.0' in text
    assert 'virtual_ips{network="core",state="holding"} 1.0' in text
    metrics.set_status(replace(status, bgp_sessions={(CORE, unknown): BgpSession(CORE, unknown)}))
    assert "bgp_prefixes_received{" not in metrics.render().decode(), "not measured is not zero"

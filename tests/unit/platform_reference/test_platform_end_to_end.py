"""The reference platform over real sockets on loopback: enrolment, mutual TLS, watch, report."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from netns_lab.platform.server import OPTIONS, Running, Settings, run_platform
from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode.sdwan.v1 import agent_service_pb2_grpc as pb_grpc
from powernode.sdwan.v1 import status_pb2


class Identity:
    """A key and the certificate that goes with it."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = b""

    def csr(self) -> str:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody-else")])
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(name)
            .sign(self.key, hashes.SHA256())
        )
        return request.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    settings = Settings(
        state_directory=tmp_path,
        listen=("127.0.0.1:0",),
        enrol_listen=("127.0.0.1:0",),
        control=tmp_path / "control.sock",
        certificate_lifetime=3600,
    )
    async with run_platform(settings, time.time) as platform:
        yield platform


def new_node(running: Running, name: str) -> tuple[str, str]:
    answer = running.platform.call("lab_create_node_instance", {"name": name})
    node, token = answer["node_instance"], answer["enrolment_token"]
    assert isinstance(node, dict)
    assert isinstance(token, str)
    return str(node["id"]), token


def enrolment_stub(channel: grpc.aio.Channel) -> pb_grpc.EnrolmentServiceStub:
    return pb_grpc.EnrolmentServiceStub(channel)  # type: ignore[no-untyped-call]


def agent_stub(channel: grpc.aio.Channel) -> pb_grpc.AgentServiceStub:
    return pb_grpc.AgentServiceStub(channel)  # type: ignore[no-untyped-call]


async def enrol(running: Running, token: str) -> tuple[Identity, pb.EnrollResponse]:
    identity = Identity()
    ca = running.platform.authority.ca_pem.encode()
    credentials = grpc.ssl_channel_credentials(ca)
    async with grpc.aio.secure_channel(running.enrol_address, credentials) as channel:
        stub = enrolment_stub(channel)
        response = await stub.Enroll(
            pb.EnrollRequest(token=token, csr_pem=identity.csr(), agent_version="test"), timeout=10
        )
    identity.certificate = response.certificate_pem.encode()
    return identity, response


def channel_of(running: Running, identity: Identity) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        running.platform.authority.ca_pem.encode(), identity.key_pem(), identity.certificate
    )
    return grpc.aio.secure_channel(running.address, credentials)


async def next_message(stream: object) -> pb.WatchDesiredStateResponse:
    message = await asyncio.wait_for(stream.read(), 10)  # type: ignore[attr-defined]
    assert isinstance(message, pb.WatchDesiredStateResponse)
    return message


async def test_token_works_once_and_certificate_names_the_node(running: Running) -> None:
    node_id, token = new_node(running, "edge-1")
    _, response = await enrol(running, token)
    certificate = x509.load_pem_x509_certificate(response.certificate_pem.encode())
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert [name.value for name in names] == [node_id]
    assert response.node_id == node_id
    assert response.platform_address == running.address
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrol(running, token)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert token not in str(refused.value.details())


async def test_malformed_request_does_not_use_the_token_up(running: Running) -> None:
    _, token = new_node(running, "edge-1")
    credentials = grpc.ssl_channel_credentials(running.platform.authority.ca_pem.encode())
    async with grpc.aio.secure_channel(running.enrol_address, credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await enrolment_stub(channel).Enroll(
                pb.EnrollRequest(token=token, csr_pem="no request"), timeout=10
            )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await enrol(running, token)


async def test_watch_gets_a_snapshot_then_a_small_delta_and_resumes(running: Running) -> None:
    call = running.platform.call
    network = call("system_sdwan_create_network", {"name": "core"})["network"]
    assert isinstance(network, dict)
    hub_id, token = new_node(running, "hub-1")
    attach = {"network_id": network["id"], "publicly_reachable": True}
    call(
        "system_sdwan_attach_peer",
        {**attach, "node_instance_id": hub_id, "endpoint_address": "192.0.2.1"},
    )
    for number in range(30):
        node_id, _ = new_node(running, f"spoke-{number}")
        call(
            "system_sdwan_attach_peer",
            {"network_id": network["id"], "node_instance_id": node_id},
        )
    identity, _ = await enrol(running, token)
    async with channel_of(running, identity) as channel:
        stub = agent_stub(channel)
        stream = stub.WatchDesiredState(pb.WatchDesiredStateRequest(agent_version="test"))
        first = await next_message(stream)
        assert first.snapshot.count == 1
        assert len(first.snapshot.part.peers) == 30
        assert first.snapshot.part.node.id == hub_id
        late, _ = new_node(running, "spoke-late")
        call("system_sdwan_attach_peer", {"network_id": network["id"], "node_instance_id": late})
        second = await next_message(stream)
        assert second.delta.base_revision == first.snapshot.part.revision
        assert [peer.name for peer in second.delta.upserts.peers] == ["spoke-late"]
        assert second.ByteSize() < 400
        stream.cancel()

        resumed = stub.WatchDesiredState(
            pb.WatchDesiredStateRequest(
                have_revision=first.snapshot.part.revision, have_digest=first.snapshot.digest
            )
        )
        assert (await next_message(resumed)).delta == second.delta
        resumed.cancel()
        current = stub.WatchDesiredState(
            pb.WatchDesiredStateRequest(
                have_revision=second.delta.upserts.revision, have_digest=second.delta.digest
            )
        )
        greeting = await next_message(current)
        assert greeting.up_to_date.revision == second.delta.upserts.revision
        current.cancel()
        foreign = stub.WatchDesiredState(
            pb.WatchDesiredStateRequest(
                have_revision=second.delta.upserts.revision, have_digest=bytes(16)
            )
        )
        assert (await next_message(foreign)).WhichOneof("message") == "snapshot"
        foreign.cancel()


async def test_a_node_that_is_ahead_of_a_restored_platform_gets_a_number_of_its_own(
    running: Running,
) -> None:
    node_id, token = new_node(running, "edge-1")
    identity, _ = await enrol(running, token)
    async with channel_of(running, identity) as channel:
        stream = agent_stub(channel).WatchDesiredState(
            pb.WatchDesiredStateRequest(
                agent_version="test", have_revision=150, have_digest=bytes(16)
            )
        )
        message = await next_message(stream)
        stream.cancel()
    assert message.snapshot.part.revision == 151
    assert running.platform.revision(node_id) == 151
    ahead = [each for each in running.platform.events() if each["event"] == "node.ahead"]
    assert [(each["has"], each["becomes"]) for each in ahead] == [(150, 151)]


def test_a_node_whose_connection_died_does_not_count_as_reporting_for_long() -> None:
    options = dict(OPTIONS)
    noticed = options["grpc.keepalive_time_ms"] + options["grpc.http2.ping_timeout_ms"]
    assert noticed <= 15_000


async def test_strangers_get_no_further_than_the_handshake(running: Running) -> None:
    stranger = Identity()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node-x")])
    own_ca = running.platform.authority.certificate
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(stranger.key.public_key())
        .serial_number(1)
        .not_valid_before(own_ca.not_valid_before_utc)
        .not_valid_after(own_ca.not_valid_after_utc)
        .sign(stranger.key, hashes.SHA256())
    )
    stranger.certificate = certificate.public_bytes(serialization.Encoding.PEM)
    async with channel_of(running, stranger) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await agent_stub(channel).RenewCertificate(
                pb.RenewCertificateRequest(csr_pem=stranger.csr()), timeout=10
            )
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_renewal_gives_the_same_node_a_newer_certificate(running: Running) -> None:
    node_id, token = new_node(running, "edge-1")
    identity, first = await enrol(running, token)
    running.platform.call("lab_set_certificate_lifetime", {"seconds": 7200.0})
    async with channel_of(running, identity) as channel:
        renewed = await agent_stub(channel).RenewCertificate(
            pb.RenewCertificateRequest(csr_pem=Identity().csr()), timeout=10
        )
    old = x509.load_pem_x509_certificate(first.certificate_pem.encode())
    new = x509.load_pem_x509_certificate(renewed.certificate_pem.encode())
    assert new.subject == old.subject
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert new.serial_number != old.serial_number
    evidence = running.platform.call("lab_node_reports", {"node_instance_id": node_id})
    certificates = evidence["certificates"]
    assert isinstance(certificates, list)
    assert len(certificates) == 2


async def test_a_gap_in_the_reports_ends_the_stream(running: Running) -> None:
    node_id, token = new_node(running, "edge-1")
    identity, _ = await enrol(running, token)
    async with channel_of(running, identity) as channel:
        call = agent_stub(channel).ReportStatus()
        report = status_pb2.StatusReport(sequence=1, full=True, applied_revision=7)
        await call.write(pb.ReportStatusRequest(report=report))
        await until(lambda: running.platform.observation(node_id).online)
        await call.write(pb.ReportStatusRequest(report=status_pb2.StatusReport(sequence=3)))
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(call, 10)
    assert ended.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    seen = running.platform.observation(node_id)
    # The caller may hear of the end before the server has tidied up.
    await until(lambda: not seen.online)
    assert seen.report is not None
    assert seen.report.applied_revision == 7
    assert seen.observed_address == "127.0.0.1"


async def test_control_socket_answers_results_and_errors(running: Running, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "control.sock"))
    requests = [
        {"action": "lab_ping", "arguments": {}},
        {"action": "system_sdwan_create_network", "arguments": {"name": "a", "prefix": "::/0"}},
        {"action": "nonsense"},
    ]
    answers = []
    for request in requests:
        writer.write(json.dumps(request).encode() + b"\n")
        answers.append(json.loads(await asyncio.wait_for(reader.readline(), 10)))
    writer.close()
    assert answers[0]["result"]["pong"] is True
    assert answers[1]["error"]["field"] == "prefix"
    assert answers[2]["error"]["field"] == "action"


async def until(condition: object) -> None:
    """Polls with a deadline."""
    assert callable(condition)
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "did not happen within 10 s"
        await asyncio.sleep(0.01)

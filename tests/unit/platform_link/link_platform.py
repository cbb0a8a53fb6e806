"""A platform for tests: real gRPC over real TLS on loopback, with a CA of its own.

It serves just enough of the contract to be told what to do: keep numbered revisions, push deltas,
misbehave on request. Digests are the revision in 16 bytes; what a state means is not this room's
business.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode.sdwan.v1 import desired_state_pb2
from powernode_agent.model.violation import Violation
from powernode_agent.platform.identity import Identity
from powernode_agent.platform.source import (
    Away,
    Connected,
    DeltaOffer,
    LinkState,
    Offer,
    Position,
    Snapshot,
    Verdict,
)

NODE = "node-1"
SERVER_OPTIONS = (
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.so_reuseport", 0),
)


def digest_of(revision: int) -> bytes:
    return revision.to_bytes(16, "big")


async def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Waits until `condition` holds; fails after `seconds`."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"never happened: {what}")
        await asyncio.sleep(0.005)


class Authority:
    """A throw-away CA."""

    def __init__(self, name: str = "test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._build(self._name, self._key.public_key(), 3600.0, 0.0, None)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, csr_pem: str, name: str, seconds: float = 3600.0, age: float = 60.0) -> str:
        """A client certificate for the key of a request."""
        request = x509.load_pem_x509_csr(csr_pem.encode())
        assert request.is_signature_valid
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._build(subject, request.public_key(), seconds, age, [])
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def server(self) -> tuple[bytes, bytes]:
        """Key and certificate of a server on 127.0.0.1."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "platform")])
        names: list[x509.GeneralName] = [
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.DNSName("localhost"),
        ]
        made = self._build(subject, key.public_key(), 3600.0, 60.0, names)
        return (
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            made.public_bytes(serialization.Encoding.PEM),
        )

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey | object,
        seconds: float,
        age: float,
        names: list[x509.GeneralName] | None,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(seconds=age))
            .not_valid_after(now + datetime.timedelta(seconds=seconds))
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256())


@dataclass
class FakeIdentities:
    """An identity store in memory."""

    identity: Identity | None = None
    saved: list[Identity] = field(default_factory=list)

    def load(self) -> Identity | None:
        return self.identity

    def save(self, identity: Identity) -> None:
        self.identity = identity
        self.saved.append(identity)


class RecordingSink:
    """A sink that follows revisions and records everything. `judge` may overrule its verdicts."""

    def __init__(self) -> None:
        self.revision = 0
        self.offers: list[Offer] = []
        self.delivered: list[int] = []
        self.refused: list[Violation] = []
        self.states: list[LinkState] = []
        self.judge: Callable[[Offer], Verdict | None] = lambda offer: None

    async def offer(self, offer: Offer) -> Verdict:
        self.offers.append(offer)
        overruled = self.judge(offer)
        if overruled is not None:
            return overruled
        if isinstance(offer, Snapshot):
            self.revision = offer.chunks[0].part.revision
        elif isinstance(offer, DeltaOffer):
            if offer.delta.base_revision != self.revision:
                return Verdict.NEED_SNAPSHOT
            self.revision = offer.delta.upserts.revision
        else:
            self.revision = offer.message.revision
        self.delivered.append(self.revision)
        return Verdict.ACCEPTED

    def refuse(self, violations: tuple[Violation, ...]) -> None:
        self.refused.extend(violations)

    def position(self) -> Position:
        return Position(self.revision, digest_of(self.revision) if self.revision else b"")

    def link_state(self, state: LinkState) -> None:
        self.states.append(state)

    @property
    def connected(self) -> bool:
        return bool(self.states) and isinstance(self.states[-1], Connected)

    @property
    def away_reason(self) -> str:
        last = self.states[-1] if self.states else None
        return last.reason if isinstance(last, Away) else ""


def chunk(revision: int, index: int = 0, count: int = 1) -> pb.WatchDesiredStateResponse:
    """A part of a snapshot without resources."""
    return pb.WatchDesiredStateResponse(
        snapshot=pb.SnapshotChunk(
            index=index,
            count=count,
            part=desired_state_pb2.DesiredState(revision=revision),
            digest=digest_of(revision) if index == count - 1 else b"",
        )
    )


def delta(base: int, revision: int) -> pb.WatchDesiredStateResponse:
    """A delta without resources."""
    return pb.WatchDesiredStateResponse(
        delta=pb.Delta(
            base_revision=base,
            upserts=desired_state_pb2.DesiredState(revision=revision),
            digest=digest_of(revision),
        )
    )


WatchScript = Callable[[pb.WatchDesiredStateRequest], AsyncIterator[pb.WatchDesiredStateResponse]]


class FakePlatform:
    """Both services on loopback. Enrolment on one port, everything else on another with mTLS."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.tokens = {"good-token"}
        self.revision = 1
        self.certificate_seconds = 3600.0
        self.watches: list[pb.WatchDesiredStateRequest] = []
        self.watching = 0
        self.unwatched = 0
        self.renewals = 0
        self.script: WatchScript | None = None
        self.reports: list[list[pb.ReportStatusRequest]] = []
        self.report_gate: Callable[[], Awaitable[object]] | None = None
        self.enrolment_port = 0
        self.agent_port = 0
        self._changed = asyncio.Condition()
        self._servers: list[grpc.aio.Server] = []

    async def start(self) -> None:
        key, certificate = self.authority.server()
        open_credentials = grpc.ssl_server_credentials([(key, certificate)])
        mutual = grpc.ssl_server_credentials(
            [(key, certificate)],
            root_certificates=self.authority.pem.encode(),
            require_client_auth=True,
        )
        enrolment = grpc.aio.server(options=SERVER_OPTIONS)
        enrolment.add_generic_rpc_handlers((self._enrolment_handlers(),))
        self.enrolment_port = enrolment.add_secure_port(
            f"127.0.0.1:{self.enrolment_port}", open_credentials
        )
        agents = grpc.aio.server(options=SERVER_OPTIONS)
        agents.add_generic_rpc_handlers((self._agent_handlers(),))
        self.agent_port = agents.add_secure_port(f"127.0.0.1:{self.agent_port}", mutual)
        self._servers = [enrolment, agents]
        for server in self._servers:
            await server.start()

    async def stop(self) -> None:
        for server in self._servers:
            await server.stop(0)
        self._servers = []

    @property
    def enrolment_address(self) -> str:
        return f"127.0.0.1:{self.enrolment_port}"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.agent_port}"

    async def push(self) -> int:
        """The next revision, to every watcher."""
        async with self._changed:
            self.revision += 1
            self._changed.notify_all()
        return self.revision

    def _enrolment_handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "powernode.sdwan.v1.EnrolmentService",
            {
                "Enroll": grpc.unary_unary_rpc_method_handler(
                    self._enroll,
                    pb.EnrollRequest.FromString,
                    pb.EnrollResponse.SerializeToString,
                )
            },
        )

    def _agent_handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            "powernode.sdwan.v1.AgentService",
            {
                "WatchDesiredState": grpc.unary_stream_rpc_method_handler(
                    self._watch,
                    pb.WatchDesiredStateRequest.FromString,
                    pb.WatchDesiredStateResponse.SerializeToString,
                ),
                "ReportStatus": grpc.stream_unary_rpc_method_handler(
                    self._report,
                    pb.ReportStatusRequest.FromString,
                    pb.ReportStatusResponse.SerializeToString,
                ),
                "RenewCertificate": grpc.unary_unary_rpc_method_handler(
                    self._renew,
                    pb.RenewCertificateRequest.FromString,
                    pb.RenewCertificateResponse.SerializeToString,
                ),
            },
        )

    async def _enroll(
        self,
        request: pb.EnrollRequest,
        context: grpc.aio.ServicerContext[pb.EnrollRequest, pb.EnrollResponse],
    ) -> pb.EnrollResponse:
        if request.token not in self.tokens:
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED, f"token {request.token} is unknown"
            )
        self.tokens.discard(request.token)
        return pb.EnrollResponse(
            node_id=NODE,
            certificate_pem=self.authority.issue(
                request.csr_pem, NODE, self.certificate_seconds, age=0.0
            ),
            ca_pem=self.authority.pem,
            platform_address=self.address,
        )

    async def _renew(
        self,
        request: pb.RenewCertificateRequest,
        context: grpc.aio.ServicerContext[pb.RenewCertificateRequest, pb.RenewCertificateResponse],
    ) -> pb.RenewCertificateResponse:
        self.renewals += 1
        names = context.auth_context()["x509_common_name"]
        assert [name.decode() for name in names] == [NODE]
        return pb.RenewCertificateResponse(
            certificate_pem=self.authority.issue(
                request.csr_pem, NODE, self.certificate_seconds, age=0.0
            ),
            ca_pem=self.authority.pem,
        )

    async def _watch(
        self,
        request: pb.WatchDesiredStateRequest,
        context: grpc.aio.ServicerContext[
            pb.WatchDesiredStateRequest, pb.WatchDesiredStateResponse
        ],
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        self.watches.append(request)
        self.watching += 1
        try:
            async for response in (self.script or self._follow)(request):
                yield response
        finally:
            self.watching -= 1
            self.unwatched += self.watching == 0

    async def _follow(
        self, request: pb.WatchDesiredStateRequest
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        sent = request.have_revision
        if sent == 0 or request.have_digest != digest_of(sent):
            sent = self.revision
            for index in range(3):
                yield chunk(sent, index, 3)
        elif sent == self.revision:
            yield pb.WatchDesiredStateResponse(up_to_date=pb.UpToDate(revision=sent))
        while True:
            async with self._changed:
                while self.revision <= sent:
                    await self._changed.wait()
            yield delta(sent, sent + 1)
            sent += 1

    async def _report(
        self,
        requests: AsyncIterator[pb.ReportStatusRequest],
        context: grpc.aio.ServicerContext[pb.ReportStatusRequest, pb.ReportStatusResponse],
    ) -> pb.ReportStatusResponse:
        taken: list[pb.ReportStatusRequest] = []
        self.reports.append(taken)
        async for request in requests:
            taken.append(request)
            if self.report_gate is not None:
                await self.report_gate()
        return pb.ReportStatusResponse(reports=len(taken))

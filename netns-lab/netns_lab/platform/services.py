"""The gRPC services: thin, each a few lines between the wire and `core`.

Who calls is told by the client certificate of the connection, on each call, and by nothing else. A
report stream with a gap in its numbers is ended, so that the node starts over with a full report: a
report that was lost unnoticed would leave everyone blind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

import grpc
import structlog

from netns_lab.platform.authority import RequestError
from netns_lab.platform.core import Platform
from netns_lab.platform.errors import TokenError
from netns_lab.platform.feeds import Watcher
from netns_lab.platform.reachability import observed_address
from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode.sdwan.v1 import agent_service_pb2_grpc as pb_grpc

log = structlog.get_logger()

Request = TypeVar("Request")
Response = TypeVar("Response")


@dataclass(slots=True, eq=False)
class Enrolment(pb_grpc.EnrolmentServiceServicer):
    """`EnrolmentService`. `platform_address` is what enrolled nodes connect to from then on."""

    platform: Platform
    platform_address: str

    async def Enroll(  # noqa: N802 - the contract's name
        self,
        request: pb.EnrollRequest,
        context: grpc.aio.ServicerContext[pb.EnrollRequest, pb.EnrollResponse],
    ) -> pb.EnrollResponse:
        """Token and request in, certificate out."""
        try:
            node_id, issued = self.platform.enrol(request.token, request.csr_pem)
        except TokenError as error:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(error))
        except RequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return pb.EnrollResponse(
            node_id=node_id,
            certificate_pem=issued.pem,
            ca_pem=self.platform.authority.ca_pem,
            platform_address=self.platform_address,
        )


@dataclass(slots=True, eq=False)
class AgentLink(pb_grpc.AgentServiceServicer):
    """`AgentService`."""

    platform: Platform

    async def WatchDesiredState(  # noqa: N802 - the contract's name
        self,
        request: pb.WatchDesiredStateRequest,
        context: grpc.aio.ServicerContext[
            pb.WatchDesiredStateRequest, pb.WatchDesiredStateResponse
        ],
    ) -> AsyncIterator[pb.WatchDesiredStateResponse]:
        """Everything from the revision the node has to now, then each change as it comes."""
        node_id = await self._caller(context)
        feed = self.platform.feed(node_id)
        if feed is None:
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"there is no desired state of {node_id}"
            )
        watcher = Watcher()
        feed.watchers.append(watcher)
        log.info("watch.opened", node_instance_id=node_id, have=request.have_revision)
        self.platform.resume(node_id, request.have_revision, request.have_digest)
        revision, digest, greeted = request.have_revision, request.have_digest, False
        try:
            while True:
                # Cleared before the look, so that a change during the sends below is not missed.
                watcher.wake.clear()
                while watcher.raw:
                    yield watcher.raw.popleft()
                updates = feed.updates(revision, digest)
                revision, digest = feed.current.revision, feed.current.digest
                if not updates and not greeted:
                    yield pb.WatchDesiredStateResponse(up_to_date=pb.UpToDate(revision=revision))
                greeted = True
                for update in updates:
                    yield update
                await watcher.wake.wait()
        finally:
            feed.watchers.remove(watcher)
            log.info("watch.closed", node_instance_id=node_id)

    async def ReportStatus(  # noqa: N802 - the contract's name
        self,
        request_iterator: AsyncIterator[pb.ReportStatusRequest],
        context: grpc.aio.ServicerContext[pb.ReportStatusRequest, pb.ReportStatusResponse],
    ) -> pb.ReportStatusResponse:
        """Takes reports until the node ends the stream."""
        node_id = await self._caller(context)
        source = observed_address(context.peer())
        taken = 0
        self.platform.observer.opened(node_id)
        try:
            async for request in request_iterator:
                report = request.report
                if report.sequence != taken + 1 or (taken == 0 and not report.full):
                    await context.abort(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"sequence: must be {taken + 1}, the first report full; got"
                        f" {report.sequence}, {'full' if report.full else 'partial'}",
                    )
                taken += 1
                self.platform.observer.take(node_id, report, source)
        finally:
            self.platform.observer.closed(node_id)
        return pb.ReportStatusResponse(reports=taken)

    async def RenewCertificate(  # noqa: N802 - the contract's name
        self,
        request: pb.RenewCertificateRequest,
        context: grpc.aio.ServicerContext[pb.RenewCertificateRequest, pb.RenewCertificateResponse],
    ) -> pb.RenewCertificateResponse:
        """A newer certificate for the same node."""
        node_id = await self._caller(context)
        try:
            issued = self.platform.renew(node_id, request.csr_pem)
        except RequestError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return pb.RenewCertificateResponse(
            certificate_pem=issued.pem, ca_pem=self.platform.authority.ca_pem
        )

    async def _caller(self, context: grpc.aio.ServicerContext[Request, Response]) -> str:
        """The node that the connection's certificate names."""
        names = list(context.auth_context().get("x509_common_name", ()))
        node_id = names[0].decode() if names else ""
        if not self.platform.knows_node(node_id):
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "the certificate names no node of this platform"
            )
        return node_id

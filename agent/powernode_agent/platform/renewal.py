"""Keeps the node enrolled: the first identity, and each next one in time.

A certificate is renewed at two thirds of its life, so that a platform may be away for the last third
before anything breaks. A new identity is stored first and used then: a crash in between costs nothing.
An expired certificate is replaced with a token if there is one; without, the operator is told what to
type. Attempts that fail leave the running stream alone.
"""

from __future__ import annotations

import asyncio
from typing import Final

import grpc.aio
import structlog

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode_agent.errors import AgentError
from powernode_agent.platform import calls
from powernode_agent.platform.backoff import Backoff
from powernode_agent.platform.clock import Clock
from powernode_agent.platform.credentials import KeyMaker, check_belongs, make_key, validity
from powernode_agent.platform.enrolment import EnrolmentPoint, enrol
from powernode_agent.platform.errors import (
    ENROL_COMMAND,
    EnrolmentRefusedError,
    IdentityMissingError,
    explain,
)
from powernode_agent.platform.identity import Identity, IdentityFile
from powernode_agent.platform.link import Link
from powernode_agent.platform.telling import Telling

log = structlog.get_logger()

_LOOK: Final = 30.0
"""Seconds between looks at the wall clock, which may step, and at the stored identity, which an
operator may have replaced: `enrol` has to help a running agent too."""

_NEVER: Final = float("inf")
"""An attempt that failed is never forgiven for having lasted."""

_TIMEOUT: Final = 10.0
"""Seconds a call may take."""


class Keeper:
    """Gets an identity and keeps it in date."""

    def __init__(
        self,
        link: Link,
        identities: IdentityFile,
        enrolment: EnrolmentPoint | None,
        telling: Telling,
        clock: Clock,
        version: str,
        new_key: KeyMaker = make_key,
    ) -> None:
        self._link = link
        self._identities = identities
        self._enrolment = enrolment
        self._telling = telling
        self._clock = clock
        self._version = version
        self._new_key = new_key
        self._unreadable = ""

    async def run(self) -> None:
        """Keeps the link's identity in date until cancelled."""
        identity = await self._first()
        await self._link.present(identity)
        while True:
            identity = await self._due(identity) or await self._next(identity)
            await self._link.present(identity)

    async def _due(self, identity: Identity) -> Identity | None:
        """Waits until `identity` has to be renewed; another one if it was replaced meanwhile."""
        due = validity(identity.certificate_pem).renewal_due
        while (left := due - self._clock.unix()) > 0:
            await self._clock.sleep(min(left, _LOOK))
            replaced = await self._replaced(identity)
            if replaced is not None:
                return replaced
        return None

    async def _replaced(self, identity: Identity) -> Identity | None:
        """The stored identity, if somebody else stored one that is good."""
        try:
            stored = await asyncio.to_thread(self._identities.load)
        except AgentError as error:
            # What is in memory still works; the next start is when this would hurt.
            if str(error) != self._unreadable:
                self._unreadable = str(error)
                log.warning("identity.unreadable", error=self._unreadable)
            return None
        if stored is None or stored == identity or self._expired(stored):
            return None
        log.info("identity.replaced", node=stored.node_id)
        return stored

    async def _first(self) -> Identity:
        """The stored identity, or a new one for the token; tries until there is one."""
        away = Backoff(0.2, 30.0, _NEVER)
        refused = Backoff(5.0, 60.0, _NEVER)
        while True:
            try:
                return await self._stored_or_enrolled()
            except (EnrolmentRefusedError, IdentityMissingError) as error:
                self._telling.away(error)
                await self._clock.sleep(refused.failed(0.0))
            except AgentError as error:
                self._telling.away(error)
                await self._clock.sleep(away.failed(0.0))

    async def _stored_or_enrolled(self) -> Identity:
        stored = await asyncio.to_thread(self._identities.load)
        if stored is not None and not self._expired(stored):
            return stored
        enrolled = await self._enrol()
        if enrolled is not None:
            return enrolled
        if stored is not None:
            # The watch says that it is out of date and what to do; and the clock may be what is wrong.
            return stored
        raise IdentityMissingError(
            "this node is not enrolled",
            expected="an identity in the state directory, or an enrolment token",
            action=f"get a token from the platform and run `{ENROL_COMMAND}`",
        )

    async def _next(self, identity: Identity) -> Identity:
        """The successor of `identity`; tries until there is one."""
        life = validity(identity.certificate_pem)
        # Ten attempts and more fit into the last third, whatever the length of the life.
        backoff = Backoff(min(1.0, life.life / 300), min(600.0, life.life / 30), _NEVER)
        told = ""
        while True:
            try:
                replaced = await self._replaced(identity)
                if replaced is not None:
                    return replaced
                if self._expired(identity):
                    enrolled = await self._enrol()
                    if enrolled is not None:
                        return enrolled
                return await self._renew(identity)
            except AgentError as error:
                left = life.not_after - self._clock.unix()
                # Half of the time for retries is gone: now somebody should look.
                level = "warning" if left < life.life / 6 else "info"
                if level != told:
                    told = level
                    tell = log.warning if level == "warning" else log.info
                    tell("certificate.renewal_failed", error=str(error), seconds_left=round(left))
            await self._clock.sleep(backoff.failed(0.0))

    async def _renew(self, identity: Identity) -> Identity:
        pair = self._new_key()
        connection = await self._link.connection()
        async with connection.held():
            try:
                response = await calls.renew(
                    connection.channel,
                    pb.RenewCertificateRequest(csr_pem=pair.csr_pem),
                    _TIMEOUT,
                )
            except grpc.aio.AioRpcError as error:
                raise explain(error.code(), error.details(), identity.platform_address) from None
        check_belongs(response.certificate_pem, pair.key_pem, response.ca_pem, identity.node_id)
        renewed = Identity(
            node_id=identity.node_id,
            certificate_pem=response.certificate_pem,
            key_pem=pair.key_pem,
            ca_pem=response.ca_pem,
            platform_address=identity.platform_address,
        )
        await asyncio.to_thread(self._identities.save, renewed)
        log.info("certificate.renewed", node=renewed.node_id)
        return renewed

    async def _enrol(self) -> Identity | None:
        """A new identity for the token; None if there is no token."""
        point = self._enrolment
        token = None if point is None else point.token()
        if point is None or token is None:
            return None
        identity = await enrol(
            token,
            point.address,
            point.ca_pem(),
            agent_version=self._version,
            timeout=_TIMEOUT,
            new_key=self._new_key,
        )
        await asyncio.to_thread(self._identities.save, identity)
        return identity

    def _expired(self, identity: Identity) -> bool:
        return validity(identity.certificate_pem).expired(self._clock.unix())

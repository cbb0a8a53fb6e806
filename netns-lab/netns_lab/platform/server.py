"""The platform's process: two gRPC listeners, HTTPS for users, the control socket, and the clock that
moves things on.

Enrolment has a listener of its own, because it is the one call made without a client certificate; the
other listener asks for one before a byte of gRPC is exchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import grpc
import structlog

from netns_lab.platform.authority import KeyPair
from netns_lab.platform.control import serve_control
from netns_lab.platform.core import Platform, open_platform
from netns_lab.platform.errors import PlatformError
from netns_lab.platform.http_app import make_app
from netns_lab.platform.http_bootstrap import PATH as BOOTSTRAP_PATH
from netns_lab.platform.http_server import serve_http
from netns_lab.platform.observer import Clock
from netns_lab.platform.reachability import Address
from netns_lab.platform.services import AgentLink, Enrolment
from powernode.sdwan.v1 import agent_service_pb2_grpc as pb_grpc

log = structlog.get_logger()

TICK_SECONDS: Final = 0.25
"""How often hold-downs and deadlines are looked at; reports are acted on as they come."""
_GRACE_SECONDS: Final = 0.2
OPTIONS: Final = (
    ("grpc.so_reuseport", 0),  # a second platform on the same port is a mistake, not a helper
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Without it the answer to a keepalive is waited for a minute, whatever keepalive_timeout_ms says
    # (measured, grpcio 1.85): a dead node would count as reporting for so long.
    ("grpc.http2.ping_timeout_ms", 5_000),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """`listen`, `enrol_listen` and `http_listen` are "host:port"; port 0 takes a free one. `advertise`
    is what enrolled nodes are told to connect to, empty: the first of `listen`; `http_advertise` is
    what users are given in a link, empty: the first of `http_listen`, which may be none."""

    state_directory: Path
    listen: tuple[str, ...]
    enrol_listen: tuple[str, ...]
    control: Path
    certificate_lifetime: float
    advertise: str = ""
    http_listen: tuple[str, ...] = ()
    http_advertise: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A platform that serves, and where. `ticking` ends only by a defect, and then so must the process:
    a platform whose clock stands still would go on looking healthy."""

    platform: Platform
    address: str
    enrol_address: str
    ticking: asyncio.Task[None]
    http_address: str = ""


@contextlib.asynccontextmanager
async def run_platform(settings: Settings, clock: Clock) -> AsyncIterator[Running]:
    """Serves for as long as the context is open. Raises `PlatformError` when it cannot."""
    platform = open_platform(
        settings.state_directory,
        clock,
        settings.certificate_lifetime,
        asyncio.get_running_loop().call_later,
    )
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(platform.close)
        web = (*settings.http_listen, *filter(None, (settings.http_advertise,)))
        places = (*settings.listen, *settings.enrol_listen, *web)
        hosts = [split_listen(each)[0] for each in places]
        pair = platform.authority.server_pair(hosts, clock())
        agents = grpc.aio.server(options=OPTIONS)
        pb_grpc.add_AgentServiceServicer_to_server(  # type: ignore[no-untyped-call]
            AgentLink(platform), agents
        )
        address = _bind(agents, settings.listen, _mutual(pair, platform.authority.ca_pem))
        enrolment = grpc.aio.server(options=OPTIONS)
        advertised = settings.advertise or address
        platform.serves_at = addresses_of((*places, *filter(None, (settings.advertise,))))
        enrolling = Enrolment(platform, advertised)
        pb_grpc.add_EnrolmentServiceServicer_to_server(  # type: ignore[no-untyped-call]
            enrolling, enrolment
        )
        enrol_address = _bind(enrolment, settings.enrol_listen, _server_only(pair))
        for server in (agents, enrolment):
            await server.start()
            stack.push_async_callback(server.stop, _GRACE_SECONDS)
        http_address = ""
        if settings.http_listen:
            listen = [split_listen(each) for each in settings.http_listen]
            serving = serve_http(make_app(platform), listen, pair, settings.state_directory)
            http_address = (await stack.enter_async_context(serving))[0]
            users = settings.http_advertise or http_address
            if not addresses_of((users,)) and not settings.http_advertise:
                raise PlatformError(
                    "links for users would lead nowhere",
                    which=users,
                    action="say where users reach it with --http-advertise",
                )
            platform.serves_users_at = f"https://{users}{BOOTSTRAP_PATH}"
        # A dead platform's socket file would refuse the bind.
        settings.control.unlink(missing_ok=True)
        stack.callback(settings.control.unlink, missing_ok=True)
        control = await serve_control(platform, settings.control)
        stack.callback(control.close)
        ticking = asyncio.create_task(_tick(platform))
        stack.push_async_callback(_stop, ticking)
        log.info(
            "platform.ready",
            address=address,
            enrol_address=enrol_address,
            http_address=http_address,
            control=str(settings.control),
        )
        yield Running(platform, address, enrol_address, ticking, http_address)


def split_listen(text: str) -> tuple[str, int]:
    """Host and port of "host:port" or "[host]:port". Raises `PlatformError`."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise PlatformError("cannot listen", which=text, action="give it as host:port")
    return host, int(port)


def addresses_of(places: Iterable[str]) -> frozenset[Address]:
    """The addresses among "host:port" of several places: neither names nor "all of them"."""
    found: set[Address] = set()
    for place in places:
        try:
            address = ip_address(split_listen(place)[0])
        except ValueError:
            continue
        if not address.is_unspecified:
            found.add(address)
    return frozenset(found)


def _bind(
    server: grpc.aio.Server, addresses: Sequence[str], credentials: grpc.ServerCredentials
) -> str:
    """Binds all addresses; the first one as "host:port" with the port that was taken."""
    bound: list[str] = []
    for each in addresses:
        host, _ = split_listen(each)
        try:
            port = server.add_secure_port(each, credentials)
        except RuntimeError as error:
            raise PlatformError(
                f"cannot listen: {error}", which=each, action="stop what has the port"
            ) from error
        bound.append(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    return bound[0]


def _mutual(pair: KeyPair, ca_pem: str) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials(
        [(pair.key_pem, pair.certificate_pem)],
        root_certificates=ca_pem.encode(),
        require_client_auth=True,
    )


def _server_only(pair: KeyPair) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(pair.key_pem, pair.certificate_pem)])


async def _tick(platform: Platform) -> None:
    while True:
        await asyncio.sleep(TICK_SECONDS)
        platform.tick()


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task

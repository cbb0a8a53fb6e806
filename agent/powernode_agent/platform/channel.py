"""gRPC channels to the platform, and why their settings are what they are.

Every channel verifies the platform; those made from an identity also prove the node. A channel is
kept over reconnects: gRPC reconnects by itself when a call asks for it, and a channel that the platform
told off for pinging too often (GOAWAY "too_many_pings") remembers to ping less.

A platform must allow pings each 10 s on a connection with calls: a gRPC server does so with
`grpc.http2.min_recv_ping_interval_without_data_ms` at 5000 and `grpc.keepalive_permit_without_calls`
at 1. One that does not costs a reconnect or two until the channel has slowed down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio

from powernode_agent.platform.identity import Identity

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""The limit of the contract; gRPC's default, but written down here because both sides count on it."""

CONNECT_TIMEOUT_MS: Final = 5_000

OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    # A dead TCP connection (a NAT that forgot us, a host that lost power) says nothing. Idle for 10 s
    # a ping goes out, and without an answer for 8 s the watch breaks: noticed within 18 s. Measured
    # with grpcio 1.85: without `ping_timeout_ms` the wait is its default of 60 s, whatever
    # `keepalive_timeout_ms` says (that one counts where TCP itself has data in flight).
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 8_000),
    ("grpc.http2.ping_timeout_ms", 8_000),
    # By default gRPC stops after two pings without data in between, and a quiet watch is just that.
    ("grpc.http2.max_pings_without_data", 0),
    # The agent's own backoff decides when to try. gRPC's, left at its defaults, would grow to two
    # minutes beneath it and answer our attempts with an old error without trying.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    # Despite its name also the time a connection attempt may take; default 20 s.
    ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_MS),
    # A platform that moved is found by name when the name's answer changes; default 30 s.
    ("grpc.dns_min_time_between_resolutions_ms", 5_000),
    # A channel made for a renewed certificate must be a connection of its own, not a shared one that
    # was authenticated with the old certificate.
    ("grpc.use_local_subchannel_pool", 1),
    # No service config from DNS TXT records, and no retries that gRPC does on its own.
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_retries", 0),
)

OpenChannel = Callable[[Identity], grpc.aio.Channel]


def enrolment_channel(address: str, ca_pem: str | None) -> grpc.aio.Channel:
    """A channel that verifies the platform by `ca_pem` (None: the system's roots); no client side."""
    roots = None if ca_pem is None else ca_pem.encode()
    credentials = grpc.ssl_channel_credentials(root_certificates=roots)
    return grpc.aio.secure_channel(address, credentials, options=OPTIONS)


def agent_channel(identity: Identity) -> grpc.aio.Channel:
    """A mutual-TLS channel to the identity's platform."""
    credentials = grpc.ssl_channel_credentials(
        root_certificates=identity.ca_pem.encode(),
        private_key=identity.key_pem.encode(),
        certificate_chain=identity.certificate_pem.encode(),
    )
    return grpc.aio.secure_channel(identity.platform_address, credentials, options=OPTIONS)

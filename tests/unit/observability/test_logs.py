"""Logs are JSON lines, and no secret gets through whatever way it comes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from powernode_agent.model.values import PresharedKey, PrivateKey, PublicKey
from powernode_agent.observability.logs import HIDDEN, configure_logs

KEY = "aPxGwq8zERHQ3Q1cOZFdJ+cvJX5Ka4mLN38AyYKYF10="
HEX = "5c" * 32


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    configure_logs(stream=text)
    yield text
    structlog.reset_defaults()


def test_one_json_line_an_event(stream: io.StringIO) -> None:
    log = structlog.get_logger()
    log.debug("too.fine")
    log.info("revision.applied", revision=418, took_ms=41)
    document = json.loads(stream.getvalue())
    assert document.pop("timestamp").endswith("Z")
    assert document == {
        "event": "revision.applied",
        "level": "info",
        "revision": 418,
        "took_ms": 41,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", PrivateKey(KEY)),
        ("key", PresharedKey(KEY)),
        ("private_key", KEY),
        ("peer_preshared", KEY),
        ("token", "one-time-word"),
        ("enrolment_token", b"one-time-word"),
        ("nested", {"peers": [{"preshared_key": KEY}]}),
        ("wrapped", [PrivateKey(KEY)]),
        ("uapi", f"set=1\nprivate_key={HEX}\nlisten_port=1"),
        ("config", f"[Interface]\nPrivateKey = {KEY}\n"),
        ("pem", "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----"),
    ],
)
def test_secrets_are_hidden(stream: io.StringIO, name: str, value: object) -> None:
    structlog.get_logger().info("some.event", **{name: value})
    text = stream.getvalue()
    assert HIDDEN in text
    for secret in (KEY, HEX, "one-time-word", "MIGHAgEAMBMGByqGSM49"):
        assert secret not in text


def test_a_secret_in_an_exception_is_hidden(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"errno=-22 after private_key={HEX}")
    except ValueError:
        structlog.get_logger().exception("wireguard.failed")
    assert HEX not in stream.getvalue()
    assert "errno=-22" in stream.getvalue()


def test_what_is_no_secret_stays(stream: io.StringIO) -> None:
    structlog.get_logger().info(
        "peer", public_key=PublicKey(KEY), token_file="/etc/powernode-agent/enrolment-token"
    )
    assert KEY in stream.getvalue()
    assert "enrolment-token" in stream.getvalue()


def test_console_format_is_text() -> None:
    text = io.StringIO()
    configure_logs("debug", console=True, stream=text)
    try:
        structlog.get_logger().debug("netlink.replayed", links=3)
    finally:
        structlog.reset_defaults()
    assert "netlink.replayed" in text.getvalue()
    assert "links=3" in text.getvalue()

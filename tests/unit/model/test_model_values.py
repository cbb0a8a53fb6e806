"""Keys stay hidden wherever they go; endpoints and names say what they are."""

from __future__ import annotations

import base64
import copy
import io
import json
import logging
import pickle
from dataclasses import asdict, dataclass, replace
from ipaddress import IPv4Address, IPv6Address

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.keys import make_private_key, public_key_of
from powernode_agent.model.network import PlatformKey
from powernode_agent.model.values import (
    HANDLE_PATTERN,
    Endpoint,
    NetworkId,
    PresharedKey,
    PrivateKey,
    is_key,
    link_alias,
    link_name,
)

RAW = bytes(range(1, 33))
TEXT = base64.b64encode(RAW).decode()


@dataclass(frozen=True)
class Holder:
    key: PrivateKey | PresharedKey


@pytest.mark.parametrize("secret", [PrivateKey(TEXT), PresharedKey(TEXT)])
def test_a_key_never_shows_itself(secret: PrivateKey | PresharedKey) -> None:
    holder = Holder(secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>20}",
        f"{secret:x}",
        "%s %r" % (secret, secret),  # noqa: UP031
        repr(holder),
        repr([holder]),
        repr(asdict(holder)),
        str(ValueError(holder)),
        json.dumps(asdict(holder), default=repr),
    ]
    assert not any(TEXT in each for each in shown)
    assert "(hidden)" in shown[0]


def test_a_key_does_not_reach_a_log() -> None:
    out = io.StringIO()
    for renderer in (structlog.processors.JSONRenderer(), structlog.dev.ConsoleRenderer()):
        log = structlog.wrap_logger(structlog.PrintLogger(out), processors=[renderer])
        log.info("key.made", key=PrivateKey(TEXT), holder=PlatformKey(PrivateKey(TEXT)))
    assert "key.made" in out.getvalue()
    assert TEXT not in out.getvalue()
    record = logging.LogRecord("x", 20, "", 0, "%s", (PrivateKey(TEXT),), None)
    assert record.getMessage() == "(hidden)"


def test_a_key_is_not_pickled_but_may_be_copied() -> None:
    secret = PrivateKey(TEXT)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(Holder(secret), protocol)
    assert copy.deepcopy(secret) is secret
    assert copy.copy(secret) is secret
    assert replace(Holder(secret)).key is secret


def test_a_key_that_is_none_is_not_quoted_in_the_error() -> None:
    with pytest.raises(ValueError) as caught:
        PrivateKey(TEXT + "=")
    assert TEXT not in str(caught.value)


def test_keys_of_two_kinds_are_never_equal() -> None:
    assert PrivateKey(TEXT) == PrivateKey(TEXT)
    assert hash(PrivateKey(TEXT)) == hash(PrivateKey(TEXT))
    assert PrivateKey(TEXT) != PresharedKey(TEXT)
    assert PrivateKey(TEXT) != TEXT
    assert PrivateKey(TEXT).reveal() == TEXT


@given(st.binary(min_size=32, max_size=32).filter(any))
def test_every_32_bytes_have_one_spelling(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    assert is_key(text)
    assert not is_key(text.rstrip("="))
    assert not is_key(text[:-1] + "\n")
    # The last character but one carries two bits that mean nothing: only zero is canonical.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    sloppy = text[:42] + alphabet[alphabet.index(text[42]) + 1] + "="
    assert base64.b64decode(sloppy) == raw
    assert not is_key(sloppy)


@pytest.mark.parametrize(
    "text", ["", "A" * 44, "A" * 43 + "=", TEXT + "\n", "é" * 44, TEXT.replace("A", "-"), TEXT[:40]]
)
def test_what_is_no_key(text: str) -> None:
    assert not is_key(text)


@given(st.binary(min_size=32, max_size=32))
def test_made_keys_are_clamped_and_have_a_public_half(raw: bytes) -> None:
    key = make_private_key(raw)
    made = base64.b64decode(key.reveal())
    assert made[0] % 8 == 0
    assert made[31] >> 6 == 1
    assert make_private_key(made) == key
    assert is_key(public_key_of(key))


def test_the_public_half_is_that_of_rfc_7748() -> None:
    """Section 6.1: Bob's keys."""
    private = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb"
    public = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
    key = PrivateKey(base64.b64encode(bytes.fromhex(private)).decode())
    assert base64.b64decode(public_key_of(key)).hex() == public


def test_names_of_links_fit_the_kernel() -> None:
    assert link_name("abcdef") == "wg-sdwan-abcdef"
    assert len(link_name("abcdef")) == 15
    assert HANDLE_PATTERN.fullmatch("abcdef")
    assert not HANDLE_PATTERN.fullmatch("abcdefg")
    assert not HANDLE_PATTERN.fullmatch("abc\n")
    assert link_alias(NetworkId("n")) == "powernode-sdwan:n"


def test_endpoints_are_written_as_the_contract_wants() -> None:
    assert str(Endpoint(IPv4Address("203.0.113.5"), 51820)) == "203.0.113.5:51820"
    assert str(Endpoint(IPv6Address("2001:db8::5"), 51820)) == "[2001:db8::5]:51820"

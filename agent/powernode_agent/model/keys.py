"""Curve25519 keys for WireGuard: made from given randomness, so that tests can repeat them.

Private keys are clamped as `wg genkey` does (RFC 7748, section 5), so that what the device reads back
is what was written.
"""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from powernode_agent.model.values import PrivateKey, PublicKey


def make_private_key(randomness: bytes) -> PrivateKey:
    """A private key from 32 random bytes."""
    if len(randomness) != 32:
        raise ValueError(f"a key needs 32 random bytes, got {len(randomness)}")
    raw = bytearray(randomness)
    raw[0] &= 248
    raw[31] = (raw[31] & 127) | 64
    return PrivateKey(base64.b64encode(raw).decode())


def public_key_of(key: PrivateKey) -> PublicKey:
    """The public half of a private key."""
    private = X25519PrivateKey.from_private_bytes(base64.b64decode(key.reveal()))
    return PublicKey(base64.b64encode(private.public_key().public_bytes_raw()).decode())

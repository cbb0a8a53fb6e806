"""WireGuard key pairs: X25519 keys in base64, as `wg genkey` and `wg pubkey` make them."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


def generate() -> tuple[str, str]:
    """A new pair, public half first. The private half is a secret of the caller's."""
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return base64.b64encode(public).decode(), base64.b64encode(private.private_bytes_raw()).decode()


def is_public_key(text: str) -> bool:
    """Whether `text` is 32 bytes in canonical base64: reports are checked before they are believed."""
    try:
        raw = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(raw) == 32 and base64.b64encode(raw).decode() == text

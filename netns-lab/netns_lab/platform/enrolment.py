"""Tokens and certificates: who may become which node. Rows only; `authority` signs.

A token works once, for its node, until it expires. A request that cannot be signed does not use the
token up: the operator fixes the node and tries again.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from sqlalchemy.orm import Session

from netns_lab.platform.authority import Authority, Issued
from netns_lab.platform.errors import TokenError
from netns_lab.platform.tables import Certificate, NodeInstance, Token

DEFAULT_TOKEN_SECONDS: Final = 900


def make_token(session: Session, node_id: str, now: float, valid_seconds: float) -> str:
    """A new one-time token of a node. Secret; it is stored as a hash only."""
    token = secrets.token_urlsafe(32)
    session.add(
        Token(digest=_digest(token), node_id=node_id, expires_at=now + valid_seconds, used_at=None)
    )
    return token


def enrol(
    session: Session, authority: Authority, token: str, csr_pem: str, now: float
) -> tuple[NodeInstance, Issued]:
    """The node's first certificate. Raises `TokenError` or `RequestError`."""
    row = session.get(Token, _digest(token))
    if row is None:
        raise TokenError("the token is unknown")
    if row.used_at is not None:
        raise TokenError("the token was used before")
    if row.expires_at <= now:
        raise TokenError("the token has expired")
    node = session.get_one(NodeInstance, row.node_id)
    issued = certify(session, authority, node.id, csr_pem, now)
    row.used_at = now
    return node, issued


def certify(
    session: Session, authority: Authority, node_id: str, csr_pem: str, now: float
) -> Issued:
    """A certificate for a node that is known already. Raises `RequestError`."""
    issued = authority.issue(node_id, csr_pem, now)
    session.add(
        Certificate(
            serial=issued.serial,
            node_id=node_id,
            not_before=issued.not_before,
            not_after=issued.not_after,
        )
    )
    return issued


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()

"""The bootstrap URL of an access grant: what a user opens to get his WireGuard configuration.

    GET    shows what the link is for: a page with a button, or, for programs, the configuration with a
           placeholder for the private key. It changes nothing: mail servers and chats open links that
           nobody has clicked yet, and the runbook's third step, in which the operator issues the
           device with the user's key, needs the grant as it was
    POST   uses the grant up. Without a body a key pair is made: the configuration is complete, is
           shown this once, and of the pair only the public key is kept. With `public_key=...` the
           user's own key is taken, and the placeholder stays

HTML for whoever asks for HTML, the bare file for everybody else (`curl -X POST URL > core.conf`). A
token that is unknown, used, revoked or expired gets a page that says so and nothing more; finding that
out takes the same steps each time. The token is in no log, no referrer and no cache.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from netns_lab.platform import http_pages, keys
from netns_lab.platform.caller import Caller
from netns_lab.platform.context import Context
from netns_lab.platform.core import Platform
from netns_lab.platform.device_config import DeviceConfig
from netns_lab.platform.device_rules import (
    GrantState,
    allowed_ips,
    config_for,
    grant_state,
    hub_for,
)
from netns_lab.platform.device_tables import AccessGrant, UserDevice
from netns_lab.platform.errors import ActionError
from netns_lab.platform.phase7_user_devices import digest_of
from netns_lab.platform.tables import Network

PATH: Final = "/sdwan/bootstrap"
DOOR: Final = "bootstrap URL"
MOST_BYTES: Final = 1024
"""Of a request's body: a key takes 60."""

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(http_pages.STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": (
        f"default-src 'none'; img-src data:; style-src 'sha256-{_STYLE_HASH}';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
}

_BAD_KEY: Final = (
    "The key is not taken",
    "public_key must be a WireGuard public key that this network has not seen before: 32 bytes in"
    " base64, 44 characters, as of wg pubkey. The link stays good.",
)
_UNKNOWN: Final = (
    404,
    "This link is not known",
    "It may have been copied in part. Ask who gave it to you for another.",
)
_CLOSED: Final = {
    GrantState.USED: (
        410,
        "This link was used",
        "It works once. If it was not you who used it, tell who gave it to you now; else ask for"
        " another.",
    ),
    GrantState.REVOKED: (
        410,
        "This link was withdrawn",
        "Ask who gave it to you for another.",
    ),
    GrantState.EXPIRED: (
        410,
        "This link has expired",
        "It works for a short time only. Ask who gave it to you for another.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Open:
    """An open grant, and what its device would be told."""

    grant_id: str
    network_id: str
    account_id: str
    config: DeviceConfig


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The handler of `PATH`, on the platform's event loop: nothing comes between its steps, so of two
    that open a link at once one is told that it was used."""

    platform: Platform

    async def show(self, request: Request) -> Response:
        """GET and HEAD."""
        found = self._look_up(request)
        if isinstance(found, Response):
            return found
        if _wants_html(request):
            return HTMLResponse(http_pages.offer(found.config), headers=HEADERS)
        return _file(found.config, None)

    async def use(self, request: Request) -> Response:
        """POST."""
        body = await _read(request)
        if body is None:
            return _refusal(request, 413, "The request is too long", "A public key is expected.")
        fields = parse_qs(body.decode("latin-1"), keep_blank_values=True)
        given = fields.pop("public_key", [])
        if fields or len(given) > 1:
            return _refusal(
                request, 400, "The request is not understood", "Give public_key once, or no body."
            )
        found = self._look_up(request)
        if isinstance(found, Response):
            return found
        # Base64 has a +, which a form that was not encoded turns into a blank.
        own = given[0].replace(" ", "+").strip() if given else ""
        public, private = (own, None) if given else keys.generate()
        try:
            self.platform.call(
                "system_sdwan_issue_user_device",
                {
                    "network_id": found.network_id,
                    "access_grant_id": found.grant_id,
                    "public_key": public,
                },
                Caller(found.account_id, DOOR, request.client.host if request.client else ""),
            )
        except ActionError as error:
            if error.field != "public_key":
                return _unready(request)
            # Not the rule itself: it may name who else has the key.
            return _refusal(request, 400, *_BAD_KEY)
        config = self._issued(found)
        if _wants_html(request):
            page = http_pages.configuration(config, private)
            return HTMLResponse(page, headers=HEADERS)
        return _file(config, private)

    def _look_up(self, request: Request) -> _Open | Response:
        """The open grant of the request's token, or the page for any other."""
        tokens = request.query_params.getlist("token")
        token = tokens[0] if len(tokens) == 1 else ""
        now = self.platform.clock()
        with self.platform.sessions() as session:
            grant = session.scalars(
                select(AccessGrant).where(AccessGrant.digest == digest_of(token))
            ).first()
            if grant is None:
                return _refusal(request, *_UNKNOWN)
            state = grant_state(grant, now)
            if state is not GrantState.OPEN:
                return _refusal(request, *_CLOSED[state])
            network = session.get_one(Network, grant.network_id)
            context = Context(session, network.account_id, now, self.platform)
            addresses = (grant.host_address, grant.host_ipv4)
            try:
                hub = hub_for(context, network)
            except ActionError:
                return _unready(request)
            name, allowed = grant.device_name_hint, allowed_ips(context, network)
            config = config_for(network, name, addresses, hub, allowed)
            return _Open(grant.id, network.id, network.account_id, config)

    def _issued(self, found: _Open) -> DeviceConfig:
        """What the device that was issued is told."""
        with self.platform.sessions() as session:
            device = session.scalars(
                select(UserDevice).where(UserDevice.access_grant_id == found.grant_id)
            ).one()
            network = session.get_one(Network, device.network_id)
            context = Context(session, network.account_id, self.platform.clock(), self.platform)
            hub = hub_for(context, network, device.hub_peer_id)
            addresses = (device.host_address, device.host_ipv4)
            allowed = allowed_ips(context, network)
            return config_for(network, device.name, addresses, hub, allowed)


async def _read(request: Request) -> bytes | None:
    """The body; None: it is too long."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            return None
    return body


def _file(config: DeviceConfig, private_key: str | None) -> Response:
    text = config.text() if private_key is None else config.text(private_key)
    name = {"Content-Disposition": f'inline; filename="{config.file_name}"'}
    return PlainTextResponse(text, headers={**HEADERS, **name})


def _unready(request: Request) -> Response:
    return _refusal(
        request,
        503,
        "The network is not ready",
        "No hub of it can be called at present. The link stays good: try again later.",
    )


def _refusal(request: Request, status: int, title: str, advice: str) -> Response:
    if _wants_html(request):
        return HTMLResponse(http_pages.refusal(title, advice), status, HEADERS)
    return PlainTextResponse(f"{title}. {advice}\n", status, HEADERS)


def _wants_html(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")

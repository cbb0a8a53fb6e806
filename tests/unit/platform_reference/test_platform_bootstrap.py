"""The bootstrap URL over real sockets: looking uses nothing up, taking works once, and what opens
nothing says so and nothing more."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import html
import http.client
import re
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import urlencode, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from device_world import GRANT, ISSUE, new_key
from firewall_world import Json, dump
from platform_world import Lab
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from netns_lab.platform.device_config import NO_PRIVATE_KEY, picture
from netns_lab.platform.errors import PlatformError
from netns_lab.platform.http_app import Mounted, make_app
from netns_lab.platform.http_server import KEY_FILE, serve_http
from netns_lab.platform.server import Settings, run_platform

BROWSER = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
NAME = "<b>alice</b> & co"


@dataclass
class Site:
    """A platform that serves, a network on it with a hub, and its clock."""

    lab: Lab
    directory: Path
    grants: dict[str, Json] = field(default_factory=dict)

    def grant(self, name: str = NAME) -> str:
        arguments = {"network_id": self.lab.network_id, "device_name_hint": name}
        self.grants[name] = cast(Json, self.lab.platform.call(GRANT, arguments)["access_grant"])
        return str(self.grants[name]["bootstrap_url"])

    def devices(self) -> list[Json]:
        arguments = {"network_id": self.lab.network_id}
        answer = self.lab.platform.call("system_sdwan_list_user_devices", arguments)
        return cast(list[Json], answer["user_devices"])

    async def open(
        self,
        url: str,
        method: str = "GET",
        *,
        accept: str = "*/*",
        body: bytes | None = None,
        **form: str,
    ) -> Page:
        """One request on a connection of its own, as a user's program makes it."""
        sent = urlencode(form).encode() if form else body
        return await asyncio.to_thread(fetch, self.directory / "ca.pem", url, method, accept, sent)


@dataclass(frozen=True)
class Page:
    status: int
    headers: dict[str, str]
    text: str


def fetch(authority: Path, url: str, method: str, accept: str, body: bytes | None) -> Page:
    link = urlsplit(url)
    trusted = ssl.create_default_context(cafile=str(authority))
    with contextlib.closing(
        http.client.HTTPSConnection(link.netloc, timeout=30, context=trusted)
    ) as connection:
        target = f"{link.path}?{link.query}" if link.query else link.path
        connection.request(method, target, body, {"Accept": accept})
        answer = connection.getresponse()
        headers = {name.lower(): value for name, value in answer.getheaders()}
        return Page(answer.status, headers, answer.read().decode())


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock = [1_700_000_000.0]
    settings = Settings(
        state_directory=tmp_path,
        listen=("127.0.0.1:0",),
        enrol_listen=("127.0.0.1:0",),
        control=tmp_path / "control.sock",
        certificate_lifetime=3600,
        http_listen=("127.0.0.1:0",),
    )
    async with run_platform(settings, time.time) as running:
        # Its certificate is of today, whatever the time is for grants.
        running.platform.clock = lambda: clock[0]
        lab = Lab(running.platform, clock)
        made = running.platform.call("system_sdwan_create_network", {"name": "core"})
        lab.network_id = str(cast(Json, made["network"])["id"])
        lab.attach("hub-1", publicly_reachable=True, endpoint_address="203.0.113.1")
        yield Site(lab, tmp_path)


def interface(config: str) -> dict[str, str]:
    lines = (line.partition(" = ") for line in config.splitlines())
    return {name: value for name, sign, value in lines if sign}


async def test_looking_uses_nothing_up_and_tells_no_secret(site: Site) -> None:
    url = site.grant()
    before = dump(site.lab)
    for accept in (BROWSER, "*/*"):
        for method in ("GET", "HEAD"):
            page = await site.open(url, method, accept=accept)
            assert page.status == 200
            assert page.headers["cache-control"] == "no-store"
            assert page.headers["referrer-policy"] == "no-referrer"
            assert "script" not in page.headers["content-security-policy"]
    assert dump(site.lab) == before
    page = await site.open(url, accept=BROWSER)
    assert '<form method="post">' in page.text
    assert "PrivateKey" not in page.text
    assert html.escape(NAME) in page.text
    assert NAME not in page.text
    template = await site.open(url)
    assert interface(template.text)["PrivateKey"] == NO_PRIVATE_KEY


async def test_posting_takes_the_configuration_once(site: Site) -> None:
    url = site.grant()
    page = await site.open(url, "POST")
    assert page.status == 200
    assert page.headers["cache-control"] == "no-store"
    private = interface(page.text)["PrivateKey"]
    public = X25519PrivateKey.from_private_bytes(base64.b64decode(private)).public_key()
    (device,) = site.devices()
    assert base64.b64encode(public.public_bytes_raw()).decode() == device["public_key"]
    assert device["config"] == page.text.replace(private, NO_PRIVATE_KEY)
    assert private not in repr(dump(site.lab))
    for path in site.directory.iterdir():
        assert not path.is_file() or private.encode() not in path.read_bytes(), path
    before = dump(site.lab)
    for method in ("GET", "POST"):
        again = await site.open(url, method, accept=BROWSER)
        assert again.status == 410
        assert "This link was used" in again.text
    assert dump(site.lab) == before


async def test_the_page_carries_the_configuration_and_its_picture(site: Site) -> None:
    page = await site.open(site.grant(), "POST", accept=BROWSER)
    shown = re.search(r"<pre>(.*?)</pre>", page.text, re.DOTALL)
    assert shown is not None
    config = html.unescape(shown[1])
    assert interface(config)["PersistentKeepalive"] == "25"
    uri = picture(config)
    assert uri is not None
    assert uri in page.text
    saved = re.search(r'href="data:text/plain;base64,([^"]+)"', page.text)
    assert saved is not None
    assert base64.b64decode(saved[1]).decode() == config
    assert "<script" not in page.text
    assert NAME not in page.text.replace(config, "")


async def test_the_users_own_key(site: Site) -> None:
    key = new_key()
    page = await site.open(site.grant(), "POST", public_key=key)
    assert page.status == 200
    assert interface(page.text)["PrivateKey"] == NO_PRIVATE_KEY
    assert [each["public_key"] for each in site.devices()] == [key]


async def test_a_key_that_a_shell_did_not_encode(site: Site) -> None:
    """`curl -d public_key=...` sends a + as it is, and a form means a blank by that."""
    key = new_key()
    while not key.startswith("+"):
        key = new_key()
    page = await site.open(site.grant(), "POST", body=f"public_key={key}".encode())
    assert page.status == 200
    assert [each["public_key"] for each in site.devices()] == [key]


async def test_the_operator_was_first(site: Site) -> None:
    url = site.grant()
    arguments = {
        "network_id": site.lab.network_id,
        "access_grant_id": site.grants[NAME]["id"],
        "public_key": new_key(),
    }
    site.lab.platform.call(ISSUE, arguments)
    assert (await site.open(url, "POST")).status == 410
    assert len(site.devices()) == 1


async def test_two_at_once_make_one_device(site: Site) -> None:
    url = site.grant()
    pages = await asyncio.gather(*(site.open(url, "POST") for _ in range(8)))
    assert sorted(page.status for page in pages) == [200] + [410] * 7
    assert len(site.devices()) == 1


async def test_what_opens_nothing_says_so_and_nothing_more(site: Site) -> None:
    expired = site.grant("carol-laptop")
    site.lab.clock[0] += 900
    revoked = site.grant("dave-laptop")
    site.lab.platform.call(
        "system_sdwan_revoke_access_grant",
        {"access_grant_id": site.grants["dave-laptop"]["id"]},
    )
    good = site.grant("erin-laptop")
    bare = good.partition("?")[0]
    forged = good[:-4] + "AAAA"
    cases = [
        (expired, 410),
        (revoked, 410),
        (forged, 404),
        (bare, 404),
        (bare + "?token=", 404),
        (bare + "?token=%ff%00%0a", 404),
        (good + "&token=" + good.partition("=")[2], 404),
        (bare + "?Token=" + good.partition("=")[2], 404),
        (good + "x" * 4000, 404),
    ]
    before = dump(site.lab)
    for url, status in cases:
        for method in ("GET", "POST"):
            for accept in ("*/*", BROWSER):
                page = await site.open(url, method, accept=accept)
                assert page.status == status, url
                assert page.headers["cache-control"] == "no-store"
                for secret in ("laptop", "core", "203.0.113.1", "Key", "fd"):
                    assert secret not in re.sub(r"<style>.*</style>", "", page.text), url
    assert dump(site.lab) == before
    assert (await site.open(good, "POST")).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"public_key=", 400),
        (b"public_key=AbCd%3D", 400),
        (b"public_key=" + b"A" * 43 + b"%3D", 400),
        (b"public_key=a&public_key=b", 400),
        (b"private_key=a", 400),
        (b"x" * 2000, 413),
        (b"\xff\xfe=\x00", 400),
    ],
)
async def test_bad_bodies_use_nothing_up(site: Site, body: bytes, status: int) -> None:
    url = site.grant()
    before = site.devices()
    page = await site.open(url, "POST", body=body)
    assert page.status == status
    assert site.devices() == before == []
    assert (await site.open(url, "POST")).status == 200


async def test_a_key_that_is_anothers_tells_not_whose(site: Site) -> None:
    key = new_key()
    await site.open(site.grant("frank-laptop"), "POST", public_key=key)
    page = await site.open(site.grant(), "POST", public_key=key)
    assert page.status == 400
    assert "frank" not in page.text
    assert "device-" not in page.text


async def test_a_network_without_a_hub_keeps_the_link_good(site: Site) -> None:
    url = site.grant()
    peer = {"peer_id": site.lab.peers["hub-1"], "publicly_reachable": False}
    site.lab.platform.call("system_sdwan_update_peer", peer)
    for method in ("GET", "POST"):
        assert (await site.open(url, method)).status == 503
    site.lab.platform.call("system_sdwan_update_peer", {**peer, "publicly_reachable": True})
    assert (await site.open(url, "POST")).status == 200


async def test_other_methods_and_places(site: Site) -> None:
    url = site.grant()
    for method in ("PUT", "DELETE", "PATCH"):
        assert (await site.open(url, method)).status == 405
    root = url.partition("/sdwan")[0]
    assert (await site.open(root + "/")).status == 404
    assert (await site.open(root + "/sdwan/../../etc/passwd")).status == 404
    assert (await site.open(url, "POST")).status == 200


async def test_no_token_is_logged(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    url = site.grant()
    token = url.partition("token=")[2]
    for method in ("GET", "POST", "POST", "PUT"):
        await site.open(url, method)
    said = capfd.readouterr()
    assert "user_device.issued" in said.out + said.err
    assert token not in said.out + said.err
    assert token[:12] not in said.out + said.err


async def test_who_opened_it_is_in_the_audit_log(site: Site) -> None:
    url = site.grant()
    await site.open(url, "POST")
    answer = site.lab.platform.call("system_sdwan_list_audit_log", {"action": ISSUE})
    (line,) = cast(list[Json], answer["audit_log"])
    assert (line["door"], line["actor"], line["outcome"]) == ("bootstrap URL", "127.0.0.1", "ok")
    assert url.partition("token=")[2] not in repr(line)


async def test_the_key_of_the_server_is_its_owners_alone(site: Site) -> None:
    assert (site.directory / KEY_FILE).stat().st_mode & 0o077 == 0


async def test_another_application_is_mounted_and_runs_as_long(site: Site) -> None:
    told: list[str] = []

    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{request.method} {request.url.path}")

    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[None]:
        told.append("began")
        yield
        told.append("ended")

    other = Mounted("/mcp", Starlette(routes=[Route("/", echo)]), running)
    app = make_app(site.lab.platform, (other,))
    pair = site.lab.platform.authority.server_pair(["127.0.0.1"], time.time())
    async with serve_http(app, [("127.0.0.1", 0)], pair, site.directory) as (place,):
        page = await site.open(f"https://{place}/mcp/")
        assert (page.status, page.text) == (200, "GET /mcp/")
        assert (await site.open(f"https://{place}/sdwan/bootstrap")).status == 404
        assert told == ["began"]
        host, _, port = place.rpartition(":")
        second = serve_http(app, [(host, int(port))], pair, site.directory)
        with pytest.raises(PlatformError, match="cannot listen"):
            await second.__aenter__()
    assert told == ["began", "ended"]

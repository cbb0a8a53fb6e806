"""A user with a laptop: opens links as a browser or a program would, and brings tunnels up with plain
`wg-quick`. Nothing of ours runs there."""

from __future__ import annotations

import base64
import contextlib
import html
import http.client
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from netns_lab.node import LabNode
from netns_lab.scenario.stage import Stage
from netns_lab.scenario.telling import Unmet

LAPTOP: Final = "laptop"
TUNNELS: Final = Path("/run")
"""Private to the laptop: wg-quick takes a configuration from anywhere."""
BROWSER: Final = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"


@dataclass(frozen=True, slots=True)
class Page:
    """What came back. `cache` and `referrer` are the headers that keep a secret out of both."""

    status: int
    text: str
    cache: str
    referrer: str

    @property
    def config(self) -> str:
        """The configuration that a page of HTML shows."""
        found = re.search(r"<pre>(.*?)</pre>", self.text, re.DOTALL)
        if found is None:
            raise Unmet(f"the page shows no configuration: {self.text[:200]}")
        return html.unescape(found[1])

    @property
    def picture(self) -> bytes:
        """The PNG that it carries."""
        found = re.search(r'src="data:image/png;base64,([^"]+)"', self.text)
        if found is None:
            raise Unmet(f"the page carries no picture: {self.text[:200]}")
        return base64.b64decode(found[1])


def open_url(
    stage: Stage, url: str, *, method: str = "GET", accept: str = "*/*", key: str = ""
) -> Page:
    """Opens a link from the laptop, over the underlay, and trusts the platform's CA and no other."""
    link = urlsplit(url)
    authority = stage.lab.platform.certificate_authority

    def fetch() -> Page:
        trusted = ssl.create_default_context(cafile=str(authority))
        body = urlencode({"public_key": key}).encode() if key else None
        headers = {"Accept": accept}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with contextlib.closing(
            http.client.HTTPSConnection(link.netloc, timeout=30, context=trusted)
        ) as connection:
            target = f"{link.path}?{link.query}" if link.query else link.path
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return Page(
                answer.status,
                answer.read().decode(),
                answer.getheader("Cache-Control", ""),
                answer.getheader("Referrer-Policy", ""),
            )

    return stage.node(LAPTOP).inside(fetch)


def bring_up(node: LabNode, name: str, config: str) -> None:
    """`wg-quick up` with a configuration as it is."""
    path = TUNNELS / f"{name}.conf"
    node.write_file(path, config, mode=0o600)
    node.run(["wg-quick", "up", str(path)])


def bring_down(node: LabNode, name: str) -> None:
    """`wg-quick down`."""
    node.run(["wg-quick", "down", str(TUNNELS / f"{name}.conf")])


def key_pair(node: LabNode) -> tuple[str, str]:
    """A user's own keys as he makes them, private half first."""
    private = node.run(["wg", "genkey"]).stdout.strip()
    return private, node.run(["wg", "pubkey"], stdin=private).stdout.strip()

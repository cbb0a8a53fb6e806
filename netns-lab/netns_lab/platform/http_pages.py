"""The pages of the bootstrap URL. Pure: what is shown in, HTML out.

They load nothing from anywhere: style and pictures are in the page, there is no script, and the header
of the answer (`http_bootstrap`) lets the browser do no more than that. Whatever an operator wrote is
escaped.
"""

from __future__ import annotations

import base64
from html import escape
from typing import Final

from netns_lab.platform.device_config import DeviceConfig, picture

STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;"
    "color:#1b1f24;background:#fff}"
    "pre{background:#f2f4f7;padding:1rem;overflow:auto}"
    "button,.button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:.4rem;"
    "background:#0b57d0;color:#fff;text-decoration:none;display:inline-block}"
    "input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;margin:.3rem 0 .8rem}"
    "img{max-width:100%;image-rendering:pixelated}"
    "h1{font-size:1.4rem}"
)

ONCE: Final = (
    "This page is shown once. The private key in it is kept nowhere else: leave the page only when"
    " the device has the configuration."
)


def offer(config: DeviceConfig) -> str:
    """What a link shows that nobody has used yet: no secret, and two ways on."""
    return _page(
        f"Connect {config.device}",
        f"<p>This link connects one device, <b>{escape(config.device)}</b>, to the network"
        f" <b>{escape(config.network)}</b>. It works once.</p>"
        '<form method="post"><p><button>Get the configuration</button></p></form>'
        "<p>You get a WireGuard configuration with a new key, as a file and as a QR code for the"
        " WireGuard app of a phone.</p>"
        "<details><summary>I have a key of my own</summary>"
        "<p>Make one with <code>wg genkey | tee private.key | wg pubkey</code> and give the"
        " public half. The configuration then comes without the private key.</p>"
        '<form method="post"><label>Public key'
        '<input name="public_key" required minlength="44" maxlength="44" autocomplete="off">'
        "</label><button>Get the configuration</button></form></details>",
    )


def configuration(config: DeviceConfig, private_key: str | None) -> str:
    """The configuration, complete or with a placeholder: to scan, to save and to read."""
    text = config.text() if private_key is None else config.text(private_key)
    if private_key is None:
        notice = (
            "Your key is in place. Put your private key where"
            " the configuration says so; it was never sent here."
        )
        code = ""
    else:
        notice = ONCE
        code = _code(text)
    data = base64.b64encode(text.encode()).decode()
    return _page(
        f"{config.device} is connected to {config.network}",
        f"<p><b>{notice}</b></p>{code}"
        f'<p><a class="button" download="{escape(config.file_name)}"'
        f' href="data:text/plain;base64,{data}">Save {escape(config.file_name)}</a></p>'
        f"<p>On Linux: <code>wg-quick up ./{escape(config.file_name)}</code></p>"
        f"<pre>{escape(text)}</pre>",
    )


def refusal(title: str, advice: str) -> str:
    """A link that opens nothing. Nothing of what it once was for is told."""
    return _page(title, f"<p>{escape(advice)}</p>")


def _code(text: str) -> str:
    uri = picture(text)
    if uri is None:
        return "<p>The configuration is too long for a QR code: save it as a file.</p>"
    return (
        "<p>In the WireGuard app of a phone: add a tunnel, scan from QR code.</p>"
        f'<p><img alt="QR code of the configuration" src="{uri}"></p>'
    )


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>\n"
    )

"""What can go wrong with WireGuard, each with its own name, so that health can tell them apart.

No key that must stay hidden is ever put into one of these.
"""

from __future__ import annotations

from powernode_agent.errors import AgentError


class WireguardError(AgentError):
    """A device could not be made, read, written or removed."""


class NoAnswerError(WireguardError):
    """The program that carries a device hangs: asking again costs as long as it did this time."""

    def __init__(self, link: str, seconds: float) -> None:
        super().__init__(
            "wireguard-go does not answer",
            which=f"link {link}",
            value=f"nothing in {seconds:.0f} s",
            expected="an answer",
            action=f"end its process, it is made anew: pgrep -af 'wireguard-go {link}'",
        )


class ListenPortInUseError(WireguardError):
    """Another socket of the host has the UDP port of a network; every network needs its own."""

    def __init__(self, which: str, port: int) -> None:
        super().__init__(
            "the WireGuard listen port is in use",
            which=which,
            value=f"UDP port {port}, held by another socket",
            expected="a port of its own for each network",
            action=f"find the holder: ss -ulpn sport = :{port}",
        )
        self.port = port


class ForeignLinkError(WireguardError):
    """A link of our name is not one that this agent made: it is left alone."""

    def __init__(self, link: str, value: str, expected: str) -> None:
        super().__init__(
            "a link of our name is not ours",
            which=f"link {link}",
            value=value,
            expected=expected,
            action=f"look at it, and rename or remove it: ip -details link show {link}",
        )


def unmarked_link(link: str, alias: str, public: str | None, peers: int) -> ForeignLinkError:
    """A link of our name that has no alias, and a configuration that we did not write."""
    key = f"public key {public}" if public else "no key"
    return ForeignLinkError(
        link,
        f"no alias, {key}, {peers} peers",
        f"the alias {alias!r}, or this node's own key, or neither key nor peers",
    )


class BackendUnavailableError(WireguardError):
    """Neither the kernel nor wireguard-go can carry WireGuard here, or not the one demanded."""

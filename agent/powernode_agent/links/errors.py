"""What keeps a link from being as it should, each with the thing to do about it."""

from __future__ import annotations

from powernode_agent.errors import AgentError
from powernode_agent.model.values import Prefix


class LinkError(AgentError):
    """A link of ours cannot be brought to its target."""


class ForeignLinkError(LinkError):
    """A link has our name but is not ours; it is left as it is."""

    def __init__(self, link: str, found: str, expected: str) -> None:
        super().__init__(
            "a link with our name is not ours",
            which=f"link {link}",
            value=found,
            expected=expected,
            action=f"look with `ip -d link show {link}`; if unneeded, `ip link delete {link}`",
        )


class LinkMissingError(LinkError):
    """The link is not there, or went away between plan and application."""

    def __init__(self, link: str, network: str) -> None:
        super().__init__(
            "the link does not exist",
            which=f"link {link}, network {network}",
            action="WireGuard makes it; see the outcome of wireguard for this network",
        )


class RouteTakenError(LinkError):
    """Foreign routes stand where ours belong; they are left as they are."""

    def __init__(self, link: str, prefixes: list[Prefix]) -> None:
        shown = ", ".join(str(prefix) for prefix in prefixes[:5])
        if len(prefixes) > 5:
            shown += f" and {len(prefixes) - 5} more"
        super().__init__(
            "routes of others stand where ours belong",
            which=f"link {link}",
            value=shown,
            expected="no other route with the same prefix and metric in the main table",
            action="look with `ip route show PREFIX` or `ip -6 route show PREFIX`",
        )


class SysctlError(LinkError):
    """A kernel setting has the wrong value and cannot be written."""

    def __init__(self, key: str, value: str, current: str | None, reason: str) -> None:
        super().__init__(
            f"cannot set {key} = {value}: {reason}",
            which=f"/proc/sys/{key}",
            value="(absent)" if current is None else current,
            expected=value,
            action="set it in /etc/sysctl.d and run `systemctl restart systemd-sysctl`",
        )

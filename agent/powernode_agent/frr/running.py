"""Configurations as text: what `show running-config` prints, taken apart, and frr.conf. Pure.

FRR indents what is inside a context by one space and ends it with `exit` (or a longer word); a line
opens a context if and only if something deeper, or that end, comes after it. So no list of FRR's
commands is needed, and what an operator entered by hand is taken apart as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from powernode_agent.model.frr_config import Context, FrrConfig

MARKER: Final = "! Written by powernode-agent; changes made here are overwritten."
"""First line of our frr.conf: how a restarted agent knows its own."""

_ENDS: Final = ("exit", "exit-address-family", "exit-vrf")
_LEFT_ALONE: Final = (
    "frr ",
    "hostname ",
    "domainname ",
    "log ",
    "no log ",
    "service ",
    "password ",
    "enable password ",
    "debug ",
    "agentx",
    "ip forwarding",
    "no ip forwarding",
    "ipv6 forwarding",
    "no ipv6 forwarding",
    "line vty",
)
"""The host's business, whoever owns the routing."""


def parse_running(text: str) -> FrrConfig:
    """What a daemon runs; without what every configuration begins with."""
    lines = [line for line in text.splitlines() if line.strip(" !") and line[0] != "#"]
    begin = next((i + 1 for i, line in enumerate(lines) if line == "Current configuration:"), 0)
    contexts: dict[Context, list[str]] = {}
    here: list[str] = []
    for line, following in _pairs(lines[begin:]):
        depth, words = _depth(line), line.strip()
        if words == "end" or words.startswith("!"):
            continue
        if words in _ENDS:
            here = here[:depth]
            continue
        here = here[:depth]
        opens = _depth(following) > depth or (
            following.strip() in _ENDS and _depth(following) == depth
        )
        if opens:
            here.append(words)
        if (here or [words])[0].startswith(_LEFT_ALONE):
            continue  # with all that is inside
        lines_here = contexts.setdefault(tuple(here), [])
        if not opens:
            lines_here.append(words)
    return FrrConfig({context: tuple(found) for context, found in contexts.items()})


def frr_conf(config: FrrConfig) -> str:
    """The file from which FRR starts with this configuration."""
    text = [MARKER, "frr defaults traditional", "log syslog informational", "!"]
    open_: Context = ()
    for context, lines in config.contexts.items():
        common = _common(open_, context)
        text += [f"{' ' * depth}exit" for depth in range(len(open_) - 1, len(common) - 1, -1)]
        text += [f"{' ' * depth}{context[depth]}" for depth in range(len(common), len(context))]
        text += [f"{' ' * len(context)}{line}" for line in lines]
        open_ = context
    text += [f"{' ' * depth}exit" for depth in range(len(open_) - 1, -1, -1)]
    return "\n".join([*text, "!", ""])


def is_ours(text: str) -> bool:
    """Whether a frr.conf was written by us."""
    return text.startswith(MARKER)


def says_nothing(text: str) -> bool:
    """Whether a frr.conf configures no routing: as the package brings it, or as good as empty."""
    return not any(context or lines for context, lines in parse_running(text).contexts.items())


def _common(one: Context, two: Context) -> Context:
    count = 0
    while count < min(len(one), len(two)) and one[count] == two[count]:
        count += 1
    return one[:count]


def _pairs(lines: list[str]) -> Iterator[tuple[str, str]]:
    for index, line in enumerate(lines):
        yield line, lines[index + 1] if index + 1 < len(lines) else ""


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" ")) if line.strip() else 0

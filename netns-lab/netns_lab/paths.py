"""Where a lab lives. Every name here follows from the lab's name alone, so that a lab can be taken
down by a process that knows nothing else, whatever state a crash left it in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netns_lab.errors import LabError

LABS: Final = Path("/run/netns-lab")
NETWORK_NAMESPACES: Final = Path("/run/netns")
LAB_NAME: Final = re.compile(r"[a-z0-9]{1,8}")
"""No '-': `pnl-<lab>-` must never be a prefix of another lab's namespaces."""

PRIVATE_DIRECTORIES: Final = (
    Path("/etc/powernode-agent"),
    Path("/etc/frr"),
    Path("/etc/rancher"),
    Path("/var/lib/powernode-agent"),
    Path("/var/lib/powernode-platform"),
    Path("/run"),
)
"""What each node has of its own. The whole of /run: the agent's and the platform's sockets,
/run/wireguard (wireguard-go binds there by interface name), /run/frr (also as /var/run/frr). It
comes last because the others' sources stand below the host's /run."""


@dataclass(frozen=True, slots=True)
class LabPaths:
    """The places of one lab. Build it with `lab_paths`, which checks the name."""

    name: str

    @property
    def root(self) -> Path:
        """A tmpfs of the lab's own: unmounting it leaves no file behind."""
        return LABS / self.name

    @property
    def topology(self) -> Path:
        return self.root / "lab.json"

    @property
    def namespace_prefix(self) -> str:
        return f"pnl-{self.name}-"

    def namespace_name(self, node: str) -> str:
        return f"{self.namespace_prefix}{node}"

    def network_namespace(self, node: str) -> Path:
        return NETWORK_NAMESPACES / self.namespace_name(node)

    @property
    def mount_namespaces(self) -> Path:
        return self.root / "mount-namespaces"

    def mount_namespace(self, node: str) -> Path:
        return self.mount_namespaces / node

    def node_root(self, node: str) -> Path:
        return self.root / "nodes" / node

    def on_host(self, node: str, inside: Path) -> Path:
        """The host's path of a file in one of the node's private directories.

        Raises `LabError` for a path that the node shares with the host.
        """
        for private in PRIVATE_DIRECTORIES:
            if inside.is_relative_to(private):
                return self.node_root(node) / inside.relative_to("/")
        raise LabError(
            "this path is not private to the node",
            which=f"node {node}",
            value=str(inside),
            expected="a path below " + ", ".join(map(str, PRIVATE_DIRECTORIES)),
        )

    def log(self, node: str, unit: str) -> Path:
        return self.root / "logs" / f"{node}.{unit}.log"

    def process(self, node: str, unit: str) -> Path:
        return self.root / "processes" / f"{node}.{unit}.json"

    @property
    def process_records(self) -> Path:
        return self.root / "processes"

    def enter(self, node: str) -> tuple[str, ...]:
        """The argv prefix that runs a program inside the node; it execs, so the pid stays."""
        return (
            "nsenter",
            f"--net={self.network_namespace(node)}",
            f"--mount={self.mount_namespace(node)}",
            "--",
        )


def lab_paths(name: str) -> LabPaths:
    """Raise `LabError` unless the name is 1 to 8 of a-z and 0-9."""
    if not LAB_NAME.fullmatch(name):
        raise LabError("bad name of a lab", value=name, expected="1 to 8 of a-z and 0-9")
    return LabPaths(name)

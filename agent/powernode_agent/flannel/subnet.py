"""What flannel says of itself in subnet.env: which prefix the pods of this node have.

The file is flannel's, and only read. It outlives a cluster that is gone, so a prefix that is not inside
the cluster's is no answer to the question.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import ip_interface, ip_network
from pathlib import Path

from powernode_agent.model.values import Prefix

_LONGEST = 4096


@dataclass(frozen=True, slots=True)
class Subnet:
    """`network`: the prefix of all pods, as flannel has it; `own`: that of this node's pods. None:
    flannel does not say, or nothing that can be read."""

    network: Prefix | None = None
    own: Prefix | None = None


NOT_MEASURED = Subnet()


class SubnetFile:
    """The file, read again only when it is another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._texts: dict[str, str] = {}

    def read(self, version: int) -> Subnet:
        """What it says of pods of this IP version."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self._seen, self._texts = None, {}
            return NOT_MEASURED
        try:
            found = os.fstat(handle)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                self._texts = variables(os.read(handle, _LONGEST).decode("utf-8", "replace"))
                self._seen = seen
        except OSError:
            self._seen, self._texts = None, {}
        finally:
            os.close(handle)
        return subnet_of(self._texts, version)


def variables(text: str) -> dict[str, str]:
    """The lines NAME=value of it."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals}


def subnet_of(found: dict[str, str], version: int) -> Subnet:
    """The two prefixes of one IP version. Several networks (`a,b`) are none that we could mean."""
    family = "FLANNEL_" if version == 4 else "FLANNEL_IPV6_"
    network = _prefix(found.get(f"{family}NETWORK", ""), version)
    own = _prefix(found.get(f"{family}SUBNET", ""), version)
    return Subnet(network, own)


def inside(own: Prefix | None, cluster: Prefix) -> Prefix | None:
    """`own` if it is a part of the cluster's prefix; None otherwise."""
    if own is None or own.version != cluster.version or own.prefixlen <= cluster.prefixlen:
        return None
    return own if own.network_address in cluster else None


def _prefix(text: str, version: int) -> Prefix | None:
    """flannel writes the first address of the subnet with its length: 10.42.3.1/24."""
    try:
        network = ip_network(str(ip_interface(text).network)) if text else None
    except ValueError:
        return None
    return network if network is not None and network.version == version else None

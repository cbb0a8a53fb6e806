"""A network namespace for one test: the test's own thread enters it, so that sockets, /proc/sys and
every program it starts are inside, and leaves it again. Verification is by `ip`, not by our code."""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_CLONE_NEWNET = 0x40000000
_numbers = itertools.count()


class PrivateNamespace:
    """The namespace the calling thread is in."""

    def ip(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `ip` and give what it says; raises with its words if it fails."""
        done = subprocess.run(["ip", *arguments], input=stdin, capture_output=True, text=True)
        assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def ip_json(self, *arguments: str) -> list[dict[str, Any]]:
        """Run `ip -j -d` and parse it."""
        text = self.ip("-j", "-d", *arguments)
        found: list[dict[str, Any]] = json.loads(text) if text.strip() else []
        return [entry for entry in found if entry]

    def batch(self, lines: list[str]) -> None:
        """Run many `ip` commands in one process."""
        self.ip("-batch", "-", stdin="\n".join(lines) + "\n")

    def tun(self, name: str, *, up: bool = False) -> int:
        """Make a TUN link as wireguard-go would, and give its ifindex."""
        self.ip("tuntap", "add", "dev", name, "mode", "tun")
        if up:
            self.ip("link", "set", name, "up")
        return int(self.ip_json("link", "show", "dev", name)[0]["ifindex"])

    def underlay(self, mtu: int = 1500) -> None:
        """A veth pair, up, with a default route over it."""
        self.ip("link", "add", "under0", "type", "veth", "peer", "name", "under1")
        for name in ("under0", "under1"):
            self.ip("link", "set", name, "mtu", str(mtu), "up")
        self.ip("addr", "add", "192.0.2.1/24", "dev", "under0")
        self.ip("route", "add", "default", "via", "192.0.2.254")


@pytest.fixture
def private_namespace() -> Iterator[PrivateNamespace]:
    """Enter a new namespace called pnt-..., and leave and delete it afterwards."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces take root")
    name = f"pnt-links-{os.getpid()}-{next(_numbers)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        inside = os.open(Path("/run/netns") / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(inside)
        finally:
            os.close(inside)
        yield PrivateNamespace()
    finally:
        _enter(outside)
        os.close(outside)
        subprocess.run(["ip", "netns", "del", name], check=True)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")

"""Nodes with real FRR daemons in network namespaces, and overlays between them.

The overlay of a network is a bridge: what the daemons see of it is what they see of WireGuard (a link
of that name with the own /128 on it, and a route for the whole overlay), and a cable can be pulled.
The daemons are spoken to over their vty sockets with a few lines of the test's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from routing_states import Overlay, Site

from powernode_agent.model.frr_config import Context, FrrConfig
from powernode_agent.model.network import Network
from powernode_agent.model.values import ROUTE_PROTOCOL
from powernode_agent.netlink.records import Route

DAEMONS = Path("/usr/lib/frr")
MAIN_DAEMONS = ("zebra", "bgpd", "bfdd")
PATIENCE_S = 30.0


def until(what: str, holds: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    """Waits until it holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(0.02)


def _run(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


class Vty:
    """One connection to a daemon: a command, a zero; the answer, three zeros and a status."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self.command("enable")

    def command(self, text: str) -> str:
        """The answer; fails when the daemon refuses."""
        self._socket.sendall(text.encode() + b"\0")
        answer = bytearray()
        while len(answer) < 4 or answer[-4:-1] != b"\0\0\0":
            part = self._socket.recv(1 << 16)
            assert part, f"the daemon hung up at {text!r}"
            answer += part
        words = answer[:-4].decode()
        assert answer[-1] == 0, f"{text!r}: {words}"
        return words

    def close(self) -> None:
        self._socket.close()


@dataclass
class FrrNode:
    """A namespace with FRR daemons of its own."""

    name: str
    switch: str
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ip(self, *arguments: str) -> str:
        return _run("ip", "-n", self.name, *arguments)

    def start(self, daemons: Iterable[str] = MAIN_DAEMONS) -> None:
        for directory in (self._state, self._config):
            directory.mkdir(parents=True, exist_ok=True)
            shutil.chown(directory, "frr", "frr")
        for daemon in daemons:
            command = [str(DAEMONS / daemon), "-N", self.name, "-A", "127.0.0.1", "-P", "0"]
            self.daemons[daemon] = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *command],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            until(f"{daemon} listens", lambda daemon=daemon: self._listens(daemon))  # type: ignore[misc]

    def _listens(self, daemon: str) -> bool:
        try:
            Vty(self._state / f"{daemon}.vty").close()
        except OSError:
            return False
        return True

    @property
    def _state(self) -> Path:
        return Path("/var/run/frr") / self.name

    @property
    def _config(self) -> Path:
        return Path("/etc/frr") / self.name

    def attach(self, overlay: Overlay, site: Site, network: Network) -> None:
        """Puts the node on an overlay: the link, its addresses, a route for the whole of it."""
        link = network.link
        cable = self.cable(overlay)
        if not _bridge_exists(self.switch, overlay.handle):
            _run("ip", "-n", self.switch, "link", "add", overlay.handle, "type", "bridge")
            _run("ip", "-n", self.switch, "link", "set", overlay.handle, "up")
        veth = ("type", "veth", "peer", "name", link, "netns", self.name)
        _run("ip", "-n", self.switch, "link", "add", cable, *veth)
        _run("ip", "-n", self.switch, "link", "set", cable, "master", overlay.handle, "up")
        self.ip("link", "set", link, "up")
        self.ip("addr", "add", f"{site.address(overlay)}/128", "dev", link, "nodad")
        self.ip("route", "add", str(overlay.prefix), "dev", link, "proto", "241")
        if overlay.ipv4:
            self.ip("addr", "add", f"{overlay.prefix_ipv4[site.number]}/32", "dev", link)
            self.ip("route", "add", str(overlay.prefix_ipv4), "dev", link, "proto", "241")

    def cable(self, overlay: Overlay) -> str:
        """The switch's end of this node's link."""
        return f"{overlay.handle}-{self.name.rpartition('-')[2]}"

    def pull(self, overlay: Overlay) -> None:
        """Takes the node off an overlay without its noticing: the link stays up."""
        _run("ip", "-n", self.switch, "link", "set", self.cable(overlay), "nomaster")

    def lan(self, name: str, *prefixes: str) -> None:
        """A LAN behind the node: a link that is up, with the first address of each prefix."""
        self.ip("link", "add", name, "type", "bridge")
        self.ip("link", "set", name, "up")
        # A bridge without a member has no carrier.
        self.ip("link", "add", f"{name}-in", "type", "veth", "peer", "name", f"{name}-out")
        self.ip("link", "set", f"{name}-in", "master", name, "up")
        self.ip("link", "set", f"{name}-out", "up")
        for prefix in prefixes:
            network, _, length = prefix.partition("/")
            address = network + "1" if ":" in network else network.rpartition(".")[0] + ".1"
            self.ip(
                "addr",
                "add",
                f"{address}/{length}",
                "dev",
                name,
                *(["nodad"] if ":" in network else []),
            )

    def configure(self, config: FrrConfig) -> None:
        """Enters a configuration."""
        for daemon, wanted in (("bfdd", True), ("bgpd", False)):
            if daemon not in self.daemons:
                continue
            vty = Vty(self._state / f"{daemon}.vty")
            with contextlib.closing(vty):
                vty.command("configure terminal")
                for context, lines in config.contexts.items():
                    if (context[:1] == ("bfd",)) is not wanted:
                        continue
                    vty.command("end")
                    vty.command("configure terminal")
                    for line in (*context, *lines):
                        vty.command(line)
                vty.command("end")

    def enter(self, *lines: str) -> None:
        """Enters lines by hand, from the top."""
        with contextlib.closing(Vty(self._state / "bgpd.vty")) as vty:
            vty.command("configure terminal")
            for line in lines:
                vty.command(line)
            vty.command("end")

    def show(self, command: str, daemon: str = "bgpd") -> str:
        with contextlib.closing(Vty(self._state / f"{daemon}.vty")) as vty:
            return vty.command(command)

    def json(self, command: str, daemon: str = "bgpd") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.show(command, daemon))
        return found

    def running(self) -> dict[Context, list[str]]:
        """What the daemons print, taken apart; without what every configuration begins with."""
        found = parse_running(self.show("show running-config"))
        bfd = parse_running(self.show("show running-config", "bfdd"))
        found.update({context: lines for context, lines in bfd.items() if context})
        return found

    def established(self) -> set[str]:
        peers = self.json("show bgp ipv6 unicast summary json").get("peers", {})
        return {address for address, peer in peers.items() if peer["state"] == "Established"}

    def bfd(self) -> dict[str, str]:
        """The state of BFD with each neighbour."""
        peers = json.loads(self.show("show bfd peers json", "bfdd"))
        return {peer["peer"]: peer["status"] for peer in peers}

    def route(self, prefix: str) -> list[str]:
        """The next hops at which the kernel sends a prefix by BGP's decision."""
        family = "-6" if ":" in prefix else "-4"
        text = _run("ip", "-n", self.name, family, "-j", "route", "show", prefix, "proto", "bgp")
        routes = json.loads(text) if text.strip() else []
        return [
            str(hop.get("gateway") or hop.get("via", {}).get("host"))
            for route in routes
            for hop in route.get("nexthops", [route])
        ]

    def own_routes(self, link: str) -> list[Route]:
        """The IPv6 routes over a link that are the agent's own."""
        text = _run("ip", "-n", self.name, "-6", "-j", "route", "show", "dev", link, "proto", "241")
        return [
            Route(ip_network(each["dst"]), 1, protocol=ROUTE_PROTOCOL, metric=each["metric"])
            for each in (json.loads(text) if text.strip() else [])
        ]

    def told(self, neighbor: object) -> set[str]:
        """The IPv6 prefixes that are announced to a neighbour."""
        command = f"show bgp ipv6 unicast neighbors {neighbor} advertised-routes json"
        return set(self.json(command).get("advertisedRoutes", {}))

    def best(self, prefix: str) -> dict[str, Any] | None:
        """BGP's best path to a prefix."""
        family = "ipv6" if ":" in prefix else "ipv4"
        paths = self.json(f"show bgp {family} unicast {prefix} json").get("paths", [])
        found: list[dict[str, Any]] = [p for p in paths if p.get("bestpath", {}).get("overall")]
        return found[0] if found else None

    def stop(self) -> None:
        for process in self.daemons.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
        _run("ip", "netns", "del", self.name)
        shutil.rmtree(self._state, ignore_errors=True)
        shutil.rmtree(self._config, ignore_errors=True)


def _bridge_exists(switch: str, name: str) -> bool:
    done = subprocess.run(["ip", "-n", switch, "link", "show", name], capture_output=True)
    return done.returncode == 0


_PREAMBLE = ("frr version", "frr defaults", "hostname", "no ip forwarding", "no ipv6 forwarding")
_OPENING = ("router bgp ", "address-family ", "route-map ", "profile ")


def parse_running(text: str) -> dict[Context, list[str]]:
    context: list[str] = []
    found: dict[Context, list[str]] = {(): []}
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("!") or line.startswith(_PREAMBLE):
            continue
        if line in ("exit", "exit-address-family", "end"):
            context = context[:-1]
        elif len(raw) - len(raw.lstrip()) == len(context) and (
            line == "bfd" or line.startswith(_OPENING)
        ):
            context.append(line)
            found[tuple(context)] = []
        else:
            found[tuple(context)].append(line)
    return found


@contextlib.contextmanager
def frr_world(*names: str) -> Iterator[dict[str, FrrNode]]:
    """Nodes of these names, and a switch between them; taken down whatever happens."""
    tag = f"pnr{os.getpid()}"
    switch = f"{tag}-switch"
    nodes: dict[str, FrrNode] = {}
    _run("ip", "netns", "add", switch)
    try:
        for name in names:
            node = FrrNode(f"{tag}-{name}", switch)
            _run("ip", "netns", "add", node.name)
            nodes[name] = node
            node.ip("link", "set", "lo", "up")
            settings = ("net.ipv6.conf.all.forwarding=1", "net.ipv4.ip_forward=1")
            _run("ip", "netns", "exec", node.name, "sysctl", "-qw", *settings)
        yield nodes
    finally:
        for node in nodes.values():
            node.stop()
        _run("ip", "netns", "del", switch)

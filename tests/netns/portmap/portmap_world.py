"""A client outside, a hub, a server inside, and the room that is tested, on the hub.

The test's own thread is in the hub's namespace (`private_namespace`); sockets of the others are made in
theirs and used from here. A veth pair stands in for the overlay link: it has its name and its MTU.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from types import TracebackType

from netns_lab.syscalls import in_network_namespace
from powernode_agent.errors import AgentError
from powernode_agent.firewall.compile import compile_filter
from powernode_agent.links.settings import Setting
from powernode_agent.links.sysctl import ProcSysctls
from powernode_agent.model.change import Change, Phase, in_order
from powernode_agent.model.desired_state import DesiredState, NetworkState, Node
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.port_mapping import MappingProtocol, PortMapping, PortMappingId
from powernode_agent.model.ruleset import Fragment
from powernode_agent.model.status import PortMappingStatus, Result
from powernode_agent.model.values import NetworkId, NodeId, PeerId, Revision
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.nftables.script import TABLE, Key
from powernode_agent.nftables.seal import SealFile
from powernode_agent.nftables.socket import generation
from powernode_agent.nftables.watch import Watch
from powernode_agent.nftables.worker import Worker
from powernode_agent.portmap.compile import MappedNetwork, compile_mappings
from powernode_agent.portmap.subsystem import PortMaps

NET = NetworkId("net-x")
HANDLE = "x"
LINK = "wg-sdwan-x"
HUB4, HUB6 = "198.51.100.5", "2001:db8:9::5"
OTHER_HUB4, OTHER_HUB6 = "198.51.100.7", "2001:db8:9::7"
CLIENT4, CLIENT6 = "198.51.100.9", "2001:db8:9::9"
OVERLAY4, OVERLAY6 = "10.77.0.1", "fd00:1::1"
SERVER4, SERVER6 = "10.77.0.2", "fd00:1::2"
PEER4, PEER6 = "10.77.0.3", "fd00:1::3"
"""Another peer, which lives with the server."""
DEADLINE = 20.0
TCP, UDP = MappingProtocol.TCP, MappingProtocol.UDP


def mapping(
    id_: str,
    external: str,
    internal: str,
    protocol: MappingProtocol = TCP,
    port: int = 443,
    to: int = 8443,
) -> PortMapping:
    return PortMapping(
        PortMappingId(id_),
        NET,
        ip_address(external),
        port,
        protocol,
        ip_address(internal),
        to,
    )


def state_of(mappings: Iterable[PortMapping], *, overlay_ipv4: bool = True) -> DesiredState:
    network = Network(
        id=NET,
        name="x",
        handle=HANDLE,
        prefix=IPv6Network("fd00:1::/64"),
        routing_mode=RoutingMode.STATIC,
        interface=Interface(
            peer_id=PeerId("hub"),
            address=IPv6Address(OVERLAY6),
            role=PeerRole.HUB,
            listen_port=51820,
            key=NodeKey(1),
            overlay_ipv4=IPv4Address(OVERLAY4) if overlay_ipv4 else None,
        ),
        overlay_ipv4_prefix=IPv4Network("10.77.0.0/24") if overlay_ipv4 else None,
    )
    entry = NetworkState(network, port_mappings={each.id: each for each in mappings})
    return DesiredState(Revision(1), Node(NodeId("hub"), "hub"), {NET: entry})


class HubSysctls:
    """The real /proc/sys, as the daemon's assembly gives it to the room."""

    def __init__(self) -> None:
        self._real = ProcSysctls()

    def read(self, key: str) -> str | None:
        return self._real.read(key)

    def set(self, key: str, value: str) -> None:
        self._real.write(Setting(key, value))


class Hub:
    """The agent's part: one `bring` is one pass of the engine."""

    def __init__(self, runtime: Path, *, tayga: str = "tayga", mtu: int = 1420) -> None:
        self.runtime = runtime
        self.netlink = Netlink()
        self.worker = Worker()
        self.watch = Watch(TABLE, lambda: generation().number, self.worker.writer, time.monotonic)
        self.ruleset = Ruleset(
            self.worker, SealFile(runtime / "seal.json"), self.watch, time.monotonic
        )
        self.room = PortMaps(self.netlink, HubSysctls(), runtime, self.ruleset.packets, tayga=tayga)
        self._mtu = mtu
        self.mapped: dict[NetworkId, MappedNetwork] = {}
        self.state = state_of(())
        self.failures: dict[NetworkId | None, AgentError] = {}
        self.ended = 0
        """Connections that the last pass ended."""

    async def start(self) -> None:
        await self.netlink.start()

    async def close(self) -> None:
        """As a daemon that stops: nothing in the kernel changes."""
        await self.netlink.close()
        self.worker.close()

    def standing(self, network: NetworkId) -> Fragment | None:
        return self.ruleset.standing(Key("portmap", network))

    async def plan(self) -> list[Change]:
        error = await self.room.observe(self.state)
        assert error is None, error
        await self.ruleset.observe()
        self.mapped = dict(compile_mappings(self.state.networks, self.room.refused))
        wanted = {Key("portmap", id_): each.fragment for id_, each in self.mapped.items()}
        for id_, entry in self.state.networks.items():
            wanted[Key("firewall", id_)] = compile_filter(entry, (), self._mtu).fragment
        phases = {"firewall": Phase.FILTER, "portmap": Phase.NAT}
        return in_order([*self.ruleset.plan(wanted, phases), *self.room.plan(self.mapped)])

    async def bring(self, *mappings: PortMapping, state: DesiredState | None = None) -> list[str]:
        """One pass; what it did, a line each."""
        self.state = state_of(mappings) if state is None else state
        self.failures = {}
        lines: list[str] = []
        for change in await self.plan():
            try:
                await change.apply()
            except AgentError as error:
                self.failures[change.network] = error
            else:
                lines += [f"{change.subsystem}: {line}" for line in change.lines]
        self.ended = await self.room.after_applied(self.mapped, self.standing)
        return lines

    async def statuses(self) -> dict[str, PortMappingStatus]:
        await self.ruleset.count()
        mine = {key: error for key, error in self.failures.items() if key is not None}
        return dict(self.room.statuses(self.state, self.mapped, self.standing, mine))

    async def all_fine(self) -> bool:
        return all(each.result is Result.OK for each in (await self.statuses()).values())


class World:
    """The namespaces, and what talks in them."""

    def __init__(self, inside_mtu: int = 1420) -> None:
        self._stack = ExitStack()
        self.namespaces = {who: f"pnt-map{os.getpid()}{who}" for who in ("client", "server")}
        for who, name in self.namespaces.items():
            _ip("netns", "add", name)
            self._stack.callback(_ip, "netns", "del", name)
            _ip("-n", name, "link", "set", "lo", "up")
            hub_link = "eth0" if who == "client" else LINK
            _ip("link", "add", hub_link, "type", "veth", "peer", "name", hub_link, "netns", name)
        _ip("link", "set", "lo", "up")
        client, server = self.namespaces["client"], self.namespaces["server"]
        for address in (f"{HUB4}/24", f"{OTHER_HUB4}/24", f"{HUB6}/64", f"{OTHER_HUB6}/64"):
            _address(None, "eth0", address)
        for address in (f"{CLIENT4}/24", f"{CLIENT6}/64"):
            _address(client, "eth0", address)
        for address in (f"{OVERLAY4}/32", f"{OVERLAY6}/128"):
            _address(None, LINK, address)
        for address in (SERVER4, PEER4, SERVER6, PEER6):
            _address(server, LINK, f"{address}/{32 if '.' in address else 128}")
        for namespace in (None, server):
            at = ["-n", namespace] if namespace else []
            _ip(*at, "link", "set", LINK, "mtu", str(inside_mtu), "up")
            for prefix in ("10.77.0.0/24", "fd00:1::/64"):
                _ip(*at, "route", "add", prefix, "dev", LINK)
        # For the hairpin; and nowhere to go for what is not sent from the overlay.
        for address, via in ((HUB4, OVERLAY4), (HUB6, OVERLAY6)):
            _ip("-n", server, "route", "add", address, "via", via, "dev", LINK, "onlink")
        _ip("link", "set", "eth0", "up")
        _ip("-n", client, "link", "set", "eth0", "up")
        # A way out, by which nothing may leave that is meant for the inside.
        _ip("route", "add", "default", "via", CLIENT4)
        _ip("route", "add", "default", "via", CLIENT6)
        # What the room `links` does on a hub.
        for key in ("net/ipv6/conf/all/forwarding", f"net/ipv4/conf/{LINK}/forwarding"):
            Path("/proc/sys", key).write_text("1")

    def __enter__(self) -> World:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def socket(self, who: str, address: str, port: int, protocol: MappingProtocol) -> socket.socket:
        """A bound socket of "client", "hub" or "server"."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_STREAM if protocol is TCP else socket.SOCK_DGRAM

        def made() -> socket.socket:
            sock = socket.socket(family, kind)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(DEADLINE)
            sock.bind((address, port))
            return sock

        if who == "hub":
            sock = made()
        else:
            sock = in_network_namespace(Path("/run/netns", self.namespaces[who]), made)
        self._stack.callback(sock.close)
        return sock

    def serve(
        self, who: str, address: str, port: int, protocol: MappingProtocol = TCP, name: str = ""
    ) -> None:
        """Answer there: "NAME CLIENT-ADDRESS" first, then an echo of each piece."""
        sock = self.socket(who, address, port, protocol)
        said = name or f"{who} {address}"
        if protocol is TCP:
            sock.listen()
        target = _tcp_server if protocol is TCP else _udp_server
        threading.Thread(target=target, args=(sock, said), daemon=True).start()

    def swallow(self, who: str, address: str, port: int) -> None:
        """Take what comes until its end, then tell how much that was."""
        sock = self.socket(who, address, port, TCP)
        sock.listen()
        threading.Thread(target=_sink, args=(sock,), daemon=True).start()

    def connect(
        self, who: str, source: str, to: str, port: int = 443, wait: float = DEADLINE
    ) -> Flow:
        """A TCP connection, greeted."""
        sock = self.socket(who, source, 0, TCP)
        sock.settimeout(wait)
        sock.connect((to, port))
        return Flow(sock)

    def datagrams(self, who: str, source: str, to: str, port: int = 443) -> Flow:
        """A UDP socket that talks to there."""
        sock = self.socket(who, source, 0, UDP)
        sock.connect((to, port))
        return Flow(sock)


class Flow:
    """One conversation of a client."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def ask(self, text: str = "hello", wait: float = DEADLINE) -> str:
        """Say something; the next piece that comes. Raises OSError (TimeoutError: nothing came)."""
        self.sock.settimeout(wait)
        self.sock.send(text.encode())
        return self.sock.recv(65536).decode()

    def heard(self) -> str:
        """What comes next."""
        return self.sock.recv(65536).decode()


def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}"


def run(*arguments: str, given: str = "") -> str:
    """Run a program and give what it says; with its words if it fails."""
    done = subprocess.run(arguments, input=given, capture_output=True, text=True)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def _ip(*arguments: str) -> None:
    run("ip", *arguments)


def _address(namespace: str | None, link: str, address: str) -> None:
    at = ["-n", namespace] if namespace else []
    quick = ["nodad"] if ":" in address else []
    _ip(*at, "addr", "add", address, "dev", link, *quick)


def _tcp_server(listener: socket.socket, said: str) -> None:
    def talk(sock: socket.socket, peer: str) -> None:
        with sock, suppress(OSError):
            sock.sendall(f"{said} {peer}".encode())
            while data := sock.recv(65536):
                sock.sendall(data)

    listener.settimeout(None)
    with suppress(OSError):
        while True:
            sock, peer = listener.accept()
            threading.Thread(target=talk, args=(sock, peer[0]), daemon=True).start()


def _udp_server(sock: socket.socket, said: str) -> None:
    sock.settimeout(None)
    with suppress(OSError):
        while True:
            data, peer = sock.recvfrom(65536)
            sock.sendto(f"{said} {peer[0]} {len(data)}".encode(), peer)


def _sink(listener: socket.socket) -> None:
    listener.settimeout(None)
    with suppress(OSError):
        while True:
            sock, _ = listener.accept()
            with sock:
                count = 0
                while data := sock.recv(1 << 18):
                    count += len(data)
                sock.sendall(str(count).encode())

"""Two nodes for the scenarios: this process's own namespaces, and a second node beside it.

Runs inside `ip netns exec OURS` (a private mount namespace comes with it); a tmpfs on /run/wireguard
keeps the sockets of both nodes to itself. The second node is a plain device set up with `wg`, so that
nothing of the room is measured with the room itself.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from itertools import pairwise
from pathlib import Path

from powernode_agent.model.change import Change, in_order
from powernode_agent.model.keys import make_private_key, public_key_of
from powernode_agent.model.network import Interface, Network, PeerRole, PlatformKey, RoutingMode
from powernode_agent.model.status import Backend as BackendKind
from powernode_agent.model.values import Endpoint, NetworkId, PeerId, PrivateKey, PublicKey
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.wireguard.host import udp_port_taken
from powernode_agent.wireguard.port import Backend
from powernode_agent.wireguard.subsystem import Wireguard
from powernode_agent.wireguard.target import DeviceTarget, PeerTarget

LINK = "wg-sdwan-core"
OTHER_LINK = "wg-other"
NET = NetworkId("net-core")
OUR_KEY = make_private_key(b"\x11" * 32)
OTHER_KEY = make_private_key(b"\x22" * 32)
OTHER_NEXT_KEY = make_private_key(b"\x33" * 32)
PORT = 51820
NETWORK = Network(
    id=NET,
    name="core",
    handle="core",
    prefix=IPv6Network("fd00:1::/64"),
    routing_mode=RoutingMode.STATIC,
    interface=Interface(
        peer_id=PeerId("ours"),
        address=IPv6Address("fd00:1::1"),
        role=PeerRole.HUB,
        listen_port=PORT,
        key=PlatformKey(OUR_KEY),
    ),
)
DEADLINE = 15.0


def run(*arguments: str, given: str | None = None) -> str:
    """Run a program and return what it printed; raises with its stderr if it fails."""
    done = subprocess.run(arguments, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done.stdout


async def until(condition: Callable[[], bool], what: str) -> None:
    """Poll until `condition` holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not in time: {what}")
        await asyncio.sleep(0.01)


def other_peer(key: PrivateKey = OTHER_KEY, **values: object) -> PeerTarget:
    """The second node as a peer of ours."""
    made = PeerTarget(
        peer_id=PeerId("other"),
        name="other",
        public_key=public_key_of(key),
        preshared_key=None,
        endpoint=Endpoint(IPv4Address("10.77.0.2"), 51820),
        keepalive=0,
        allowed_ips=frozenset({IPv6Network("fd00:1::2/128")}),
    )
    return replace(made, **values)  # type: ignore[arg-type]


def filler(number: int, **values: object) -> PeerTarget:
    """A peer that nobody plays."""
    made = PeerTarget(
        peer_id=PeerId(f"filler-{number}"),
        name=f"filler-{number}",
        public_key=PublicKey(
            base64.b64encode(b"\x77" * 28 + number.to_bytes(4, "big")).decode("ascii")
        ),
        preshared_key=None,
        endpoint=None,
        keepalive=0,
        allowed_ips=frozenset({IPv6Network(f"fd00:1::f:{number:x}/128")}),
    )
    return replace(made, **values)  # type: ignore[arg-type]


def targets(*peers: PeerTarget, port: int = PORT) -> Mapping[NetworkId, DeviceTarget]:
    by_key = {peer.public_key: peer for peer in peers}
    return {NET: DeviceTarget(NET, "core", LINK, OUR_KEY, port, by_key)}


async def apply(changes: list[Change]) -> None:
    for change in in_order(changes):
        await change.apply()


async def observe(wireguard: Wireguard) -> None:
    errors = await wireguard.observe([NETWORK])
    assert not errors, errors


async def converge(wireguard: Wireguard, wanted: Mapping[NetworkId, DeviceTarget]) -> None:
    """Observe, apply, and be content only if nothing is left to do by our own and by a fresh read."""
    await observe(wireguard)
    await apply(wireguard.plan(wanted))
    assert wireguard.plan(wanted) == [], "our own writes do not satisfy the plan"
    await observe(wireguard)
    assert wireguard.plan(wanted) == [], "what the device has does not satisfy the plan"


def link_up() -> None:
    """What the room `links` would do."""
    run("ip", "link", "set", LINK, "up")
    run("ip", "-6", "addr", "replace", "fd00:1::1/128", "dev", LINK, "nodad")
    run("ip", "-6", "route", "replace", "fd00:1::/64", "dev", LINK)


@dataclass(frozen=True, slots=True)
class Dumped:
    """A peer as `wg show LINK dump` tells it."""

    preshared: bool
    endpoint: str
    allowed_ips: frozenset[str]
    handshake: int
    keepalive: str


def dump(link: str = LINK) -> dict[str, Dumped]:
    """Public key -> peer, told by wireguard-tools and not by ourselves."""
    peers = {}
    for line in run("wg", "show", link, "dump").splitlines()[1:]:
        key, psk, endpoint, allowed, handshake, _, _, keepalive = line.split("\t")
        peers[key] = Dumped(
            psk != "(none)",
            endpoint,
            frozenset() if allowed == "(none)" else frozenset(allowed.split(",")),
            int(handshake),
            keepalive,
        )
    return peers


def device_line(link: str = LINK) -> tuple[str, int]:
    """Public key and port of the device."""
    fields = run("wg", "show", link, "dump").splitlines()[0].split("\t")
    return fields[1], int(fields[2])


class Scene:
    """The backend under test, here, and the second node, in the namespace `name`; both are of one
    kind."""

    def __init__(self, name: str, backend: Backend, netlink: Netlink) -> None:
        self.name = name
        self.backend = backend
        self.netlink = netlink

    @property
    def userspace(self) -> bool:
        return self.backend.kind is BackendKind.USERSPACE

    def make_room(self, port_taken: Callable[[int], bool] = udp_port_taken) -> Wireguard:
        return Wireguard(
            self.backend, now=time.time, alias_of=self._alias_of, port_taken=port_taken
        )

    def _alias_of(self, link: str) -> str | None:
        """Told by ip(8): the daemon's mirror is not what is tested here."""
        text = run("ip", "-d", "-j", "link", "show")
        found = {each["ifname"]: each for each in json.loads(text)}
        return str(found[link].get("ifalias", "")) if link in found else None

    def by_hand(self, link: str, *settings: str, key: PrivateKey | None = None) -> None:
        """A device as an operator makes one: empty, or with what `wg set` is given."""
        if self.userspace:
            run("wireguard-go", link)
        else:
            run("ip", "link", "add", link, "type", "wireguard")
        given = () if key is None else ("private-key", "/dev/stdin")
        if given or settings:
            run("wg", "set", link, *given, *settings, given=key.reveal() if key else None)

    async def delete(self, link: str) -> None:
        """Without the backend, and until its wireguard-go has let go, too."""
        run("ip", "link", "del", link)
        await until(lambda: not exists("/run/wireguard", f"{link}.sock"), "its wireguard-go ends")

    def exec(self, *arguments: str, given: str | None = None) -> str:
        """Run a program at the second node."""
        return run("ip", "netns", "exec", self.name, *arguments, given=given)

    def start(self) -> None:
        if self.userspace:
            self.exec("wireguard-go", OTHER_LINK)
        else:
            self.exec("ip", "link", "add", OTHER_LINK, "type", "wireguard")
        self.use_key(OTHER_KEY)
        self.exec("wg", "set", OTHER_LINK, "listen-port", "51820")
        self.exec(
            *("wg", "set", OTHER_LINK, "peer", public_key_of(OUR_KEY)),
            *("endpoint", f"10.77.0.1:{PORT}", "allowed-ips", "fd00:1::1/128"),
        )
        self.exec("ip", "link", "set", OTHER_LINK, "up")
        self.exec("ip", "-6", "addr", "add", "fd00:1::2/128", "dev", OTHER_LINK, "nodad")
        self.exec("ip", "-6", "route", "add", "fd00:1::/64", "dev", OTHER_LINK)

    def use_key(self, key: PrivateKey) -> None:
        self.exec("wg", "set", OTHER_LINK, "private-key", "/dev/stdin", given=key.reveal())


class Pinger:
    """Pings through the tunnel, a hundred a second, and knows which answers are missing."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.answered: set[int] = set()
        self.times: list[float] = []
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, namespace: str = "", target: str = "fd00:1::2") -> Pinger:
        """From here to the second node, or from another namespace to `target`."""
        inside = ("ip", "netns", "exec", namespace) if namespace else ()
        process = await asyncio.create_subprocess_exec(
            *inside,
            *("ping", "-6", "-n", "-D", "-i", "0.01", target),
            stdout=asyncio.subprocess.PIPE,
        )
        return cls(process)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            found = re.search(rb"\[([\d.]+)\].*icmp_seq=(\d+).*time=", line)
            if found:
                # By ping's clock: this process stands still now and then, and hears of it late.
                self.times.append(float(found[1]))
                self.answered.add(int(found[2]))

    async def more(self, count: int = 20) -> None:
        """Until `count` more answers have come."""
        goal = len(self.answered) + count
        await until(lambda: len(self.answered) >= goal, "answers to ping")

    def lost(self, since: int = 0) -> int:
        """Pings after number `since` that were not answered, up to the last answer."""
        last = max(self.answered)
        return sum(1 for number in range(since + 1, last + 1) if number not in self.answered)

    def longest_silence(self, since: float) -> float:
        """Seconds between two answers, at most; `since`: as time() has it."""
        last = [moment for moment in self.times if moment < since][-1:]
        moments = last + [moment for moment in self.times if moment >= since]
        return max(later - earlier for earlier, later in pairwise(moments))

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        await self._process.wait()
        await self._reader


def exists(*path: str) -> bool:
    return Path(*path).exists()


def environment(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def wireguard_go(link: str) -> int:
    """Pid of the wireguard-go of a link in this network namespace."""
    own = os.readlink("/proc/self/ns/net")
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().split(b"\0")
            namespace = os.readlink(entry / "ns/net")
        except OSError:
            continue
        if command[:2] == [b"wireguard-go", link.encode()] and namespace == own:
            return int(entry.name)
    raise AssertionError(f"no wireguard-go for {link}")

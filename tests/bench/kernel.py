"""`make bench-kernel`: kernel WireGuard, ours and wireguard-tools side by side in one virtual machine.

Cold sets against `wg syncconf` of the same peers, one changed peer against `wg set`, reading back
against `wg show dump`; each as the median of several turns, taken alternately, because an emulated
machine is noisy. What is ours is measured twice: the backend alone (messages and sockets), and the room
(also the plan, which looks at all peers), which is what a running agent has to do. A tool's time
includes its start, since whoever uses it pays for that. Emulation makes all of it ten to twenty times
slower: read the ratios, not the times.

Exit code 0 when it could be measured, whether or not targets were met; as `make test-kernel` else.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from pathlib import Path
from typing import Final

from benchmarks.figures import Row, table

from netns_lab.errors import LabError
from netns_lab.vm import machine
from netns_lab.vm.errors import CannotRunError, DiedError, TimedOutError
from powernode_agent.model.change import in_order
from powernode_agent.model.keys import make_private_key
from powernode_agent.model.network import Interface, Network, PeerRole, PlatformKey, RoutingMode
from powernode_agent.model.values import Endpoint, NetworkId, PeerId, PublicKey
from powernode_agent.netlink.dispatcher import Netlink
from powernode_agent.wireguard.host import link_driver
from powernode_agent.wireguard.kernel import Kernel
from powernode_agent.wireguard.port import DeviceWrite, PeerWrite
from powernode_agent.wireguard.subsystem import Wireguard
from powernode_agent.wireguard.target import DeviceTarget, PeerTarget

ROOT: Final = Path(__file__).resolve().parents[2]
INSIDE: Final = "--inside"
TIME_LIMIT: Final = 900.0
NET: Final = NetworkId("net-core")
KEY: Final = make_private_key(b"\x11" * 32)
OURS: Final = "wg-sdwan-core"
THEIRS: Final = "wg-tools"
COLD_TURNS: Final = 5
CHANGE_TURNS: Final = 15
READ_TURNS: Final = 5
WG: Final = "/usr/bin/wg"


def main() -> int:
    """Boot the machine and measure in it; see above."""
    try:
        ended = machine.run(
            [sys.executable, str(Path(__file__).resolve()), INSIDE],
            timeout=TIME_LIMIT,
            memory=3072,
            directory=ROOT,
            environment={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
    except CannotRunError as error:
        print(f"bench-kernel: skipped, this machine cannot run it: {error}")
        return 0
    except (TimedOutError, DiedError) as error:
        print(f"bench-kernel: {error}", file=sys.stderr)
        return error.code
    except LabError as error:
        print(f"bench-kernel: {error}", file=sys.stderr)
        return DiedError.code
    print(f"bench-kernel: {ended.acceleration.value}")
    return ended.code


async def inside() -> None:
    """All figures, in the machine; garbage is collected as the daemon has it (`daemon.__main__`)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    netlink = Netlink()
    await netlink.start()
    rows: list[Row] = []
    try:
        numbers = itertools.count()
        for count in (1000, 5000):
            rows += await Bench(netlink, count, numbers).run()
            print(f"{count} peers done", flush=True)
    finally:
        await netlink.close()
    print(table(rows))


class Bench:
    """The figures for a device of `count` peers."""

    def __init__(self, netlink: Netlink, count: int, numbers: Iterator[int]) -> None:
        self._count = count
        self._numbers = numbers
        self._kernel = Kernel(netlink)
        self._room = Wireguard(self._kernel, now=time.time)
        self._target = _target(count)

    async def run(self) -> list[Row]:
        return [*await self._cold(), *await self._one(), *await self._read()]

    async def _cold(self) -> list[Row]:
        write = DeviceWrite(peers=tuple(map(_write, self._target.peers.values())))
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(_config(self._target))
            file.flush()
            backend, room, tool = await _turns(
                COLD_TURNS,
                (self._anew, lambda: self._kernel.write(OURS, write)),
                (self._anew, self._converge),
                (self._anew, lambda: _tool("syncconf", THEIRS, file.name)),
            )
        name = f"cold set, {self._count} peers"
        return [
            Row(f"{name}: backend", backend, "ms", "against wg syncconf", tool, ratio_limit=1.2),
            Row(f"{name}: room", room, "ms", "against wg syncconf", tool, ratio_limit=1.2),
        ]

    async def _one(self) -> list[Row]:
        keys = list(self._target.peers)
        turn = 0

        def changed() -> PeerTarget:
            nonlocal turn
            turn += 1
            peer = self._target.peers[keys[turn * 7 % len(keys)]]
            extra = IPv6Network(f"fd00:2::{turn:x}/128")
            return replace(peer, allowed_ips=peer.allowed_ips | {extra})

        async def backend() -> None:
            await self._kernel.write(OURS, DeviceWrite(peers=(_write(changed()),)))

        async def room() -> None:
            peer = changed()
            self._target = replace(
                self._target, peers={**self._target.peers, peer.public_key: peer}
            )
            await self._apply()

        async def tool() -> None:
            peer = changed()
            allowed = ",".join(map(str, peer.allowed_ips))
            await _tool("set", THEIRS, "peer", peer.public_key, "allowed-ips", allowed)

        await self._room.observe([_network()])
        first, second, third = await _turns(
            CHANGE_TURNS, (_nothing, backend), (_nothing, room), (_nothing, tool)
        )
        name = f"one changed of {self._count} peers"
        return [
            Row(f"{name}: backend", first, "ms", "against wg set", third, ratio_limit=1.0),
            Row(f"{name}: room", second, "ms", "against wg set", third, ratio_limit=1.0),
        ]

    async def _read(self) -> list[Row]:
        async def ours() -> None:
            await self._kernel.read(OURS)

        await ours()
        backend, tool = await _turns(
            READ_TURNS,
            (_nothing, ours),
            (_nothing, lambda: _tool("show", THEIRS, "dump")),
        )
        return [Row(f"read {self._count} peers", backend, "ms", "against wg show dump", tool)]

    async def _anew(self) -> None:
        """Both devices empty, with their key and up, as a device is that has a network.

        What was there is put aside, not deleted: the kernel waits for an RCU grace period for each peer
        that goes, and the machine is thrown away in the end.
        """
        for link in (OURS, THEIRS):
            if link_driver(link) is not None:
                _ip("link", "set", link, "down")
                _ip("link", "set", link, "name", f"old{next(self._numbers)}")
            await self._kernel.create(link)
            await self._kernel.write(link, DeviceWrite(private_key=KEY))
            _ip("link", "set", link, "up")

    async def _converge(self) -> None:
        await self._room.observe([_network()])
        await self._apply()

    async def _apply(self) -> None:
        for change in in_order(self._room.plan({NET: self._target})):
            await change.apply()


_Turn = tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]


async def _turns(count: int, *pairs: _Turn) -> list[float]:
    """The median milliseconds of each pair's second half, in turns; the first half makes it ready."""
    times: list[list[float]] = [[] for _ in pairs]
    for _ in range(count):
        for found, (prepare, run) in zip(times, pairs, strict=True):
            await prepare()
            started = time.perf_counter()
            await run()
            found.append(1000 * (time.perf_counter() - started))
    return [statistics.median(found) for found in times]


async def _tool(*arguments: str) -> None:
    subprocess.run([WG, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: ASYNC221


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


async def _nothing() -> None:
    return


def _network() -> Network:
    return Network(
        id=NET,
        name="core",
        handle="core",
        prefix=IPv6Network("fd00:1::/64"),
        routing_mode=RoutingMode.STATIC,
        interface=Interface(
            peer_id=PeerId("ours"),
            address=IPv6Address("fd00:1::1"),
            role=PeerRole.HUB,
            listen_port=51820,
            key=PlatformKey(KEY),
        ),
    )


def _target(count: int) -> DeviceTarget:
    peers = {}
    for number in range(count):
        raw = b"\x09" + number.to_bytes(4, "big") + b"\x55" * 27
        key = PublicKey(base64.b64encode(raw).decode())
        peers[key] = PeerTarget(
            peer_id=PeerId(f"p{number}"),
            name=f"p{number}",
            public_key=key,
            preshared_key=None,
            endpoint=Endpoint(IPv4Address("198.18.0.0") + number, 51820),
            keepalive=0,
            allowed_ips=frozenset({IPv6Network(f"fd00:1::1:{number:x}/128")}),
        )
    return DeviceTarget(NET, "core", OURS, KEY, 51820, peers)


def _write(peer: PeerTarget) -> PeerWrite:
    return PeerWrite(peer.public_key, endpoint=peer.endpoint, allowed_ips=peer.allowed_ips)


def _config(target: DeviceTarget) -> str:
    lines = ["[Interface]", f"PrivateKey = {KEY.reveal()}"]
    for peer in target.peers.values():
        lines += ["[Peer]", f"PublicKey = {peer.public_key}", f"Endpoint = {peer.endpoint}"]
        lines.append("AllowedIPs = " + ", ".join(map(str, peer.allowed_ips)))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if INSIDE in sys.argv:
        asyncio.run(inside())
    else:
        sys.exit(main())

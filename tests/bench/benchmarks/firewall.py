"""The firewall with 10,000 rules: loading them, one more member of a tag, and what packets pay.

Everything happens in three namespaces of its own, a client and a server on either side of the node that
filters; its link to the client bears a name of ours. The agent's own code compiles and applies; what it
is held against is `nft -f` of the very text it makes, the same node with ten rules, and the same ten
thousand as a linear chain. Rounds of all variants alternate, so that noise falls on all of them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.evidence import timed
from benchmarks.figures import Row, spread
from benchmarks.world import World

from netns_lab import processes
from netns_lab.errors import LabError
from netns_lab.paths import NETWORK_NAMESPACES
from netns_lab.syscalls import in_network_namespace
from powernode_agent.firewall.compile import Filter, compile_filter
from powernode_agent.model.change import Phase
from powernode_agent.model.firewall import (
    AllSelector,
    CidrSelector,
    FirewallAction,
    FirewallDirection,
    FirewallPolicy,
    FirewallProtocol,
    FirewallRule,
    FirewallRuleId,
    FirewallSelector,
    FirewallTag,
    FirewallTagId,
    PeerSelector,
    PortRange,
    TagSelector,
)
from powernode_agent.model.network import Interface, Network, NodeKey, PeerRole, RoutingMode
from powernode_agent.model.network_state import NetworkState
from powernode_agent.model.values import NetworkId, PeerId, Prefix
from powernode_agent.nftables.composition import whole
from powernode_agent.nftables.ruleset import Ruleset
from powernode_agent.nftables.script import Key
from powernode_agent.nftables.seal import SealFile
from powernode_agent.nftables.socket import generation
from powernode_agent.nftables.watch import Watch
from powernode_agent.nftables.worker import Worker

RULES: Final = 10_000
MEMBERS: Final = 10_000
ROUNDS: Final = 5
OTHERS: Final = 140
"""Transactions a second of somebody else's, as of kube-proxy on a busy node."""
_BUSY: Final = r"""
import sys, time
from powernode_agent.nftables.library import Library
library = Library()
while True:
    library.run("add table ip other\nadd chain ip other c\nadd rule ip other c accept\n"
                "add table ip other\ndelete table ip other\n")
    time.sleep(1 / float(sys.argv[1]))
"""
CONNECTIONS: Final = 400
STREAM_SECONDS: Final = 0.6
PORT: Final = 5001
LINK: Final = "wg-sdwan-b"
CLIENT, SERVER = IPv6Address("fd00:b::2"), IPv6Address("fd00:c::2")
TAG: Final = FirewallTagId("tenants")
NETWORK: Final = NetworkId("b")
KEY: Final = Key("firewall", NETWORK)


def run(world: World) -> list[Row]:
    """All rows; `world` is only told of the progress."""
    with _nodes() as nodes:
        return [
            *in_network_namespace(nodes.filter, lambda: asyncio.run(_loading(world))),
            *_traffic(nodes, world),
        ]


# Loading.


async def _loading(world: World) -> list[Row]:
    many = _state(RULES)
    few = _state(10)
    text = whole({KEY: compile_filter(many, (), 1420).fragment}).text()
    compiling: list[float] = []
    load: list[float] = []
    reference: list[float] = []
    with tempfile.NamedTemporaryFile("w", suffix=".nft") as file:
        file.write(text)
        file.flush()
        for _ in range(ROUNDS):
            reference.append(timed(lambda: processes.run(["nft", "-f", file.name])))
            compiling.append(timed(lambda: compile_filter(many, (), 1420)))
            made = compile_filter(many, (), 1420)
            async with _Ruleset() as ruleset:
                started = time.perf_counter()
                await _bring(ruleset, made)
                load.append((time.perf_counter() - started) * 1000)
    world.progress(f"{RULES} rules: {median(load):.0f} ms, nft -f {median(reference):.0f} ms")
    removing = await _thousand_fewer()
    repairs = await _repaired(many)
    with_many = await _one_member(many)
    with_few = await _one_member(few)
    return [
        Row(
            f"full replace of {RULES:,} rules",
            median(load),
            "ms",
            f"plan and apply what was compiled; {spread(load)}; reference: nft -f of the same text"
            f" ({len(text) // 1024} KiB)",
            reference=median(reference),
            ratio_limit=1.3,
        ),
        Row(
            f"compiling {RULES:,} rules",
            median(compiling),
            "ms",
            f"from the desired state, shadowed rules found; {spread(compiling)}; once a change",
        ),
        Row(
            "1,000 of 10,000 cidr rules removed",
            median(removing),
            "ms",
            f"compile and apply; {spread(removing)}; one by one, libnftables takes ten seconds",
        ),
        Row(
            f"{RULES:,} rules flushed by somebody, until all stand again",
            median(repairs),
            "ms",
            f"beside another writer of {OTHERS} transactions a second; {spread(repairs)}",
            limit=1000.0,
        ),
        Row(
            f"one member more in a tag of {MEMBERS:,}, beside {RULES:,} rules",
            median(with_many),
            "ms",
            f"compile and apply; {spread(with_many)}; reference: the same beside 10 rules",
            reference=median(with_few),
            limit=20.0,
        ),
    ]


async def _thousand_fewer() -> list[float]:
    """Rules of prefixes alone: what is taken from a map of ranges is what is slow in nftables."""
    few = _state(10)
    rules = [
        replace(_rule(number, RULES), selector=CidrSelector(_network(number)))
        for number in range(RULES)
    ]
    every = replace(few, firewall_rules={rule.id: rule for rule in rules})
    fewer = replace(few, firewall_rules={rule.id: rule for rule in rules[1000:]})
    found: list[float] = []
    for _ in range(ROUNDS):
        async with _Ruleset() as ruleset:
            before = compile_filter(every, (), 1420)
            await _bring(ruleset, before)
            started = time.perf_counter()
            await _bring(ruleset, compile_filter(fewer, (), 1420, before))
            found.append((time.perf_counter() - started) * 1000)
    return found


async def _repaired(state: NetworkState) -> list[float]:
    """From `nft flush ruleset` to everything in its place, noticed by the watch."""
    made = compile_filter(state, (), 1420)
    found: list[float] = []
    busy = subprocess.Popen(  # noqa: ASYNC220 - over at once
        [sys.executable, "-c", _BUSY, str(OTHERS)]
    )
    try:
        async with _Ruleset() as ruleset:
            while not ruleset.known or ruleset.standing(KEY) is None:
                await _bring(ruleset, made)
            for _ in range(ROUNDS):
                flushing = await asyncio.to_thread(processes.run, ["nft", "flush", "ruleset"])
                started = time.perf_counter()
                if flushing.returncode:
                    raise LabError("cannot flush the ruleset", value=flushing.stderr)
                while ruleset.known:  # noqa: ASYNC110 - the kernel sets no event
                    await asyncio.sleep(0.001)
                await _bring(ruleset, made)
                found.append((time.perf_counter() - started) * 1000)
                if not ruleset.known:
                    raise LabError("the table did not settle")
    finally:
        busy.kill()
        busy.wait()
    return found


async def _one_member(state: NetworkState) -> list[float]:
    found: list[float] = []
    async with _Ruleset() as ruleset:
        before = compile_filter(state, (), 1420)
        await _bring(ruleset, before)
        for turn in range(2 * ROUNDS):
            tag = state.firewall_tags[TAG]
            more = replace(tag, members=tag.members | {_host(0xFFFF0000 + turn)})
            started = time.perf_counter()
            state = replace(state, firewall_tags={TAG: more})
            before = compile_filter(state, (), 1420, before)
            await _bring(ruleset, before)
            found.append((time.perf_counter() - started) * 1000)
        listed = processes.run(["nft", "list", "set", "inet", "powernode_sdwan", _tag_set(before)])
        if str(_host(0xFFFF0000).network_address) not in listed.stdout:
            raise LabError("the kernel does not have the new member")
    return found


def _tag_set(filter_: Filter) -> str:
    return next(iter(filter_.tag_objects[TAG]))


class _Ruleset:
    """A ruleset as the daemon has it, its table gone afterwards."""

    def __init__(self) -> None:
        self._worker = Worker()
        self._watch = Watch(
            "powernode_sdwan", lambda: generation().number, self._worker.writer, time.monotonic
        )
        self._seals = tempfile.TemporaryDirectory()

    async def __aenter__(self) -> Ruleset:
        seals = SealFile(Path(self._seals.name) / "seal.json")
        self._watch.start()
        self.ruleset = Ruleset(self._worker, seals, self._watch, time.monotonic)
        await self.ruleset.purge()
        return self.ruleset

    async def __aexit__(self, *_: object) -> None:
        await self.ruleset.purge()
        self._watch.close()
        self._worker.close()
        self._seals.cleanup()


async def _bring(ruleset: Ruleset, filter_: Filter) -> None:
    await ruleset.observe()
    for change in ruleset.plan({KEY: filter_.fragment}, {"firewall": Phase.FILTER}):
        await change.apply()


# Traffic.


def _traffic(nodes: _Nodes, world: World) -> list[Row]:
    ten = whole({KEY: compile_filter(_state(10), (), 1420).fragment}).text()
    many = whole({KEY: compile_filter(_state(RULES), (), 1420).fragment}).text()
    variants = {"ten": ten, "many": many, "linear": _linear(_state(RULES))}
    rates: dict[str, list[float]] = {name: [] for name in variants}
    latencies: dict[str, list[float]] = {name: [] for name in variants}
    with _listening(nodes):
        for turn in range(ROUNDS):
            for name, script in variants.items():
                _load(nodes, script)
                latencies[name].append(_connect(nodes))
                rates[name].append(_stream(nodes))
            world.progress(f"traffic, round {turn + 1} of {ROUNDS}")
    slowness = {name: 1 / median(each) for name, each in rates.items()}
    rate = {name: median(each) * 8 / 1e9 for name, each in rates.items()}
    return [
        Row(
            f"time a forwarded byte takes, {RULES:,} rules",
            slowness["many"] * 1e9,
            "ns",
            f"one TCP stream, {rate['many']:.2f} Gbit/s; reference: 10 rules, {rate['ten']:.2f}"
            " Gbit/s; the target of 0.95x the throughput, turned round",
            reference=slowness["ten"] * 1e9,
            ratio_limit=1 / 0.95,
        ),
        Row(
            f"a new connection, {RULES:,} rules",
            median(latencies["many"]),
            "us",
            f"TCP connect through the node, median of {CONNECTIONS} in {ROUNDS} rounds;"
            " reference: 10 rules",
            reference=median(latencies["ten"]),
            ratio_limit=1 / 0.95,
        ),
        Row(
            "the same as a linear chain",
            median(latencies["linear"]),
            "us",
            f"{RULES:,} rules one after the other, {rate['linear']:.2f} Gbit/s;"
            " reference: ours with as many",
            reference=median(latencies["many"]),
        ),
    ]


def _load(nodes: _Nodes, script: str) -> None:
    in_network_namespace(
        nodes.filter, lambda: processes.run(["nft", "-f", "-"], stdin=script, timeout=60)
    )


def _connect(nodes: _Nodes) -> float:
    """Median of connects, in microseconds."""

    def measure() -> float:
        found: list[float] = []
        for _ in range(CONNECTIONS):
            with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
                sock.settimeout(2)
                started = time.perf_counter()
                sock.connect((str(SERVER), PORT))
                found.append((time.perf_counter() - started) * 1e6)
        return median(found)

    return in_network_namespace(nodes.client, measure)


def _stream(nodes: _Nodes) -> float:
    """Bytes a second of one stream."""

    def measure() -> float:
        block = bytes(1 << 20)
        with socket.create_connection((str(SERVER), PORT), timeout=5) as sock:
            sent, started = 0, time.perf_counter()
            while time.perf_counter() - started < STREAM_SECONDS:
                sent += sock.send(block)
            sock.shutdown(socket.SHUT_WR)
            sock.recv(1)  # its end: all of it has arrived
            return sent / (time.perf_counter() - started)

    return in_network_namespace(nodes.client, measure)


@contextmanager
def _listening(nodes: _Nodes) -> Iterator[None]:
    """A server that reads whatever comes, and closes when the other side does."""
    server = in_network_namespace(
        nodes.server,
        lambda: socket.create_server((str(SERVER), PORT), family=socket.AF_INET6, backlog=512),
    )

    def drain(sock: socket.socket) -> None:
        with sock:
            buffer = bytearray(1 << 20)
            while sock.recv_into(buffer):
                pass

    def accept() -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=drain, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@dataclass(frozen=True, slots=True)
class _Nodes:
    client: Path
    filter: Path
    server: Path


@contextmanager
def _nodes() -> Iterator[_Nodes]:
    names = {role: f"pnb-{os.getpid()}-{role}" for role in ("client", "filter", "server")}
    try:
        for name in names.values():
            processes.run(["ip", "netns", "add", name])
        commands = [
            f"link add {LINK} netns {names['filter']} type veth peer name eth0 netns {names['client']}",
            f"link add lan0 netns {names['filter']} type veth peer name eth0 netns {names['server']}",
            f"-n {names['filter']} address add fd00:b::1/64 dev {LINK} nodad",
            f"-n {names['filter']} address add fd00:c::1/64 dev lan0 nodad",
            f"-n {names['client']} address add {CLIENT}/64 dev eth0 nodad",
            f"-n {names['server']} address add {SERVER}/64 dev eth0 nodad",
            f"-n {names['filter']} link set {LINK} up",
            f"-n {names['filter']} link set lan0 up",
            f"-n {names['client']} link set eth0 up",
            f"-n {names['server']} link set eth0 up",
            # Neighbours are told: a link of ours has no discovery, which the filter would drop.
            f"-n {names['filter']} link set {LINK} address 02:00:00:00:00:01",
            f"-n {names['client']} link set eth0 address 02:00:00:00:00:02",
            f"-n {names['filter']} neigh add {CLIENT} lladdr 02:00:00:00:00:02 dev {LINK}",
            f"-n {names['client']} neigh add fd00:b::1 lladdr 02:00:00:00:00:01 dev eth0",
            f"-n {names['client']} route add default via fd00:b::1",
            f"-n {names['server']} route add default via fd00:c::1",
        ]
        for command in commands:
            processes.run(["ip", *command.split()])
        forwarding = ["sysctl", "-qw", "net.ipv6.conf.all.forwarding=1"]
        processes.run(["ip", "netns", "exec", names["filter"], *forwarding])
        yield _Nodes(*(NETWORK_NAMESPACES / name for name in names.values()))
    finally:
        for name in names.values():
            processes.run(["ip", "netns", "delete", name], check=False)


# Rules.


def _state(rules: int) -> NetworkState:
    """A network of so many rules; what the benchmark's own traffic needs is let in by the last."""
    interface = Interface(PeerId("hub"), IPv6Address("fd00:b::1"), PeerRole.HUB, 51820, NodeKey(1))
    network = Network(
        NETWORK,
        "bench",
        "b",
        IPv6Network("fd00:b::/64"),
        RoutingMode.STATIC,
        interface,
        firewall_policy=FirewallPolicy(FirewallAction.DROP, FirewallAction.ACCEPT),
    )
    made = [_rule(number, rules) for number in range(rules - 1)]
    made.append(
        FirewallRule(
            FirewallRuleId("last"),
            NETWORK,
            FirewallDirection.INGRESS,
            FirewallAction.ACCEPT,
            AllSelector(),
            FirewallProtocol.TCP,
            created_at_ms=1,
            port_range=PortRange(PORT, PORT),
            priority=1_000_000,
        )
    )
    tag = FirewallTag(TAG, NETWORK, "tenants", frozenset(_host(n + 1) for n in range(MEMBERS)))
    return NetworkState(network, firewall_rules={r.id: r for r in made}, firewall_tags={TAG: tag})


def _rule(number: int, of: int) -> FirewallRule:
    """One of four kinds in turn, none of which is about the benchmark's traffic."""
    selectors: tuple[Callable[[], FirewallSelector], ...] = (
        lambda: PeerSelector(PeerId(f"p-{number}"), (_host(0xA0000000 + number),)),
        lambda: TagSelector(TAG),
        lambda: CidrSelector(_network(number)),
        AllSelector,
    )
    port = 10_000 + number * 5 % 50_000
    return FirewallRule(
        FirewallRuleId(f"fr-{number}"),
        NETWORK,
        FirewallDirection.INGRESS,
        (FirewallAction.ACCEPT, FirewallAction.DROP)[number % 2],
        selectors[number % 4](),
        (FirewallProtocol.TCP, FirewallProtocol.UDP)[number // 4 % 2],
        created_at_ms=1 + number,
        port_range=PortRange(port, port + number % 3),
        priority=number * 100 // of,
    )


def _network(number: int) -> Prefix:
    return IPv6Network(((0xFD01 << 112) + (number << 64), 64))


def _host(number: int) -> Prefix:
    return IPv6Network(((0xFD02 << 112) + number, 128))


def _linear(state: NetworkState) -> str:
    """The same rules in the same order, each a line of one chain, as one would write them by hand."""
    lines = ["add table inet powernode_sdwan", "delete table inet powernode_sdwan"]
    lines += ["table inet powernode_sdwan {", "set tenants { type ipv6_addr; elements = {"]
    members = state.firewall_tags[TAG].members
    lines += [", ".join(str(m.network_address) for m in members), "}; }", "chain in {"]
    lines.append("ct state established,related accept")
    for rule in sorted(state.firewall_rules.values(), key=lambda each: each.order):
        match rule.selector:
            case PeerSelector(prefixes=prefixes):
                where = f"ip6 saddr {prefixes[0]} "
            case TagSelector():
                where = "ip6 saddr @tenants "
            case CidrSelector(prefix=prefix):
                where = f"ip6 saddr {prefix} "
            case AllSelector():
                where = ""
        lines.append(f"{where}{rule.protocol.value} dport {rule.port_range} {rule.action.value}")
    lines += ["drop", "}", "chain forward { type filter hook forward priority filter;"]
    lines += [f'iifname "{LINK}" goto in', "}", "}"]
    return "\n".join(lines) + "\n"

"""A node in a namespace: two overlays, a LAN and an ordinary uplink, each a TUN link whose other end
the test holds.

What the test writes into a link arrives by it, and what leaves by a link can be read. Where an arriving
packet goes is decided by its type of service, so that any destination can be the node's own, behind
its LAN or back into the overlay. A table of the test's own, after all filters, notes the numbers of
the packets that are still there, and ends them: no packet leaves a trace in conntrack for the next one.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from errno import EHOSTUNREACH, ENETUNREACH
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Final

from tests.netns.firewall.firewall_packets import build, ends, read
from tests.unit.firewall.firewall_reference import Packet

from powernode_agent.model.firewall import FirewallAction
from powernode_agent.nftables.composition import Fragments, whole

CORE, OPS, LAN, UPLINK = "wg-sdwan-core", "wg-sdwan-ops", "lan0", "uplink0"
OWN6, OWN4 = IPv6Address("fd00:1::e:e"), IPv4Address("10.9.77.77")
OPS6, OPS4 = IPv6Address("fd00:2::e:e"), IPv4Address("10.8.77.77")
UPLINK6, UPLINK4 = IPv6Address("2001:db8:ffff::2"), IPv4Address("192.0.2.2")
PEER = IPv6Address("fd00:1::c:1")
LAN6, LAN4 = "fd00:2a::/48", "10.42.0.0/16"
"""Behind the LAN link whatever the type of service says."""
MARK: Final = 77

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x0001 | 0x1000
_LINKS: Final = (CORE, OPS, LAN, UPLINK)
_TABLES: Final = {
    0x04: (255, "local", "lo"),
    0x08: (101, "", LAN),
    0x0C: (102, "", CORE),
    0x10: (103, "", OPS),
}
"""Of each type of service the routing table, and where everything goes by it."""


class Way(Enum):
    """How a packet meets the node: by which link it arrives, and where its type of service sends it."""

    IN_TO_NODE = (CORE, 0x04)
    IN_TO_LAN = (CORE, 0x08)
    THROUGH_HUB = (CORE, 0x0C)
    OUT_FROM_LAN = (LAN, 0x0C)
    OUT_FROM_NODE = ("", 0)


class Verdict(Enum):
    """What became of a packet."""

    PASSED = "accept"
    VANISHED = "drop"
    REFUSED = "reject"

    @classmethod
    def of(cls, action: FirewallAction) -> Verdict:
        return cls(action.value)


@dataclass
class World:
    """The node. `links`: the test's ends of its links."""

    links: Mapping[str, int]
    sockets: Mapping[int, socket.socket]
    loopback: socket.socket

    def load(self, fragments: Fragments) -> None:
        """Put fragments in place of what is there, by `nft` itself."""
        nft(whole(fragments).text())

    def send(self, link: str, raw: bytes) -> None:
        """A packet arrives by a link; when this returns, the kernel is through with it."""
        os.write(self.links[link], raw)

    def send_locally(self, raw: bytes) -> None:
        """The node itself sends a packet by the overlay's link."""
        version = raw[0] >> 4
        _, destination = ends(raw)
        # The kernel tells the sender what a filter did.
        try:
            self.sockets[version].sendto(raw, (str(destination), 0))
        except PermissionError:
            pass
        except OSError as error:
            if error.errno not in (ENETUNREACH, EHOSTUNREACH):  # as which a reject may be told
                raise

    def came(self) -> Iterator[tuple[str, bytes]]:
        """What left by the links, and what the node told itself, since the last call."""
        for name, link in self.links.items():
            while True:
                try:
                    yield name, os.read(link, 65536)
                except BlockingIOError:
                    break
        while True:
            try:
                yield "lo", self.loopback.recv(65536)
            except BlockingIOError:
                break

    def verdicts(self, packets: Iterable[tuple[Way, Packet]]) -> list[Verdict]:
        """What becomes of each packet, all sent in one batch."""
        self.watch()
        refused: set[int] = set()
        sent = 0
        for number, (way, packet) in enumerate(packets, start=1):
            link, tos = way.value
            raw = build(packet, number, tos)
            if link:
                self.send(link, raw)
            else:
                self.send_locally(raw)
            sent = number
            if number % 50 == 0:
                refused |= self._refusals()
        refused |= self._refusals()
        passed = self.noted()
        assert not passed & refused
        return [
            Verdict.PASSED
            if number in passed
            else Verdict.REFUSED
            if number in refused
            else Verdict.VANISHED
            for number in range(1, sent + 1)
        ]

    def _refusals(self) -> set[int]:
        answers = [read(raw) for _, raw in self.came()]
        return {answer.number for answer in answers if answer.is_refusal}

    def watch(self) -> None:
        """Note from here on, in a table after all filters, what passes them; and end it there."""
        links = ", ".join(f'"{name}"' for name in self.links)
        note = ["add @seen4 { ip id }", "@seen6 { ip6 flowlabel }"]
        lines = [f"{note[0]}", f"add {note[1]}", "drop"]
        chains = "\n".join(
            f"chain {hook} {{ type filter hook {hook} priority 300; policy accept;\n"
            + "\n".join(f"{scope} {line}" for line in lines)
            + "\n}"
            for hook, scope in (
                ("input", f"iifname {{ {links} }}"),
                ("forward", f"iifname {{ {links} }}"),
                ("output", f"meta mark {MARK}"),
            )
        )
        sets = "\n".join(
            f"set {name} {{ typeof {of}\nsize 65535\nflags dynamic\n}}"
            for name, of in (("seen4", "ip id"), ("seen6", "ip6 flowlabel"))
        )
        nft(
            f"add table inet test\ndelete table inet test\ntable inet test {{\n{sets}\n{chains}\n}}\n"
        )

    def unwatch(self) -> None:
        """Let through again what passes the filters."""
        nft("add table inet test\ndelete table inet test\n")

    def noted(self) -> set[int]:
        """The numbers of the packets that passed since `watch`."""
        found: set[int] = set()
        for held in re.findall(r"elements = \{([^}]*)\}", nft("list table inet test")):
            found.update(int(number, 0) for number in held.split(","))
        return found


@contextmanager
def world() -> Iterator[World]:
    """The node, in the namespace that the calling thread is in."""
    with ExitStack() as stack:
        links = {}
        for name in (CORE, OPS, LAN, UPLINK):
            links[name] = _tun(name)
            stack.callback(os.close, links[name])
        _furnish()
        sockets = {4: _raw(socket.AF_INET), 6: _raw(socket.AF_INET6)}
        everything = socket.htons(3)  # ETH_P_ALL
        loopback = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, everything)
        loopback.bind(("lo", 3))
        loopback.setblocking(False)
        for each in (*sockets.values(), loopback):
            stack.enter_context(each)
        yield World(links, sockets, loopback)


def nft(script: str) -> str:
    """Run a script by `nft`; what it prints, without counts."""
    done = subprocess.run(["nft", "-s", "-f", "-"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\n{script[:2000]}"
    return done.stdout


def _tun(name: str) -> int:
    link = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(link, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI))
    return link


def _raw(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, CORE.encode())
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
    if family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    return made


def _furnish() -> None:
    for key, value in (
        ("ipv4/ip_forward", "1"),
        ("ipv6/conf/all/forwarding", "1"),
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/icmp/ratelimit", "0"),
        ("ipv4/icmp_msgs_per_sec", "1000000"),
        ("ipv4/icmp_msgs_burst", "1000000"),
        *(
            (f"ipv4/conf/{link}/{setting}", value)
            for link in ("all", CORE, OPS, LAN, UPLINK)
            for setting, value in (("rp_filter", "0"), ("accept_local", "1"))
        ),
    ):
        (Path("/proc/sys/net") / key).write_text(value)
    for link in (CORE, OPS, LAN, UPLINK):
        # Not a word of its own: no router solicitations between the test's packets.
        (Path("/proc/sys/net/ipv6/conf") / link / "addr_gen_mode").write_text("1")
    links = ["link set lo up", *(f"link set {link} up txqueuelen 5000" for link in _LINKS)]
    _ip(links)
    for family, everything, owns, beyond, lan in (
        ("-6", "::/0", {CORE: OWN6, OPS: OPS6, UPLINK: UPLINK6}, "2001:db8:ffff::/64", LAN6),
        ("-4", "0.0.0.0/0", {CORE: OWN4, OPS: OPS4, UPLINK: UPLINK4}, "192.0.2.0/24", LAN4),
    ):
        # The kernel answers only from what its table of local addresses holds, so all addresses are in
        # it; and so it is asked only for the node's own.
        lines = []
        for link, own in owns.items():
            lines.append(f"addr add {own} dev {link}{' nodad' if family == '-6' else ''}")
            lines.append(f"rule add to {own} table local priority 10")
        lines.append("rule del priority 0")
        for tos, (table, kind, link) in _TABLES.items():
            lines.append(f"rule add tos {tos:#x} table {table} priority 100")
            lines.append(f"route add {kind} {everything} dev {link} table {table}")
        # Where everything else goes, and the node's own answers, whoever asked.
        lines += [
            f"route add {everything} dev {CORE}",
            f"route add {beyond} dev {UPLINK}",
            f"route add {lan} dev {LAN}",
        ]
        _ip(lines, family)


def _ip(lines: Iterable[str], *options: str) -> None:
    done = subprocess.run(
        ["ip", *options, "-batch", "-"],
        input="\n".join(lines) + "\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr

"""The prober: sends ICMP echo requests at an even rate and counts what comes back.

Run inside a node as `python -m netns_lab.probe_main ADDRESS`, by `prober.start`. It writes "ready"
once its first probe is out, one line of JSON at SIGUSR1 (so far) and one at SIGTERM or SIGINT (the
result, after a grace period for answers still under way), and nothing else: it does not depend on
what `ping` prints. The schedule is absolute, so a late probe does not delay the ones after it.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import socket
import struct
import sys
import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address
from select import select
from types import FrameType
from typing import Final

from netns_lab.probe_stats import ProbeResult, summarise, to_json

# RFC 4443, section 4; RFC 792.
ECHO_REQUEST_6: Final = 128
ECHO_REPLY_6: Final = 129
ECHO_REQUEST_4: Final = 8
ECHO_REPLY_4: Final = 0
ICMP6_FILTER: Final = 1  # linux/icmpv6.h
HEADER: Final = struct.Struct("!BBHHH")
PAYLOAD: Final = struct.Struct("!8sQ")
"""Who we are (random, so that another prober's answers are not ours) and the whole sequence number
(the one in the header is 16 bits)."""


class Prober:
    """One target, one socket, and the record of every probe."""

    def __init__(self, target: IPv4Address | IPv6Address, source: str, interval: float) -> None:
        self._target = target
        self._interval = interval
        self._mark = os.urandom(8)
        self._identifier = os.getpid() & 0xFFFF
        self._sent_at: list[float] = []
        self._received_at: dict[int, float] = {}
        self._errors: Counter[str] = Counter()
        self._socket = _open(target)
        if source:
            self._socket.bind((source, 0))

    def send(self, now: float) -> None:
        sequence = len(self._sent_at)
        self._sent_at.append(now)
        try:
            self._socket.sendto(self._request(sequence), (str(self._target), 0))
        except OSError as error:
            # No route, no permission by a filter, no device: exactly what a probe is there to see.
            self._errors[errno.errorcode.get(error.errno or 0, "unknown")] += 1

    def receive(self, until: float) -> None:
        """Take answers until the given time."""
        while True:
            readable, _, _ = select([self._socket], [], [], max(0.0, until - time.monotonic()))
            if not readable:
                return
            self._take()

    def everything_answered(self) -> bool:
        return len(self._received_at) == len(self._sent_at)

    def result(self) -> ProbeResult:
        return summarise(
            target=str(self._target),
            interval=self._interval,
            sent_at=self._sent_at,
            received_at=self._received_at,
            send_errors=self._errors,
        )

    def _request(self, sequence: int) -> bytes:
        payload = PAYLOAD.pack(self._mark, sequence)
        if self._target.version == 6:
            # The kernel fills in the checksum of ICMPv6 raw sockets (RFC 3542, section 3.1).
            return HEADER.pack(ECHO_REQUEST_6, 0, 0, self._identifier, sequence & 0xFFFF) + payload
        draft = HEADER.pack(ECHO_REQUEST_4, 0, 0, self._identifier, sequence & 0xFFFF) + payload
        return draft[:2] + struct.pack("!H", internet_checksum(draft)) + draft[4:]

    def _take(self) -> None:
        packet = self._socket.recv(2048)
        now = time.monotonic()
        if self._target.version == 4:
            packet = packet[(packet[0] & 0x0F) * 4 :]  # raw IPv4 sockets deliver the IP header
        if len(packet) < HEADER.size + PAYLOAD.size:
            return
        kind, _, _, identifier, _ = HEADER.unpack_from(packet)
        mark, sequence = PAYLOAD.unpack_from(packet, HEADER.size)
        if kind in {ECHO_REPLY_4, ECHO_REPLY_6} and (identifier, mark) == (
            self._identifier,
            self._mark,
        ):
            # A duplicate must not make one probe count twice, nor look slower than it was.
            self._received_at.setdefault(sequence, now)


def internet_checksum(data: bytes) -> int:
    """RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _open(target: IPv4Address | IPv6Address) -> socket.socket:
    if target.version == 4:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    opened = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    # Set bits are blocked: everything but echo replies, or a flood of others would fill our buffer.
    blocked = bytearray(b"\xff" * 32)
    word, bit = divmod(ECHO_REPLY_6, 32)
    struct.pack_into("=I", blocked, word * 4, 0xFFFFFFFF & ~(1 << bit))
    opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, bytes(blocked))
    return opened


def main() -> int:
    parser = argparse.ArgumentParser(prog="netns_lab.probe_main", description=__doc__)
    parser.add_argument("address", type=ip_address)
    parser.add_argument("--source", default="", help="address to send from")
    parser.add_argument("--rate", type=float, default=100.0, help="probes a second")
    parser.add_argument("--grace", type=float, default=1.0, help="seconds to wait for late answers")
    arguments = parser.parse_args()

    asked: Counter[str] = Counter()

    def stop(number: int, frame: FrameType | None) -> None:
        asked["stop"] += 1

    def show(number: int, frame: FrameType | None) -> None:
        asked["show"] += 1

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGUSR1, show)

    interval = 1.0 / arguments.rate
    prober = Prober(arguments.address, arguments.source, interval)
    begin = time.monotonic()
    tick = 0
    while not asked["stop"]:
        prober.send(time.monotonic())
        if tick == 0:
            print("ready", flush=True)
        # After a stall the schedule goes on from now: a burst would measure the burst.
        tick = max(tick + 1, int((time.monotonic() - begin) / interval))
        prober.receive(begin + tick * interval)
        if asked["show"]:
            asked["show"] = 0
            print(to_json(prober.result()), flush=True)
    deadline = time.monotonic() + arguments.grace
    while not prober.everything_answered() and time.monotonic() < deadline:
        prober.receive(min(deadline, time.monotonic() + 0.01))
    print(to_json(prober.result()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

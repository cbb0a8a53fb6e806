"""The prober on real raw sockets: two namespaces, one veth pair."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root")

HERE = Path(__file__).parent
NEAR, FAR, OTHER = "fd77::1", "fd77::2", "fd77::9"
DEADLINE = 30.0
"""Seconds in which everything here happens even on a machine that does much else."""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Child:
    """A child in a namespace; lines to it and from it."""

    def __init__(self, namespace: str, script: str, *prefix: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *prefix, sys.executable, str(HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._buffer = b""

    def tell(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()

    def line(self, within: float = DEADLINE) -> str | None:
        """The next line; None: none came in time."""
        assert self.process.stdout is not None
        until = time.monotonic() + within
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return None
            read = os.read(self.process.stdout.fileno(), 65536)
            if not read:
                return None
            self._buffer += read
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()

    def event(self, kind: str, **wanted: object) -> dict[str, Any]:
        """The next event of this kind with these fields; others are passed over."""
        passed = []
        while (line := self.line()) is not None:
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind and all(event[k] == v for k, v in wanted.items()):
                return event
            passed.append(event)
        raise AssertionError(f"no event {kind} {wanted} came; there were {passed}")

    def ask(self, **command: object) -> None:
        self.tell(json.dumps(command))

    def sent(self) -> dict[str, int]:
        self.ask(readings=True)
        sent: dict[str, int] = self.event("readings")["sent"]
        return sent

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@contextmanager
def child(namespace: str, script: str, *prefix: str) -> Iterator[Child]:
    started = Child(namespace, script, *prefix)
    try:
        yield started
    finally:
        started.end()


@pytest.fixture
def sites() -> Iterator[tuple[str, str]]:
    """Two namespaces; the near one routes fd77::/64 to the far one, whatever address is asked."""
    near, far = (f"pnt-probe{os.getpid()}{which}" for which in "ab")
    made = []
    try:
        for name in (near, far):
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", near, "link", "add", "v0", "type", "veth", "peer", "name", "v0", "netns", far)
        for name, own, other in ((near, NEAR, FAR), (far, FAR, NEAR)):
            ip("-n", name, "link", "set", "v0", "up")
            ip("-n", name, "addr", "add", f"{own}/128", "dev", "v0", "nodad")
            ip("-n", name, "route", "add", f"{other}/128", "dev", "v0")
        ip("-n", near, "route", "add", "fd77::/64", "via", FAR)
        yield near, far
    finally:
        for name in made:
            ip("netns", "del", name)


def watched(destination: str = FAR, link: str = "v0") -> dict[str, list[str]]:
    return {"hub": [link, NEAR, destination, "WATCHED"]}


def test_alive_then_dead_then_alive_again(sites: tuple[str, str]) -> None:
    near, far = sites
    with child(near, "prober_child.py") as prober:
        prober.ask(targets=watched())
        prober.event("change", peer="hub", state="alive")
        ip("-n", far, "addr", "del", f"{FAR}/128", "dev", "v0")
        prober.event("change", peer="hub", state="dead")
        ip("-n", far, "addr", "add", f"{FAR}/128", "dev", "v0", "nodad")
        prober.event("change", peer="hub", state="alive")


def test_a_link_that_is_gone_is_no_evidence_of_death(sites: tuple[str, str]) -> None:
    near, _ = sites
    with child(near, "prober_child.py") as prober:
        prober.ask(targets=watched())
        prober.event("change", peer="hub", state="alive")
        ip("-n", near, "link", "del", "v0")
        event = prober.event("change", peer="hub")
        assert event["state"] is None, "not measured, and not dead"
        assert prober.sent() == {}


def test_a_link_that_was_made_anew_is_found_by_its_name(sites: tuple[str, str]) -> None:
    near, _ = sites
    with child(near, "prober_child.py") as prober:
        prober.ask(targets=watched(link="v1"))
        ip("-n", near, "link", "set", "v0", "down")
        ip("-n", near, "link", "set", "v0", "name", "v1")
        ip("-n", near, "link", "set", "v1", "up")
        ip("-n", near, "addr", "replace", f"{NEAR}/128", "dev", "v1", "nodad")
        ip("-n", near, "route", "replace", f"{FAR}/128", "dev", "v1")
        prober.event("change", peer="hub", state="alive")


def test_only_answers_from_the_peer_itself_count(sites: tuple[str, str]) -> None:
    near, far = sites
    ip("-n", far, "addr", "add", f"{OTHER}/128", "dev", "v0", "nodad")
    ip("netns", "exec", far, "sysctl", "-qw", "net.ipv6.icmp.echo_ignore_all=1")
    with child(far, "forger_child.py") as forger, child(near, "prober_child.py") as prober:
        assert forger.line() == "ready"
        prober.ask(targets=watched(OTHER))
        forger.tell(FAR)
        for _ in range(5):
            assert forger.line() == "answered"
        assert prober.sent() == {}, "answers from another address made it alive"
        forger.tell(OTHER)
        prober.event("change", peer="hub", state="alive")


def test_without_the_right_to_probe_nothing_is_measured_and_the_error_says_why(
    sites: tuple[str, str],
) -> None:
    near, _ = sites
    with child(near, "prober_child.py", "setpriv", "--bounding-set=-net_raw") as prober:
        text = prober.event("failed")["text"]
        assert "Operation not permitted" in text
        assert "CAP_NET_RAW" in text
        prober.ask(targets=watched())
        assert prober.sent() == {}


def test_a_kick_probes_at_once_what_would_have_waited(sites: tuple[str, str]) -> None:
    near, _ = sites
    with child(near, "prober_child.py") as prober:
        prober.ask(targets={"spoke": ["v0", NEAR, FAR, "RELAXED"]})
        prober.event("change", peer="spoke", state="alive")
        before = prober.sent()["spoke"]
        prober.ask(kick=True)
        # The next probe of a relaxed peer is 20 s away; a few questions do not take that long.
        until = time.monotonic() + 10.0
        while prober.sent()["spoke"] == before:
            assert time.monotonic() < until


def test_relaxed_probes_of_many_peers_keep_to_their_budget(sites: tuple[str, str]) -> None:
    near, far = sites
    ip("-n", far, "route", "add", "local", "fd77::100/120", "dev", "lo")
    count = 60
    targets = {f"p{n}": ["v0", NEAR, f"fd77::{256 + n:x}", "RELAXED"] for n in range(count)}
    with child(near, "prober_child.py") as prober:
        prober.ask(targets=targets)
        first = prober.event("change", state="alive")["elapsed"]
        alive = 1
        while alive < count:
            last = prober.event("change", state="alive")["elapsed"]
            alive += 1
        assert last - first > 0.8 * (count - 1) / 20.0, "20 packets a second for all together"
        assert set(prober.sent().values()) == {1}


def test_what_is_no_target_any_more_is_forgotten(sites: tuple[str, str]) -> None:
    near, _ = sites
    with child(near, "prober_child.py") as prober:
        prober.ask(targets=watched())
        prober.event("change", peer="hub", state="alive")
        prober.ask(targets={"hub": ["v0", NEAR, FAR, "RELAXED"]})
        assert set(prober.sent()) == {"hub"}, "another pace keeps the reading"
        prober.ask(targets=watched("fd77::dead"))
        assert prober.sent() == {}, "another place does not"
        prober.ask(targets={})
        assert prober.sent() == {}

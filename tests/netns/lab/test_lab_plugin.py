"""The fixtures that other rooms' namespace tests stand on."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netns_lab.paths import NETWORK_NAMESPACES
from netns_lab.pytest_plugin import InNamespace, TestNamespace

Factory = Callable[[], TestNamespace]


def own_namespace() -> int:
    return Path("/proc/thread-self/ns/net").stat().st_ino


def test_a_namespace_is_named_up_and_empty(network_namespace: Factory) -> None:
    namespace = network_namespace()
    assert namespace.name.startswith("pnt-")
    links = namespace.run(["ip", "-br", "link"]).stdout.splitlines()
    assert [line.split()[0] for line in links] == ["lo"]
    assert "LOWER_UP" in links[0]
    assert network_namespace().name != namespace.name


def test_a_function_runs_inside_and_only_it(
    network_namespace: Factory, in_namespace: InNamespace
) -> None:
    namespace = network_namespace()
    before = own_namespace()
    for how in (namespace, namespace.name, namespace.path):
        assert in_namespace(how, own_namespace) == namespace.path.stat().st_ino
    assert own_namespace() == before


def test_a_coroutine_function_runs_to_its_end_inside(
    network_namespace: Factory, in_namespace: InNamespace
) -> None:
    namespace = network_namespace()

    async def look() -> int:
        await asyncio.sleep(0)
        return own_namespace()

    assert in_namespace(namespace, look) == namespace.path.stat().st_ino


def test_sockets_made_inside_stay_inside(
    network_namespace: Factory, in_namespace: InNamespace
) -> None:
    one, other = network_namespace(), network_namespace()

    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", 4000))

    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", 4000), 5)

    # Both may have the same port, and the name of neither means anything outside.
    with in_namespace(one, listen), in_namespace(other, listen):
        in_namespace(one, connect).close()


def test_exceptions_come_out(network_namespace: Factory, in_namespace: InNamespace) -> None:
    def fail() -> None:
        raise ValueError("from inside")

    with pytest.raises(ValueError, match="from inside"):
        in_namespace(network_namespace(), fail)


FAILING_TEST = """
import pathlib, subprocess
from netns_lab.topology import plain_topology

def test_fails(network_namespace, lab):
    namespace = network_namespace()
    process = subprocess.Popen(
        ["ip", "netns", "exec", namespace.name, "sleep", "1000"], start_new_session=True
    )
    made = lab(plain_topology(spokes=1))
    pathlib.Path("made").write_text(f"{namespace.name} {made.name} {process.pid}")
    assert False
"""


def test_fixtures_clean_up_after_a_failing_test(tmp_path: Path) -> None:
    """Run by a pytest of its own: the namespace, a process left in it and a lab are all gone."""
    (tmp_path / "test_inner.py").write_text(FAILING_TEST)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_inner.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed" in done.stdout, done.stdout
    namespace, lab_name, pid = (tmp_path / "made").read_text().split()
    assert not (NETWORK_NAMESPACES / namespace).exists()
    assert not [path for path in NETWORK_NAMESPACES.iterdir() if lab_name in path.name]
    assert not Path("/run/netns-lab", lab_name).exists()
    assert not Path("/proc", pid).exists()

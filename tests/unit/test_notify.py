"""sd_notify against a socket of our own, abstract names included."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from powernode_agent.notify import Notifier, NotifyError


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    if request.param == "path":
        address = name = str(tmp_path / "notify")
    else:
        address = f"@powernode-agent-test-{os.getpid()}"
        name = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name)
        sock.settimeout(5)
        yield address, sock


def test_messages_are_those_of_sd_notify(systemd: tuple[str, socket.socket]) -> None:
    address, sock = systemd
    notifier = Notifier(address, monotonic=lambda: 12.5)
    notifier.ready()
    notifier.status("revision 418\napplied")
    notifier.watchdog()
    notifier.reloading()
    notifier.stopping()
    received = [sock.recv(4096).decode() for _ in range(5)]
    assert received == [
        "READY=1",
        "STATUS=revision 418 applied",
        "WATCHDOG=1",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "STOPPING=1",
    ]


def test_without_the_variable_nothing_happens() -> None:
    notifier = Notifier.from_environment({})
    notifier.ready()
    assert notifier.address is None
    assert notifier.watchdog_interval is None


def test_a_socket_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotifyError, match="cannot notify systemd"):
        Notifier(str(tmp_path / "gone")).ready()


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(environment: dict[str, str], interval: float | None) -> None:
    assert Notifier.from_environment(environment, pid=42).watchdog_interval == interval

"""Server and client of the control socket, over a real socket, and what each refuses."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from powernode_agent.control import protocol
from powernode_agent.control.client import (
    DaemonAwayError,
    DaemonRefusedError,
    DaemonSilentError,
    ask,
)
from powernode_agent.control.place import ControlError
from powernode_agent.control.protocol import JSON, FailureKind, ProtocolError
from powernode_agent.control.server import (
    ControlServer,
    Credentials,
    Handler,
    peer_credentials,
)
from powernode_agent.errors import AgentError


async def echo(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
    return {"arguments": arguments}


async def refuse(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
    raise AgentError("port is taken", which="network core", value="51820", action="free it")


async def defect(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
    raise KeyError("a defect with 'secret-token' in it")


HANDLERS: dict[str, Handler] = {
    "status": echo,
    "plan": refuse,
    "version": defect,
    "purge": echo,
    "reconcile": echo,
}


@asynccontextmanager
async def serving(path: Path, uid: int | None = None, timeout: float = 5.0) -> AsyncIterator[None]:
    server = ControlServer(
        path,
        HANDLERS,
        credentials=peer_credentials if uid is None else lambda _: Credentials(1, uid, uid),
        request_timeout=timeout,
    )
    await server.start()
    try:
        yield
    finally:
        await server.close()


async def asked(
    path: Path, verb: str, arguments: Mapping[str, JSON] | None = None
) -> Mapping[str, JSON]:
    return await asyncio.to_thread(ask, path, verb, arguments, timeout=5.0)


async def raw(path: Path, data: bytes, *, end: bool = True) -> dict[str, JSON]:
    reader, writer = await asyncio.open_unix_connection(path, limit=1 << 24)
    writer.write(data)
    if end:
        writer.write_eof()
    line = await reader.readline()
    writer.close()
    document = json.loads(line)
    assert isinstance(document, dict)
    return document


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


async def test_a_question_gets_its_answer(path: Path) -> None:
    async with serving(path):
        body = await asked(path, "status", {"network": "core", "größe": None})
    assert body == {"arguments": {"network": "core", "größe": None}}


async def test_a_large_plan_fits(path: Path) -> None:
    text = "x" * (4 * 1024 * 1024)
    async with serving(path):
        body = await asked(path, "status", {"text": text})
    assert body == {"arguments": {"text": text}}


def mode_of(path: Path) -> int:
    return path.stat().st_mode


async def test_the_socket_is_for_owner_and_group_only_and_goes_with_the_server(path: Path) -> None:
    async with serving(path):
        mode = mode_of(path)
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
    assert not list(path.parent.glob("*.sock"))


async def test_an_agents_error_travels_whole(path: Path) -> None:
    async with serving(path):
        with pytest.raises(DaemonRefusedError) as caught:
            await asked(path, "plan")
    error = caught.value
    assert (error.what, error.which, error.value) == ("port is taken", "network core", "51820")
    assert error.action == "free it"
    assert error.failure.kind is FailureKind.FAILED


async def test_a_defect_is_reported_without_its_text_and_the_server_lives(path: Path) -> None:
    async with serving(path):
        with pytest.raises(DaemonRefusedError, match="defect") as caught:
            await asked(path, "version")
        assert "secret" not in str(caught.value)
        assert await asked(path, "status") == {"arguments": {}}


@pytest.mark.parametrize("verb", ["purge", "reconcile"])
async def test_changing_is_for_root_and_the_own_user_only(path: Path, verb: str) -> None:
    async with serving(path, uid=12345):
        assert await asked(path, "status") == {"arguments": {}}
        with pytest.raises(DaemonRefusedError, match="uid 12345") as caught:
            await asked(path, verb)
        assert caught.value.failure.kind is FailureKind.DENIED
    async with serving(path, uid=0):
        assert await asked(path, verb) == {"arguments": {}}
    async with serving(path, uid=os.geteuid()):
        assert await asked(path, verb) == {"arguments": {}}


async def test_a_verb_that_is_not_known_to_be_harmless_counts_as_changing(path: Path) -> None:
    server = ControlServer(path, {"new": echo}, credentials=lambda _: Credentials(1, 7, 7))
    await server.start()
    try:
        with pytest.raises(DaemonRefusedError) as caught:
            await asked(path, "new")
        assert caught.value.failure.kind is FailureKind.DENIED
    finally:
        await server.close()


async def test_before_it_has_handlers_the_daemon_is_starting(path: Path) -> None:
    handlers: dict[str, Handler] = {}
    server = ControlServer(path, handlers)
    await server.start()
    try:
        with pytest.raises(DaemonRefusedError, match="try again") as caught:
            await asked(path, "status")
        assert caught.value.failure.kind is FailureKind.STARTING
        handlers["status"] = echo
        assert await asked(path, "status") == {"arguments": {}}
    finally:
        await server.close()


def test_credentials_are_the_kernels() -> None:
    one, two = socket.socketpair()
    with one, two:
        assert peer_credentials(one) == Credentials(os.getpid(), os.geteuid(), os.getegid())


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"hello\n", "not JSON"),
        (b"[1]\n", "no object"),
        (b"{}\n", "no verb"),
        (b'{"verb": 1}\n', "no verb"),
        (b'{"verb": "status", "arguments": 3}\n', "arguments"),
        (b'{"verb": "status"', "ends early"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 100_000 + b"\n", "not JSON"),
        (b'{"verb": "fly"}\n', "does not know"),
    ],
)
async def test_a_bad_request_is_answered_and_named(path: Path, data: bytes, what: str) -> None:
    async with serving(path):
        answer = await raw(path, data)
    assert answer["ok"] is False
    error = answer["error"]
    assert isinstance(error, dict)
    assert error["kind"] == "usage"
    assert what in str(error["what"])


async def test_an_oversize_request_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("powernode_agent.control.server.MAX_REQUEST_BYTES", 1000)
    async with serving(path):
        answer = await raw(
            path, b'{"verb": "status", "arguments": {"a": "' + b"x" * 5000 + b'"}}\n'
        )
    error = answer["error"]
    assert isinstance(error, dict)
    assert "too large" in str(error["what"])


def test_the_client_does_not_send_an_oversize_request() -> None:
    huge = "x" * (protocol.MAX_REQUEST_BYTES + 1)
    with pytest.raises(ProtocolError, match="too large"):
        protocol.encode_request(protocol.Request("plan", {"text": huge}))


async def test_a_client_that_says_nothing_is_not_waited_for(path: Path) -> None:
    async with serving(path, timeout=0.05):
        answer = await raw(path, b"", end=False)
    error = answer["error"]
    assert isinstance(error, dict)
    assert "does not arrive" in str(error["what"])


def test_no_daemon_is_said_with_the_next_command(path: Path) -> None:
    with pytest.raises(DaemonAwayError, match="systemctl start powernode-agent"):
        ask(path, "status")


def test_a_socket_without_a_listener_is_no_daemon(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    with pytest.raises(DaemonAwayError, match="nobody listens"):
        ask(path, "status")


def test_a_daemon_that_hangs_is_said_to(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        with pytest.raises(DaemonSilentError, match="does not answer"):
            ask(path, "status", timeout=0.1)


async def test_a_socket_left_by_a_crash_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    async with serving(path):
        assert await asked(path, "status") == {"arguments": {}}


def test_a_file_that_is_no_socket_is_left_alone(path: Path) -> None:
    async def start() -> None:
        async with serving(path):
            pass

    path.write_text("mine")
    with pytest.raises(ControlError, match="not a socket"):
        asyncio.run(start())
    assert path.read_text() == "mine"


async def test_a_second_daemon_is_refused_and_the_first_goes_on(path: Path) -> None:
    async with serving(path):
        with pytest.raises(ControlError, match=f"held by process {os.getpid()}"):
            async with serving(path):
                pass
        assert await asked(path, "status") == {"arguments": {}}
    async with serving(path):
        assert await asked(path, "status") == {"arguments": {}}


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_a_missing_run_directory_is_made_whatever_the_umask(
    tmp_path: Path, umask: int
) -> None:
    """A host without systemd has nobody else to make it."""
    path = tmp_path / "powernode-agent" / "control.sock"
    before = os.umask(umask)
    try:
        async with serving(path):
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
            assert await asked(path, "status") == {"arguments": {}}
    finally:
        os.umask(before)


async def test_a_run_directory_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "own" / "control.sock"
    path.parent.mkdir()
    path.parent.chmod(0o711)
    async with serving(path):
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o711


async def test_a_run_directory_without_a_parent_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="No such file"):
        async with serving(tmp_path / "none" / "powernode-agent" / "control.sock"):
            pass
    assert not (tmp_path / "none").exists()


async def test_a_handler_may_close_the_server_and_still_answer(path: Path) -> None:
    async def stop(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
        await server.close()
        return {"stopped": True}

    server = ControlServer(path, {"purge": stop})
    await server.start()
    assert await asked(path, "purge") == {"stopped": True}
    assert not list(path.parent.glob("*.sock"))


async def test_a_question_under_way_at_the_end_is_dropped_without_a_word(path: Path) -> None:
    """SIGTERM while a plan is computed: no traceback in the log of a daemon that ends as told."""
    began, complaints = asyncio.Event(), list[Mapping[str, object]]()

    async def endless(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    server = ControlServer(path, {"plan": endless})
    await server.start()
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b'{"verb": "plan"}\n')
    await began.wait()
    await server.close(grace=0.0)
    assert await reader.read() == b""
    writer.close()
    assert complaints == []


async def test_too_many_connections_are_turned_away(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("powernode_agent.control.server.MAX_CONNECTIONS", 1)
    async with serving(path):
        _, idle = await asyncio.open_unix_connection(path)
        answer = await raw(path, b'{"verb": "status"}\n')
        idle.close()
    error = answer["error"]
    assert isinstance(error, dict)
    assert "too many" in str(error["what"])

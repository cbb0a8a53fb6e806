"""The program itself: exit codes, JSON with and without a daemon, and what it must not import."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from node_status import NOW, bad_hour, good_hour

from powernode_agent.control.documents import plan_document, status_document, version_document
from powernode_agent.control.protocol import JSON
from powernode_agent.control.server import ControlServer, Credentials, Handler
from powernode_agent.errors import AgentError
from powernode_agent.model.values import Revision
from powernode_agent.model.violation import ModelError, violation

PROGRAM = "import sys; from powernode_agent.cli.main import main; main()"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(f'[directories]\nrun = "{tmp_path}"\nstate = "{tmp_path}"\n')
    return file


def call(config: Path, *words: str, given: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, "--config", str(config)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@contextmanager
def daemon(config: Path, handlers: Mapping[str, Handler], uid: int = 0) -> Iterator[None]:
    """A control server on a thread of its own, with the given handlers."""
    loop = asyncio.new_event_loop()
    server = ControlServer(
        config.parent / "control.sock", handlers, credentials=lambda _: Credentials(1, uid, uid)
    )
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def answering(document: Mapping[str, JSON]) -> Handler:
    async def answer(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return document

    return answer


@pytest.mark.parametrize("verb", ["status", "plan"])
def test_no_daemon_is_exit_4_with_the_next_command(config: Path, verb: str) -> None:
    code, out, err = call(config, verb)
    assert code == 4
    assert out == ""
    assert "the daemon is not running" in err
    assert err.strip().endswith("systemctl start powernode-agent")


@pytest.mark.parametrize("verb", ["status", "plan"])
def test_no_daemon_is_json_too(config: Path, verb: str) -> None:
    code, out, _ = call(config, verb, "--json")
    document = json.loads(out)
    assert code == 4
    assert document["schema"] == f"powernode.{verb}/v1"
    assert document["daemon"] == "away"
    assert document["error"]["action"] == "systemctl start powernode-agent"


def test_version_without_a_daemon_is_good_and_says_what_it_does_not_know(config: Path) -> None:
    code, out, _ = call(config, "version", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["daemon"] == "away"
    assert document["daemon_version"] is None
    with daemon(config, {"version": answering(version_document("9.9", "6.12", None))}):
        code, out, _ = call(config, "version", "--json")
    document = json.loads(out)
    assert (document["daemon_version"], document["backend"]) == ("9.9", None)
    assert document["version"] != "9.9"


def test_status_exit_codes_follow_the_state(config: Path) -> None:
    good = status_document(good_hour(), NOW)
    for document, wanted in (
        (good, 0),
        (status_document(bad_hour(), NOW), 3),
        ({**good, "state": "not_measured"}, 4),
    ):
        with daemon(config, {"status": answering(document)}):
            code, out, _ = call(config, "status", "--json")
        assert code == wanted
        assert json.loads(out) == document


def test_status_of_one_network_and_of_none(config: Path) -> None:
    with daemon(config, {"status": answering(status_document(bad_hour(), NOW))}):
        code, out, _ = call(config, "status", "ops")
        assert code == 3
        assert "hub-fra" not in out
        code, out, err = call(config, "status", "opps")
        assert code == 2
        assert "powernode-agent status ops" in err


def test_plan_sends_the_file_and_exits_3_while_changes_are_pending(config: Path) -> None:
    seen: list[Mapping[str, JSON]] = []

    async def plan(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        seen.append(arguments)
        return {**plan_document(Revision(7), []), "pending": len(seen) > 1}

    state = config.parent / "state.yaml"
    state.write_text("revision: 7\n")
    with daemon(config, {"plan": plan}):
        assert call(config, "plan")[0] == 0
        assert call(config, "plan", "--file", str(state))[0] == 3
        assert call(config, "plan", "--file", "-", given="revision: 8\n")[0] == 3
        assert call(config, "plan", "--file", str(config.parent / "none"))[0] == 2
    assert seen == [
        {},
        {"name": str(state), "text": "revision: 7\n"},
        {"name": "standard input", "text": "revision: 8\n"},
    ]


def test_a_failure_in_the_daemon_is_exit_1_and_a_denial_4(config: Path) -> None:
    async def fail(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
        raise AgentError("port is taken", value="51820", action="ss -lunp")

    with daemon(config, {"plan": fail, "purge": answering({"removed": []})}, uid=4242):
        code, _, err = call(config, "plan")
        assert code == 1
        assert err.strip().endswith("ss -lunp")
        code, out, _ = call(config, "purge", "--yes", "--json")
    assert code == 4
    assert json.loads(out)["error"]["kind"] == "denied"


def test_a_refused_file_is_told_rule_by_rule(config: Path) -> None:
    broken = [
        violation("peer x (p-9)", "host_address", "fd00::1", "inside fd00:abcd:1::/64"),
        violation("peer y (p-10)", "name", "", "1 to 63 printable characters"),
    ]

    async def refuse(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
        raise ModelError(broken)

    with daemon(config, {"plan": refuse}):
        code, out, _ = call(config, "plan", "--json")
        assert code == 1
        error = json.loads(out)["error"]
        assert error["reasons_omitted"] == 0
        assert error["reasons"] == [
            {
                "resource": "peer x (p-9)",
                "field": "host_address",
                "value": "'fd00::1'",
                "expected": "inside fd00:abcd:1::/64",
            },
            {
                "resource": "peer y (p-10)",
                "field": "name",
                "value": "''",
                "expected": "1 to 63 printable characters",
            },
        ]
        _, _, err = call(config, "plan")
    assert err.splitlines() == [
        "powernode-agent plan: desired state refused, 2 rules broken:",
        "  peer x (p-9): host_address is 'fd00::1', expected inside fd00:abcd:1::/64",
        "  peer y (p-10): name is '', expected 1 to 63 printable characters",
    ]


def test_violations_beyond_the_bound_are_counted(config: Path) -> None:
    async def refuse(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
        raise ModelError([violation(f"peer {n}", "name", "", "a name") for n in range(23)])

    with daemon(config, {"plan": refuse}):
        error = json.loads(call(config, "plan", "--json")[1])["error"]
        lines = call(config, "plan")[2].splitlines()
    assert (len(error["reasons"]), error["reasons_omitted"]) == (20, 3)
    assert "23 rules broken" in lines[0]
    assert lines[-1] == "  and 3 more"


def test_purge_wants_to_be_told_so(config: Path) -> None:
    purged: list[int] = []

    async def purge(_: Mapping[str, JSON]) -> Mapping[str, JSON]:
        purged.append(1)
        return {"schema": "powernode.purge/v1", "daemon": "running", "removed": ["remove link a"]}

    with daemon(config, {"purge": purge}):
        code, _, err = call(config, "purge")
        assert code == 2
        assert "--yes" in err
        assert purged == []
        code, out, _ = call(config, "purge", "--yes")
    assert (code, out, purged) == (0, "remove link a\n", [1])


STUB = """
import sys, types
import structlog
stub = types.ModuleType("powernode_agent.daemon")
async def purge(settings):
    structlog.get_logger().info("purge.done")
    return ["remove link wg-sdwan-core"]
async def enrol(settings, token):
    structlog.get_logger().info("enrol.done")
    return {"schema": "powernode.enrol/v1", "node_id": "node-17", "platform_address": "p:1"}
stub.purge, stub.enrol = purge, enrol
sys.modules["powernode_agent.daemon"] = stub
"""
"""The daemon's code in place of the real one: what the verbs do with it is what is tested here."""


def call_without_daemon(config: Path, *words: str, given: str = "") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", STUB + PROGRAM, *words, "--json", "--config", str(config)],
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="purge without a daemon needs root")
def test_purge_works_without_a_daemon_and_prints_the_document_alone(config: Path) -> None:
    code, out = call_without_daemon(config, "purge", "--yes")
    assert code == 0
    assert json.loads(out) == {
        "schema": "powernode.purge/v1",
        "daemon": "away",
        "removed": ["remove link wg-sdwan-core"],
    }


def test_enrol_works_without_a_daemon(config: Path) -> None:
    code, out = call_without_daemon(config, "enrol", given="one-time-word")
    assert code == 0
    assert json.loads(out)["daemon"] == "away"
    assert "one-time-word" not in out


def test_enrol_takes_the_token_from_a_file_or_standard_input(config: Path) -> None:
    seen: list[Mapping[str, JSON]] = []

    async def enrol(arguments: Mapping[str, JSON]) -> Mapping[str, JSON]:
        seen.append(arguments)
        return {"node_id": "node-17", "platform_address": "p:1", "daemon": "running"}

    token = config.parent / "token"
    token.write_text("one-time-word\n")
    with daemon(config, {"enrol": enrol}):
        for code, out, err in (
            call(config, "enrol", "--token-file", str(token)),
            call(config, "enrol", given="one-time-word"),
        ):
            assert code == 0
            assert "node-17" in out
            assert "one-time-word" not in out + err
        code, out, err = call(config, "enrol", "one-time-word")
        assert code == 2
        code, out, err = call(config, "enrol", given="two words")
        assert code == 2
        assert "two words" not in out + err
    assert seen == [{"token": "one-time-word"}] * 2


def test_a_bad_configuration_and_wrong_usage_are_exit_2(config: Path) -> None:
    config.write_text("[platfrom]\n")
    code, out, _ = call(config, "status", "--json")
    assert code == 2
    assert "did you mean platform" in json.loads(out)["error"]["expected"]
    assert call(config, "fly")[0] == 2
    assert call(config, "status", "--fast")[0] == 2


def test_run_without_a_source_of_desired_state_is_exit_2(config: Path) -> None:
    code, _, err = call(config, "run")
    assert code == 2
    assert "enrolment_address" in err


def test_the_command_line_imports_typer_and_the_standard_library_only() -> None:
    probe = (
        "import sys\n"
        "import powernode_agent.cli.main, powernode_agent.cli.looking, powernode_agent.cli.changing\n"
        "heavy = ['rich', 'pydantic', 'pyroute2', 'grpc', 'google', 'structlog', 'asyncio.events',\n"
        "    'cryptography', 'prometheus_client', 'yaml']\n"
        "print([name for name in heavy if name in sys.modules and name != 'asyncio.events'])\n"
        # Of the model only what needs nothing but errors: a refusal's reasons, ages in words.
        "print(sorted(name for name in sys.modules if name.startswith('powernode_agent.model.')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == [
        "[]",
        "['powernode_agent.model.violation', 'powernode_agent.model.wording']",
    ]

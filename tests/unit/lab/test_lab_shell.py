"""The lab's shell without namespaces: processes, waiting, and the client of the platform."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netns_lab import processes
from netns_lab.errors import ActionError, CommandError, LabError, WaitTimeoutError
from netns_lab.platform_client import PlatformClient


def answer_once(path: Path, answer: bytes, questions: list[bytes]) -> threading.Thread:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener, listener.accept()[0] as connection:
            questions.append(connection.makefile("rb").readline())
            connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def ask(tmp_path: Path, answer: bytes) -> tuple[dict[str, object], object]:
    questions: list[bytes] = []
    control = tmp_path / "control.sock"
    thread = answer_once(control, answer, questions)
    try:
        result = PlatformClient(control, tmp_path / "ca.pem", tmp_path / "log").call(
            "system_sdwan_list_peers", {"network_id": "n1"}
        )
    finally:
        thread.join()
    return result, json.loads(questions[0])


def test_an_action_is_one_line_each_way(tmp_path: Path) -> None:
    result, question = ask(tmp_path, b'{"result": {"peers": []}}\n')
    assert result == {"peers": []}
    assert question == {
        "action": "system_sdwan_list_peers",
        "arguments": {"network_id": "n1"},
        "account": "",
        "door": "python",
        "actor": "",
    }


def test_a_refusal_keeps_the_platforms_field_and_rule(tmp_path: Path) -> None:
    answer = {
        "error": {
            "action": "system_sdwan_list_peers",
            "field": "network_id",
            "rule": "exists",
            "message": "no network n1",
        }
    }
    with pytest.raises(ActionError) as caught:
        ask(tmp_path, json.dumps(answer).encode() + b"\n")
    error = caught.value
    assert (error.field, error.rule, error.message) == ("network_id", "exists", "no network n1")
    assert str(error) == "system_sdwan_list_peers: network_id: exists"


@pytest.mark.parametrize("answer", [b"", b"nonsense\n", b"[]\n", b'{"result": 3}\n', b"{}\n"])
def test_what_is_no_answer_is_not_taken_for_one(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(LabError, match="not an answer"):
        ask(tmp_path, answer)


def test_an_absent_platform_is_named_with_its_log(tmp_path: Path) -> None:
    client = PlatformClient(tmp_path / "none.sock", tmp_path / "ca.pem", tmp_path / "the.log")
    with pytest.raises(LabError, match=r"does not answer.*the\.log"):
        client.call("lab_ping")


def test_a_spawned_daemon_is_known_again_and_ended(tmp_path: Path) -> None:
    record, log = tmp_path / "p.json", tmp_path / "p.log"
    program = "import time; print('here', flush=True); time.sleep(1000)"
    made = processes.spawn([sys.executable, "-c", program], log=log, record=record)
    assert processes.read_record(record) == made
    processes.wait_until(lambda: log.exists() and "here" in log.read_text(), what="its output")
    processes.end([made])
    assert not processes.is_alive(made)
    assert processes.read_record(record) is None


def test_a_daemon_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('deaf', flush=True); time.sleep(1000)"
    )
    log = tmp_path / "p.log"
    made = processes.spawn([sys.executable, "-c", program], log=log, record=tmp_path / "p.json")
    processes.wait_until(lambda: "deaf" in log.read_text(), what="it to stop listening")
    processes.end([made], grace=0.1)
    assert not processes.is_alive(made)


def test_a_pid_with_another_start_is_another_process() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    try:
        started = processes.start_time(child.pid)
        assert started is not None
        stale = processes.ProcessRecord(child.pid, started - 1)
        assert not processes.send_signal(stale, signal.SIGKILL)
        processes.end([stale])
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_zombie_is_not_alive() -> None:
    child = subprocess.Popen(["true"])
    processes.wait_until(lambda: processes.start_time(child.pid) is None, what="it to end")
    child.wait()


def test_a_process_with_an_odd_name_is_read(tmp_path: Path) -> None:
    odd = tmp_path / "a) S 1 (b"
    odd.symlink_to("/bin/sleep")
    child = subprocess.Popen([str(odd), "1000"])
    try:
        plain = processes.start_time(child.pid)
        assert plain is not None
        assert abs(plain - (processes.start_time(os.getpid()) or 0)) < 100 * 3600 * 24
        assert plain >= (processes.start_time(os.getpid()) or 0)
    finally:
        child.kill()
        child.wait()


def test_a_failing_command_says_what_it_said() -> None:
    with pytest.raises(CommandError, match="exit 3: no such thing") as caught:
        processes.run(["sh", "-c", "echo no such thing >&2; exit 3"])
    assert caught.value.code == 3


def test_a_missing_program_is_named() -> None:
    with pytest.raises(LabError, match="no-such-program"):
        processes.run(["no-such-program"])


def test_waiting_gives_what_came_or_says_what_was_seen() -> None:
    answers = iter(["", "", "come"])
    assert processes.wait_until(lambda: next(answers), what="it", interval=0) == "come"
    with pytest.raises(WaitTimeoutError, match=r"in vain for Godot: got .*a tree"):
        processes.wait_until(
            lambda: False, what="Godot", timeout=0.01, interval=0, seen=lambda: "a tree"
        )


def test_waiting_hides_only_what_it_was_told_to() -> None:
    def fail() -> bool:
        raise LabError("not yet")

    with pytest.raises(WaitTimeoutError, match="not yet"):
        processes.wait_until(fail, what="it", timeout=0.01, interval=0, tolerate=(LabError,))
    with pytest.raises(LabError, match=r"^not yet$"):
        processes.wait_until(fail, what="it", timeout=0.01, interval=0)

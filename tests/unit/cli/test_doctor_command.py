"""`powernode-agent doctor` as a program: its exit codes, with a daemon and without one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from node_status import bad_hour, good_hour
from test_command_line import answering, call, config, daemon
from test_documents import doctor_of

__all__ = ["config"]


def test_exit_codes_follow_the_findings(config: Path) -> None:
    good = doctor_of(good_hour())
    unread = {**good, "not_measured": ["core: peer x"]}
    for document, wanted in ((good, 0), (doctor_of(bad_hour()), 3), (unread, 4)):
        with daemon(config, {"doctor": answering(document)}, uid=4242):
            assert call(config, "doctor", "--json")[0] == wanted, "to look needs no root"


@pytest.mark.parametrize(
    ("words", "code", "found"),
    [
        (["NAT-001"], 3, {"NAT-001"}),
        (["nat-001"], 3, {"NAT-001"}),
        (["BGP-001"], 0, set()),
        (["depot-7"], 3, {"NAT-001"}),
        (["ops"], 3, {"LINK-002"}),
    ],
)
def test_of_one_code_peer_or_network(
    config: Path, words: list[str], code: int, found: set[str]
) -> None:
    with daemon(config, {"doctor": answering(doctor_of(bad_hour()))}):
        done, out, _ = call(config, "doctor", *words, "--json")
    document = json.loads(out)
    assert done == code
    assert {each["code"] for each in document["findings"]} == found
    assert (document["code"] is None) is ("-" not in words[0] or words[0] == "depot-7")


def test_what_is_muted_or_unread_is_not_good(config: Path) -> None:
    """A monitor that asks for one thing must not go green because something else is worse."""
    bad = doctor_of(bad_hour())
    muted = {**bad["findings"][0], "code": "PEER-002", "subject": "hub-7", "muted_by": "LINK-001"}
    document = {**bad, "muted": [muted], "not_measured": ["core: BGP session with hub-9"]}
    for words, wanted in (
        ("PEER-002", 3),
        ("hub-7", 3),
        ("BGP-001", 4),
        ("hub-9", 4),
        ("VIP-001", 0),
    ):
        with daemon(config, {"doctor": answering(document)}):
            assert call(config, "doctor", words)[0] == wanted, words


def test_an_unknown_code_is_exit_2_with_the_list(config: Path) -> None:
    for answer in ({}, {"doctor": answering(doctor_of(bad_hour()))}):
        if answer:
            with daemon(config, answer):
                code, _, err = call(config, "doctor", "NAT-01")
        else:
            code, _, err = call(config, "doctor", "NAT-01")
        assert code == 2
        assert "BGP-001, BGP-002" in err
        assert err.strip().endswith("powernode-agent doctor NAT-001")


def test_without_a_daemon_it_checks_what_it_can_and_is_exit_4(config: Path) -> None:
    code, out, _ = call(config, "doctor", "--json")
    document = json.loads(out)
    assert code == 4
    assert (document["schema"], document["daemon"]) == ("powernode.doctor/v1", "away")
    assert document["findings"] == []
    assert "BGP sessions" in document["not_measured"]
    results = {each["name"]: each["result"] for each in document["checks"]}
    assert results["configuration"] == "failed", "nothing says where desired state comes from"
    assert results["identity"] == "failed"
    assert results["state directory"] == "ok"
    assert document["error"]["action"] == "systemctl start powernode-agent"
    code, out, err = call(config, "doctor", "NAT-001")
    assert code == 4
    assert "NAT / firewall blocks WireGuard UDP" in out
    assert "not measured: BGP sessions" in out
    assert "the daemon is not running" in err


def test_a_configuration_that_is_refused_is_a_finding_and_no_end(config: Path) -> None:
    config.write_text("[helth]\n")
    code, out, _ = call(config, "doctor", "--json")
    (first, *others) = json.loads(out)["checks"]
    assert code == 4
    assert (first["name"], first["result"]) == ("configuration", "failed")
    assert "did you mean health" in first["evidence"]
    assert others


def test_a_directory_that_anybody_may_write_to_is_told(config: Path) -> None:
    config.parent.chmod(0o777)
    _, out, _ = call(config, "doctor", "--json")
    bad = [each for each in json.loads(out)["checks"] if "anybody may write" in each["evidence"]]
    assert {each["name"] for each in bad} == {"run directory", "state directory"}
    assert all(each["next"].startswith("chmod o-w ") for each in bad)

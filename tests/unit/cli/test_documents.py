"""The documents and their renderings against golden files. Documents may only gain keys.

To accept a deliberate change: POWERNODE_WRITE_GOLDEN=1 make test ARGS=tests/unit/cli
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from node_status import CORE, KEY, NOW, OPS, bad_hour, filtered_hour, good_hour, routed_hour

from powernode_agent.cli.looking import only_network
from powernode_agent.cli.outcome import UsageError
from powernode_agent.cli.render import render_plan, render_status
from powernode_agent.cli.render_doctor import render_doctor
from powernode_agent.control.doctor_document import doctor_document
from powernode_agent.control.documents import (
    enrol_document,
    plan_document,
    purge_document,
    status_document,
    version_document,
)
from powernode_agent.control.protocol import JSON
from powernode_agent.health.conditions import conditions_of
from powernode_agent.health.evaluate import evaluate
from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.status import (
    FirewallStatus,
    NodeStatus,
    PortMappingStatus,
    Result,
    Severity,
    SubsystemOutcome,
)
from powernode_agent.model.values import Revision
from powernode_agent.model.wording import age_text, duration_text, size_text

GOLDEN = Path(__file__).parent / "golden"
WRITE = bool(os.environ.get("POWERNODE_WRITE_GOLDEN"))


async def _apply() -> None:
    return None


def changes() -> list[Change]:
    return [
        Change(
            "wireguard", CORE, Phase.PEER, Verb.ADD,
            ("add peer hub-fra: endpoint 203.0.113.5:51820", "add peer hub-ams: no endpoint"),
            _apply,
        ),
        Change("links", OPS, Phase.LINK, Verb.CHANGE, ("set MTU of wg-sdwan-ops to 1420",), _apply),
        Change("links", None, Phase.DEVICE, Verb.REMOVE, ("remove link wg-sdwan-old",), _apply),
    ]  # fmt: skip


def doctor_of(status: NodeStatus) -> Mapping[str, JSON]:
    """The diagnosis of a node that has been so for 20 s."""
    conditions = conditions_of(status, NOW)
    before = evaluate(conditions, {}, NOW - 20.0)
    return doctor_document(status, evaluate(conditions, before.memory, NOW), NOW)


DOCUMENTS: dict[str, Callable[[], Mapping[str, JSON]]] = {
    "status-bad": lambda: status_document(bad_hour(), NOW),
    "status-good": lambda: status_document(good_hour(), NOW),
    "status-filter": lambda: status_document(filtered_hour(), NOW),
    "status-routed": lambda: status_document(routed_hour(), NOW),
    "doctor-bad": lambda: doctor_of(bad_hour()),
    "doctor-good": lambda: doctor_of(good_hour()),
    "doctor-routed": lambda: doctor_of(routed_hour()),
    "plan": lambda: plan_document(Revision(418), changes(), {CORE: "core", OPS: "ops"}),
    "version": lambda: version_document("0.1.0", "6.12.38", "kernel"),
    "purge": lambda: purge_document(["remove link wg-sdwan-core"]),
    "enrol": lambda: enrol_document("node-17", "platform.example:8443", NOW),
}


def golden(name: str, text: str) -> str:
    file = GOLDEN / name
    if WRITE:
        file.write_text(text)
    return file.read_text()


def lost(before: JSON, after: JSON, where: str = "$") -> list[str]:
    """What `before` has and `after` has not, or has with another value."""
    if isinstance(before, Mapping):
        if not isinstance(after, Mapping):
            return [where]
        return [
            item
            for key, value in before.items()
            for item in (
                lost(value, after[key], f"{where}.{key}") if key in after else [f"{where}.{key}"]
            )
        ]
    if isinstance(before, Sequence) and not isinstance(before, str):
        if not isinstance(after, Sequence) or len(after) != len(before):
            return [where]
        return [
            item
            for index, (one, two) in enumerate(zip(before, after, strict=True))
            for item in lost(one, two, f"{where}[{index}]")
        ]
    return [] if before == after else [where]


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_documents_only_gain_keys(name: str) -> None:
    document = DOCUMENTS[name]()
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    assert lost(json.loads(golden(f"{name}.json", text)), document) == []


@pytest.mark.parametrize(
    ("name", "document", "width"),
    [
        ("status-bad.txt", "status-bad", None),
        ("status-bad-80.txt", "status-bad", 80),
        ("status-good.txt", "status-good", None),
        ("status-filter.txt", "status-filter", None),
        ("status-filter-80.txt", "status-filter", 80),
        ("status-routed.txt", "status-routed", None),
        ("status-routed-80.txt", "status-routed", 80),
    ],
)
def test_status_screen(name: str, document: str, width: int | None) -> None:
    text = render_status(DOCUMENTS[document](), width, False) + "\n"
    assert text == golden(name, text)


@pytest.mark.parametrize(
    ("name", "document", "width"),
    [
        ("doctor-bad.txt", "doctor-bad", None),
        ("doctor-bad-80.txt", "doctor-bad", 80),
        ("doctor-good.txt", "doctor-good", None),
        ("doctor-routed.txt", "doctor-routed", None),
    ],
)
def test_doctor_screen(name: str, document: str, width: int | None) -> None:
    text = render_doctor(DOCUMENTS[document](), width, False) + "\n"
    assert text == golden(name, text)


def test_no_key_is_in_a_diagnosis() -> None:
    for status in (bad_hour(), filtered_hour(), routed_hour()):
        assert KEY not in json.dumps(doctor_of(status))
        assert KEY in json.dumps(status_document(bad_hour(), NOW)), "the status does show it"


def test_plan_screen() -> None:
    text = render_plan(DOCUMENTS["plan"]()) + "\n"
    assert text == golden("plan.txt", text)
    nothing = render_plan(plan_document(Revision(418), []))
    assert nothing == "nothing to do: the node is as revision 418 wants it"


def test_every_problem_names_its_code_and_ends_in_the_command_that_explains_it() -> None:
    document = DOCUMENTS["status-bad"]()
    text = render_status(document, None, False)
    lines = [line for line in text.splitlines() if line.startswith(("FAIL", "WARN"))]
    assert len(lines) == 6
    for line in lines:
        code = line.split()[1]
        assert line.endswith(f"   -> powernode-agent doctor {code}")
    problems = document["problems"]
    assert isinstance(problems, list)
    assert [each["code"] for each in problems if each["muted_by"]] == ["REV-003"], (
        "what a failed room explains stands in the document, and is not said on the screen"
    )


def test_every_warning_ends_in_what_to_do() -> None:
    lines = render_status(DOCUMENTS["status-filter"](), None, False).splitlines()
    assert [line for line in lines if line.startswith("WARN")] == [
        "WARN FW-001  firewall rule fr-9 is never reached: firewall rule fr-2 comes first and "
        "covers it   -> powernode-agent doctor FW-001"
    ]
    found = [line for line in lines if line.startswith(("FAIL", "WARN", "INFO"))]
    assert len(found) == 4
    assert all("   -> " in line for line in found)


def test_what_filters_says_what_was_not_measured() -> None:
    lines = render_status(DOCUMENTS["status-filter"](), None, False).splitlines()
    assert [line for line in lines if line.startswith("FIREWALL")] == [
        "FIREWALL core: rules in force 10000, packets dropped 31.4K",
        "FIREWALL ops: rules in force not measured, packets dropped not measured",
    ]
    (row,) = [line for line in lines if line.startswith("pm-3")]
    assert row.count("not measured") == 2
    plain = render_status(DOCUMENTS["status-good"](), None, False)
    assert "FIREWALL" not in plain
    assert "MAPPING" not in plain


def test_a_thousand_warnings_do_not_fill_the_screen() -> None:
    document = DOCUMENTS["status-filter"]()
    warnings = document["warnings"]
    assert isinstance(warnings, list)
    text = render_status({**document, "warnings": warnings[1:2] * 1000}, None, False)
    assert text.count("WARN") == 11
    assert "WARN 990 more of these" in text


def test_what_filters_counts_for_the_state() -> None:
    def state(status: NodeStatus) -> JSON:
        return status_document(status, NOW)["state"]

    good, filtered = good_hour(), filtered_hour()
    critical, warning, info = filtered.warnings
    assert state(replace(good, warnings=(warning, info))) == "ok", "traffic flows"
    assert critical.severity is Severity.CRITICAL
    assert state(replace(good, warnings=(info, critical))) == "degraded"
    ok, failed, unknown = filtered.port_mappings.values()
    unknown = replace(unknown, network_id=CORE)

    def mapped(mapping: PortMappingStatus) -> JSON:
        return state(replace(good, port_mappings={mapping.id: mapping}))

    assert [mapped(each) for each in (ok, failed, unknown)] == ["ok", "degraded", "not_measured"]
    for rules, expected in ((0, "ok"), (None, "not_measured")):
        measured = FirewallStatus(CORE, rules, None)
        assert state(replace(good, firewalls={CORE: measured})) == expected


def test_colour_changes_no_character() -> None:
    document = DOCUMENTS["status-bad"]()
    plain, colored = render_status(document, 80, False), render_status(document, 80, True)
    assert colored != plain
    for code in ("31", "32", "33", "0"):
        colored = colored.replace(f"\x1b[{code}m", "")
    assert "\n".join(line.rstrip() for line in colored.splitlines()) == plain


def test_what_is_not_measured_is_null_and_said_so() -> None:
    status = bad_hour()
    document = status_document(status, NOW)
    peers = document["peers"]
    assert isinstance(peers, list)
    unseen = next(peer for peer in peers if isinstance(peer, dict) and peer["name"] == "unseen")
    for key in ("state", "last_handshake_at", "handshake_age_s", "rx_bytes", "rtt_s", "liveness"):
        assert unseen[key] is None
    row = next(
        line for line in render_status(document, None, False).splitlines() if "unseen" in line
    )
    assert "0" not in row
    assert row.count("not measured") == 4


def _with_outcome(status: NodeStatus, result: Result) -> NodeStatus:
    return replace(status, outcomes=(SubsystemOutcome("links", CORE, result, "m", NOW),))


def test_the_state_is_worst_first() -> None:
    good = good_hour()
    assert status_document(good, NOW)["state"] == "ok"
    assert status_document(_with_outcome(good, Result.ERROR), NOW)["state"] == "degraded"
    assert status_document(_with_outcome(good, Result.NOT_MEASURED), NOW)["state"] == "not_measured"
    assert status_document(replace(good, platform="away for 41 s"), NOW)["state"] == "degraded"
    nothing = replace(good, accepted_revision=None, applied_revision=None, networks={}, peers={})
    assert status_document(nothing, NOW)["state"] == "degraded"


def test_a_node_that_needs_a_token_is_told_to_enrol() -> None:
    for platform, code, following in (
        ("away for 4 s: no certificate; run `powernode-agent enrol`", "PLT-002", "enrol"),
        ("away for 4 s: connection refused", "PLT-001", "journalctl"),
    ):
        status = replace(good_hour(), platform=platform)
        text = render_status(status_document(status, NOW), None, False)
        line = next(line for line in text.splitlines() if line.startswith("WARN"))
        assert line.endswith(f"-> powernode-agent doctor {code}")
        diagnosis = evaluate(conditions_of(status, NOW), {}, NOW, 0.0)
        text = render_doctor(doctor_document(status, diagnosis, NOW), None, False)
        assert following in text.split("-> ")[1]


def test_ages_never_run_backwards() -> None:
    document = status_document(good_hour(), NOW - 1000)
    assert document["measured_age_s"] == 0.0


def test_a_name_cannot_move_the_cursor() -> None:
    status = replace(good_hour(), platform="away: \x1b[2Jboo\nrevision 1 applied")
    text = render_status(status_document(status, NOW), None, False)
    assert "\x1b" not in text
    assert "boo revision" in text


def test_a_thousand_problems_do_not_fill_the_screen() -> None:
    problem: JSON = {"subject": "a", "network_id": None, "text": "a silent", "next": "ping a"}
    document = {**status_document(good_hour(), NOW), "problems": [problem] * 1000}
    text = render_status(document, None, False)
    assert text.count("FAIL") == 11
    assert "990 more" in text


@pytest.mark.parametrize("wanted", ["ops", "n-ops"])
def test_one_network_by_name_or_id(wanted: str) -> None:
    document = only_network(status_document(bad_hour(), NOW), wanted)
    text = render_status(document, None, False)
    assert "unseen" in text
    assert "hub-fra" not in text
    assert document["state"] == "degraded"


def test_one_network_has_its_own_filter_and_warnings() -> None:
    document = only_network(DOCUMENTS["status-filter"](), "ops")
    text = render_status(document, None, False)
    assert "FIREWALL ops" in text
    assert "FIREWALL core" not in text
    assert "pm-3" in text
    assert "pm-1" not in text
    assert [code for code in ("PM-003", "FW-001", "FW-002") if code in text] == ["PM-003", "FW-002"]


def test_a_wrong_network_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="powernode-agent status core"):
        only_network(status_document(bad_hour(), NOW), "cor")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (41.9, "41s"), (60, "1m"), (372, "6m 12s"), (3600, "1h"), (1_051_200, "12d 4h")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age_text(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (2072, "2.1K"), (99_960, "100K"), (999_600, "1.0M"), (3.1e8, "310M")],
)
def test_sizes(count: float, text: str) -> None:
    assert size_text(count) == text


def test_durations() -> None:
    assert [duration_text(s) for s in (0.0004, 0.041, 1.25)] == ["0.4ms", "41ms", "1.2s"]

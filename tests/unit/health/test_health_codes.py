"""The table itself: whole, consistent, and the same as agent/HEALTH.md says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from powernode_agent.daemon.firewalls import SHADOWED
from powernode_agent.daemon.mappings import CUT, OUTVOTED
from powernode_agent.health.codes import OF_ROOM, TABLE, Code
from powernode_agent.model.status import Severity
from powernode_agent.reconcile.ledger import ROOMS

ROOT = Path(__file__).parents[3]

RUNBOOK = {
    "PEER-001": "Agent didn't pick up config",
    "NAT-001": "NAT / firewall blocks WireGuard UDP",
    "PEER-002": "Connection lost / node rebooted",
    "BGP-001": "Wrong AS number or unreachable neighbor",
    "BGP-002": "Neighbor doesn't respond to Open message",
    "FW-001": "more specific selectors match first",
    "NAT-002": "NAT punching failed",
    "KEY-001": "Agent applied stale config",
}
"""The runbook's causes, by the code that its row has on a node."""


@pytest.mark.parametrize("code", TABLE.values(), ids=list(TABLE))
def test_a_row_is_whole(code: Code) -> None:
    assert re.fullmatch(r"[A-Z0-9]{2,4}-0\d\d", code.id)
    assert all((code.symptom, code.cause, code.fix, code.command))
    assert code.cuts_traffic is (code.severity is Severity.CRITICAL)
    assert code.id not in code.depends_on
    for root in code.depends_on:
        assert TABLE[root].holds_for <= code.holds_for, (
            "a root is told before its symptoms would be"
        )


def test_no_two_codes_mute_each_other() -> None:
    def roots(code: str, seen: frozenset[str]) -> None:
        assert code not in seen
        for root in TABLE[code].depends_on:
            roots(root, seen | {code})

    for code in TABLE:
        roots(code, frozenset())


def test_every_room_and_every_finding_outside_has_a_row() -> None:
    assert set(ROOMS) <= set(OF_ROOM)
    assert {SHADOWED, CUT, OUTVOTED, *OF_ROOM.values()} <= set(TABLE)


@pytest.mark.parametrize(("code", "cause"), RUNBOOK.items())
def test_the_runbooks_rows_keep_its_words(code: str, cause: str) -> None:
    assert cause in TABLE[code].cause


def test_the_documentation_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "health_doc.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr

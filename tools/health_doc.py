"""Writes agent/HEALTH.md from the tables of health codes; with --check, fails if it is stale."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from netns_lab.platform import health_codes
from powernode_agent.health import codes
from powernode_agent.model.wording import age_text

FILE: Final = Path(__file__).parents[1] / "agent" / "HEALTH.md"
HEAD: Final = """\
# Health codes

Made by `tools/health_doc.py` from `agent/powernode_agent/health/codes.py`; do not edit. It is the
runbook's troubleshooting table, and what else a node is known to fail in.

`powernode-agent doctor` shows what holds now, `powernode-agent doctor CODE` explains one code. The same
findings are in the reports to the platform (`system_sdwan_list_health` there), in `status`, and in the
metric `powernode_agent_health_findings`. A finding is told once it has lasted as long as its row says
(times `patience` of `[health]` in agent.toml), and is muted while its root cause is there.
"""
BETWEEN: Final = """
# Codes of the platform

What no node can know, from `system_sdwan_list_health`. The lab's reference platform has them, in
`netns_lab.platform.health_codes`.
"""


def text() -> str:
    """The whole file."""
    lines = [HEAD, *_table(codes.TABLE.values()), *_fixes(codes.TABLE.values()), BETWEEN]
    lines += [*_table(health_codes.TABLE.values()), *_fixes(health_codes.TABLE.values())]
    return "\n".join(lines)


def main() -> int:
    """0: written, or fresh; 1: stale."""
    if "--check" in sys.argv[1:]:
        if FILE.exists() and FILE.read_text() == text():
            return 0
        print(f"{FILE.name} is stale: run tools/health_doc.py and commit", file=sys.stderr)
        return 1
    FILE.write_text(text())
    return 0


Rows = Iterable[codes.Code | health_codes.Code]


def _table(rows: Rows) -> Iterator[str]:
    yield "| code | symptom | severity | traffic | told | muted by |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        told = f"after {age_text(row.holds_for)}" if row.holds_for else "at once"
        traffic = "cut" if row.cuts_traffic else "flows"
        yield (
            f"| {row.id} | {row.symptom} | {row.severity.value} | {traffic} | {told} "
            f"| {', '.join(row.depends_on) or '-'} |"
        )


def _fixes(rows: Rows) -> Iterator[str]:
    for row in rows:
        yield f"\n## {row.id}: {row.symptom}\n"
        yield f"- Cause: {row.cause}."
        yield f"- Fix: {row.fix}."
        if isinstance(row, codes.Code):
            yield f"- Next: `{row.command}`"
    yield ""


if __name__ == "__main__":
    sys.exit(main())

"""The diagnosis as text: each finding with its age, evidence, cause and fix, and what to type next.

Pure, from JSON to lines.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from powernode_agent.cli.parts import Object, items, number_of, part, text_of
from powernode_agent.cli.table import clean, paint
from powernode_agent.model.wording import age_text

WORDS: Final = {"critical": "FAIL", "warning": "WARN", "info": "INFO"}
COLORS: Final = {"FAIL": "red", "WARN": "yellow", "ok": "green", "failed": "red"}
MAX_FINDINGS: Final = 20
"""A dead hub with 1,000 spokes must not scroll the root cause off the screen."""
_NARROW: Final = 40


def render_doctor(document: Object, width: int | None, color: bool) -> str:
    """The screen. `width` in columns, None: unlimited."""
    lines = list(_row(part(document, "code"), width))
    findings = items(document, "findings")
    for finding in findings[:MAX_FINDINGS]:
        lines += _finding(finding, width, color)
    if len(findings) > MAX_FINDINGS:
        more = len(findings) - MAX_FINDINGS
        lines.append(f"and {more} more   -> powernode-agent doctor --json")
    pending = items(document, "pending")
    for each in pending[:MAX_FINDINGS]:
        shows = number_of(each, "shows_in_s") or 0.0
        lines.append(
            f"soon {text_of(each, 'code')}  {text_of(each, 'evidence')}"
            f" (is told if it lasts another {age_text(shows)})"
        )
    muted: dict[tuple[str, str], int] = {}
    for each in items(document, "muted"):
        pair = (text_of(each, "code"), text_of(each, "muted_by"))
        muted[pair] = muted.get(pair, 0) + 1
    lines += [
        f"muted: {count} x {code}, explained by {root}" for (code, root), count in muted.items()
    ]
    lines += [_check(each, color) for each in items(document, "checks")]
    unknown = document.get("not_measured")
    if isinstance(unknown, list):
        lines += [f"not measured: {clean(str(each))}" for each in unknown]
    if not findings and not pending and document.get("daemon") == "running":
        age = number_of(document, "measured_age_s")
        about = f" of {text_of(part(document, 'code'), 'id')}" if document.get("code") else ""
        measured = "" if age is None else f", measured {age_text(age)} ago"
        lines.append(f"nothing is found{about}{measured}")
    return "\n".join(lines)


def _row(code: Object, width: int | None) -> Iterator[str]:
    """The table's row, when one code was asked for."""
    if not code:
        return
    cuts = "cuts traffic" if code.get("cuts_traffic") else "traffic flows"
    yield f"{text_of(code, 'id')}  {text_of(code, 'symptom')} ({text_of(code, 'severity')}, {cuts})"
    yield from _field("cause", text_of(code, "cause"), width)
    yield from _field("fix", text_of(code, "fix"), width)
    holds = number_of(code, "holds_for_s")
    yield from _field("told", "at once" if not holds else f"after {age_text(holds)}", width)
    roots = code.get("depends_on")
    if isinstance(roots, list) and roots:
        yield from _field("muted by", ", ".join(clean(str(root)) for root in roots), width)
    yield ""


def _finding(finding: Object, width: int | None, color: bool) -> list[str]:
    word = WORDS.get(text_of(finding, "severity"), "WARN")
    age = number_of(finding, "age_s")
    network = text_of(finding, "network")
    head = f"{text_of(finding, 'code')}  {text_of(finding, 'subject')}"
    head += f" ({network})" if network and network != text_of(finding, "subject") else ""
    head += "" if age is None else f", for {age_text(age)}"
    return [
        f"{paint(word, COLORS.get(word, ''), color)} {head}: {text_of(finding, 'symptom')}",
        *_field("evidence", text_of(finding, "evidence"), width),
        *_field("cause", text_of(finding, "cause"), width),
        *_field("fix", text_of(finding, "fix"), width),
        f"     -> {text_of(finding, 'next')}",
    ]


def _field(name: str, text: str, width: int | None) -> list[str]:
    indent = " " * 15
    if width is None or width < _NARROW:
        return [f"     {name:<9} {text}"]
    return textwrap.wrap(
        text, width, initial_indent=f"     {name:<9} ", subsequent_indent=indent
    ) or [f"     {name}"]


def _check(check: Object, color: bool) -> str:
    word = text_of(check, "result").replace("_", " ")
    following = text_of(check, "next")
    line = f"{paint(word, COLORS.get(word, ''), color)}: {text_of(check, 'name')}:"
    return f"{line} {text_of(check, 'evidence')}" + (f"   -> {following}" if following else "")

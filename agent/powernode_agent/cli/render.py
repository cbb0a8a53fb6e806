"""Documents -> text for a person: pure, from JSON to lines.

Every state word stands beside its evidence and age, or says "not measured"; every FAIL and WARN line
ends in the next thing to do. Text from outside loses its control characters before it meets a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from powernode_agent.cli.parts import Object, items, number_of, part, text_of
from powernode_agent.cli.render_networks import network_table, routing_tables
from powernode_agent.cli.table import Column, clean, paint, render_table
from powernode_agent.model.wording import NOT_MEASURED, age_text, duration_text, size_text

MAX_PROBLEMS: Final = 10
"""A dead hub with 1,000 spokes must not scroll the first line off the screen."""


def render_status(document: Object, width: int | None, color: bool) -> str:
    """The status screen. `width` in columns, None: unlimited."""
    lines = [_head(document), _revision_line(document)]
    problems = [each for each in items(document, "problems") if not text_of(each, "muted_by")]
    lines += _bounded([_problem_parts(each) for each in problems], width, color)
    said = {_about(each) for each in problems}
    told = [each for each in items(document, "warnings") if _about(each) not in said]
    lines += _bounded([_warning_parts(each) for each in told], width, color)
    networks = items(document, "networks")
    if networks:
        lines += ["", *network_table(networks, width, color)]
    lines += [_firewall_line(firewall) for firewall in items(document, "firewalls")]
    mappings = items(document, "port_mappings")
    if mappings:
        rows = [_mapping_row(mapping) for mapping in mappings]
        lines += ["", *render_table(_MAPPING_COLUMNS, rows, width, color)]
    lines += routing_tables(document, width, color)
    peers = items(document, "peers")
    if peers:
        lines += ["", *render_table(_PEER_COLUMNS, [_peer_row(p) for p in peers], width, color)]
    return "\n".join(lines)


def render_plan(document: Object) -> str:
    """One line for each thing that would be done: + adds, ~ changes, - removes."""
    revision = number_of(document, "revision")
    target = "the desired state" if revision is None else f"revision {int(revision)}"
    changes = items(document, "changes")
    if not changes:
        return f"nothing to do: the node is as {target} wants it"
    marks = {"add": "+", "change": "~", "remove": "-"}
    lines = [f"{target}: {len(changes)} change{'s' if len(changes) != 1 else ''} pending"]
    for change in changes:
        mark = marks.get(text_of(change, "verb"), "?")
        where = text_of(change, "subsystem")
        network = text_of(change, "network")
        lines.append(f"{mark} {where}{f' {network}' if network else ''}")
        steps = change.get("lines")
        lines += [f"    {clean(str(step))}" for step in steps] if isinstance(steps, list) else []
    return "\n".join(lines)


def _head(document: Object) -> str:
    node = part(document, "node")
    agent = part(document, "agent")
    name = text_of(node, "name") or text_of(node, "id") or "(no name yet)"
    uptime = number_of(agent, "uptime_s")
    up = NOT_MEASURED if uptime is None else age_text(uptime)
    return f"{name}   {text_of(agent, 'version') or '-'}   up {up}"


def _revision_line(document: Object) -> str:
    revision = part(document, "revision")
    applied = number_of(revision, "applied")
    if applied is None:
        first = "no revision applied"
    else:
        first = f"revision {int(applied)} applied"
        age = number_of(revision, "applied_age_s")
        took = number_of(revision, "applied_in_s")
        first += "" if age is None else f" {age_text(age)} ago"
        first += "" if took is None else f" in {duration_text(took)}"
    drift = number_of(part(document, "agent"), "drift_repaired")
    measured = number_of(document, "measured_age_s")
    return "   ".join(
        (
            first,
            f"platform {text_of(document, 'platform') or NOT_MEASURED}",
            f"drift repaired since start: {NOT_MEASURED if drift is None else int(drift)}",
            f"measured {'at an unknown time' if measured is None else age_text(measured) + ' ago'}",
        )
    )


_Finding = tuple[str, str, str]
"""How bad in a word, what was found, and what to do."""


def _bounded(findings: Sequence[_Finding], width: int | None, color: bool) -> list[str]:
    """The first of them, and how many more there are."""
    shown = list(findings[:MAX_PROBLEMS])
    if len(findings) > MAX_PROBLEMS:
        more = f"{len(findings) - MAX_PROBLEMS} more of these"
        shown.append((findings[MAX_PROBLEMS][0], more, "powernode-agent status --json"))
    return [line for finding in shown for line in _finding_lines(finding, width, color)]


def _finding_lines(finding: _Finding, width: int | None, color: bool) -> list[str]:
    word, text, following = finding
    painted = paint(word, _WORD_COLORS.get(word, ""), color)
    if width is None or len(f"{word} {text}   -> {following}") <= width:
        return [f"{painted} {text}   -> {following}"]
    return [f"{painted} {text}", f"     -> {following}"]


_WORD_COLORS: Final = {"FAIL": "red", "WARN": "yellow"}
_SEVERITY_WORDS: Final = {"critical": "FAIL", "warning": "WARN", "info": "INFO"}


def _about(each: Object) -> tuple[str, str, str]:
    """By which a warning is known to say what a problem says already."""
    network = text_of(each, "network_id") or text_of(each, "network")
    return (text_of(each, "code"), network, text_of(each, "subject_id"))


def _problem_parts(problem: Object) -> _Finding:
    code = text_of(problem, "code")
    if not code:
        # A daemon of an earlier version names none.
        return ("FAIL", text_of(problem, "text"), text_of(problem, "next"))
    return (
        _SEVERITY_WORDS.get(text_of(problem, "severity"), "FAIL"),
        f"{code}  {text_of(problem, 'text')}",
        f"powernode-agent doctor {code}",
    )


def _warning_parts(warning: Object) -> _Finding:
    code = text_of(warning, "code")
    return (
        _SEVERITY_WORDS.get(text_of(warning, "severity"), "WARN"),
        f"{code}  {text_of(warning, 'evidence')}",
        f"powernode-agent doctor {code}",
    )


def _firewall_line(firewall: Object) -> str:
    rules, dropped = number_of(firewall, "rules"), number_of(firewall, "dropped_packets")
    return (
        f"FIREWALL {text_of(firewall, 'network')}: "
        f"rules in force {NOT_MEASURED if rules is None else int(rules)}, "
        f"packets dropped {NOT_MEASURED if dropped is None else size_text(dropped)}"
    )


_PEER_COLUMNS: Final = (
    Column("PEER"), Column("NETWORK"), Column("PATH", optional=True), Column("STATE", colored=True),
    Column("HANDSHAKE"), Column("RTT"), Column("RX/TX", optional=True), Column("", optional=True),
)  # fmt: skip

_MAPPING_COLUMNS: Final = (
    Column("MAPPING"), Column("NETWORK", optional=True), Column("OUTSIDE"), Column("INSIDE"),
    Column("STATE", colored=True), Column("CONNECTIONS", optional=True), Column("", optional=True),
)  # fmt: skip


def _mapping_row(mapping: Object) -> Sequence[str]:
    connections = number_of(mapping, "connections")
    return (
        text_of(mapping, "id"),
        text_of(mapping, "network"),
        text_of(mapping, "external") or "-",
        text_of(mapping, "internal") or "-",
        text_of(mapping, "result").replace("_", " ") or NOT_MEASURED,
        NOT_MEASURED if connections is None else size_text(connections),
        text_of(mapping, "message"),
    )


def _peer_row(peer: Object) -> Sequence[str]:
    state = text_of(peer, "state")
    handshake = number_of(peer, "handshake_age_s")
    # Without a handshake: never, if the device was asked; a pending peer is not in it yet.
    without = {"": NOT_MEASURED, "handshake_pending": "-"}.get(state, "never")
    age = without if handshake is None else age_text(handshake)
    rtt = number_of(peer, "rtt_s")
    received, sent = number_of(peer, "rx_bytes"), number_of(peer, "tx_bytes")
    traffic = "/".join("?" if n is None else size_text(n) for n in (received, sent))
    return (
        text_of(peer, "name"),
        text_of(peer, "network"),
        text_of(peer, "path") or "-",
        state or NOT_MEASURED,
        age,
        NOT_MEASURED if rtt is None else duration_text(rtt),
        traffic if (received, sent) != (None, None) else NOT_MEASURED,
        _probe_note(peer),
    )


def _probe_note(peer: Object) -> str:
    sent, answered = number_of(peer, "probes_sent"), number_of(peer, "probes_answered")
    if sent is None or answered is None or text_of(peer, "liveness") == "alive":
        return ""
    since = number_of(peer, "liveness_age_s")
    note = f"{int(sent)} sent, {int(answered)} answered"
    return note if since is None else f"{note}, for {age_text(since)}"

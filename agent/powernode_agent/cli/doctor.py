"""`powernode-agent doctor`: what is wrong with this node, why, and what to type next.

With a daemon it is the daemon's own diagnosis, of all of it, of one code, or of one network or peer.
Without one it is what can be seen from outside, and the rest is said to be not measured: exit 4.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from powernode_agent.cli.checks import run_checks
from powernode_agent.cli.outcome import ExitCode, Outcome, UsageError, failed
from powernode_agent.cli.parts import Object, items, text_of
from powernode_agent.cli.render_doctor import render_doctor
from powernode_agent.config import ConfigError, Settings, load_settings, parse_settings
from powernode_agent.control.client import (
    DaemonAwayError,
    DaemonClosedError,
    DaemonRefusedError,
    DaemonSilentError,
    ask,
)
from powernode_agent.control.protocol import JSON, FailureKind
from powernode_agent.health.codes import TABLE

_ONLY_THE_DAEMON: Final = (
    "peers, handshakes and probes",
    "BGP sessions",
    "virtual IPs",
    "firewall rules and port mappings in force",
    "revisions of desired state",
    "the way to the platform",
)
_MEASURED_BY: Final = {
    "PEER": ": peer ",
    "NAT": ": peer ",
    "KEY": ": peer ",
    "LINK": ": its link",
    "BGP": ": BGP session with ",
    "VIP": ": virtual IP ",
}
"""What has to be measured for codes of a kind, in the words of `doctor_document.not_measured`."""
_LISTS: Final = ("findings", "pending", "muted")


def show_doctor(config: Path | None, wanted: str | None, width: int | None, color: bool) -> Outcome:
    """The diagnosis; `wanted` is a code, or a name or id of a network or of what a finding is about.

    0: nothing is wrong, 3: something is, 4: it could not be measured, 2: nobody knows `wanted`.
    """
    refused: ConfigError | None = None
    try:
        settings = load_settings(config, os.environ)
    except ConfigError as error:
        # One that would not start the daemon is a finding, and no reason to find nothing else.
        refused, settings = error, parse_settings(b"", Path(error.which.partition(",")[0]))
    try:
        answer = ask(settings.directories.control_socket, "doctor")
    except (DaemonAwayError, DaemonClosedError, DaemonSilentError) as error:
        return _without_daemon(settings, refused, error, wanted, width, color)
    except DaemonRefusedError as error:
        if error.failure.kind is FailureKind.STARTING:
            return _without_daemon(settings, refused, error, wanted, width, color)
        return failed("doctor", error)
    document = {**answer, "code": None if wanted is None else _row(wanted)}
    if wanted is not None:
        document = _only(document, wanted)
    if refused is not None:
        document["checks"] = [each.document() for each in run_checks(settings, refused)[:1]]
    return Outcome(_code(document), document, render_doctor(document, width, color))


def _code(document: Object) -> ExitCode:
    # What a root cause explains is no less wrong: asked for by name, it may be all there is.
    found = [each for key in _LISTS for each in items(document, key)]
    if any(text_of(each, "severity") != "info" for each in found) or any(
        text_of(each, "result") == "failed" for each in items(document, "checks")
    ):
        return ExitCode.BAD_NEWS
    return ExitCode.UNMEASURED if document.get("not_measured") else ExitCode.GOOD


def _without_daemon(
    settings: Settings,
    refused: ConfigError | None,
    error: DaemonAwayError | DaemonClosedError | DaemonSilentError | DaemonRefusedError,
    wanted: str | None,
    width: int | None,
    color: bool,
) -> Outcome:
    if wanted is not None and _row(wanted) is None:
        raise _nobody_knows(wanted, [])
    said = failed("doctor", error)
    document: dict[str, JSON] = {
        **said.document,
        "state": "not_measured",
        "measured_at": None,
        "measured_age_s": None,
        "node": {"id": None, "name": settings.node.name},
        "networks": [],
        "code": None if wanted is None else _row(wanted),
        **{key: [] for key in _LISTS},
        "not_measured": list(_ONLY_THE_DAEMON),
        "checks": [each.document() for each in run_checks(settings, refused)],
    }
    text = render_doctor(document, width, color)
    return Outcome(ExitCode.UNMEASURED, document, text, said.complaint)


def _row(wanted: str) -> dict[str, JSON] | None:
    """The table's row, of this program's own table; None: no code."""
    from powernode_agent.control.doctor_document import code_document

    code = TABLE.get(wanted.upper())
    return None if code is None else code_document(code)


def _only(document: Mapping[str, JSON], wanted: str) -> dict[str, JSON]:
    """What concerns one code, network, peer or other subject. Raises `UsageError`."""
    if wanted.upper() in TABLE:
        words = _MEASURED_BY.get(wanted.upper().partition("-")[0])
        unread = [
            each
            for each in _strings(document.get("not_measured"))
            if words is not None and words in each
        ]
        return _where(document, lambda each: each.get("code") == wanted.upper(), unread)
    networks = items(document, "networks")
    ids = [
        each.get("id")
        for each in networks
        if wanted in (each.get("id"), each.get("name"), each.get("handle"))
    ]
    found = [each for key in _LISTS for each in items(document, key)]
    subjects = {text_of(each, key) for each in found for key in ("subject", "subject_id")}
    unread = [
        each
        for each in _strings(document.get("not_measured"))
        if each.endswith(
            (f": peer {wanted}", f": BGP session with {wanted}", f": virtual IP {wanted}")
        )
    ]
    if not ids and wanted not in subjects and not unread:
        names = [text_of(each, "name") for each in networks]
        raise _nobody_knows(wanted, [*names, *sorted(subjects - {""})])
    unknown = [
        each
        for each in _strings(document.get("not_measured"))
        if any(each.startswith(f"{text_of(n, 'name')}:") for n in networks if n.get("id") in ids)
    ]
    return _where(
        document,
        lambda each: (
            each.get("network_id") in ids or wanted in (each.get("subject"), each.get("subject_id"))
        ),
        [*unknown, *(each for each in unread if each not in unknown)],
    )


def _where(
    document: Mapping[str, JSON], keep: Callable[[Object], bool], unknown: Sequence[str]
) -> dict[str, JSON]:
    return {
        **document,
        **{key: [each for each in items(document, key) if keep(each)] for key in _LISTS},
        "not_measured": unknown,
    }


def _nobody_knows(wanted: str, names: Sequence[str]) -> UsageError:
    near = difflib.get_close_matches(wanted, [*names, *TABLE], n=1, cutoff=0.5) or (
        difflib.get_close_matches(wanted.upper(), list(TABLE), n=1, cutoff=0.5)
    )
    expected = "one of " + ", ".join(TABLE)
    if names:
        expected += "; or of " + ", ".join(names[:20])
    return UsageError(
        "neither a health code nor a name that a finding has",
        value=repr(wanted),
        expected=expected,
        action=f"powernode-agent doctor {near[0]}" if near else "powernode-agent doctor",
    )


def _strings(value: JSON) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []

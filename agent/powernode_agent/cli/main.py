"""The command line's grammar: verbs and options, and nothing else.

What a verb does is in `looking` and `changing`, imported when it is called. typer would bring rich
along for its help and its tracebacks (60 ms, and tracebacks that print local variables, secrets among
them): both are switched off.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from powernode_agent.cli.outcome import Outcome, failed
from powernode_agent.config import Settings, load_settings
from powernode_agent.errors import AgentError

app = typer.Typer(
    name="powernode-agent",
    help="The node-side daemon of the Powernode SD-WAN, and the questions one can ask it.",
    epilog="Exit codes: 0 good, 1 failed, 2 usage, 3 bad news (degraded, changes pending), "
    "4 could not be measured (no daemon, no permission).",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration; else $POWERNODE_AGENT_CONFIG, else /etc/powernode-agent/agent.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as JSON, errors included.")]


@app.command()
def run(
    config: ConfigOption = None,
    desired_state: Annotated[
        Path | None,
        typer.Option(
            "--desired-state",
            metavar="FILE",
            help="Follow this YAML or JSON file instead of a platform.",
        ),
    ] = None,
) -> None:
    """Run the daemon in the foreground. SIGHUP reconciles now; SIGTERM leaves the data plane up."""

    def act(settings: Settings) -> Outcome:
        from powernode_agent.cli.changing import run_daemon

        return run_daemon(settings, desired_state)

    _finish("run", config, act, as_json=False)


@app.command()
def status(
    network: Annotated[
        str | None, typer.Argument(help="Only this network, by name, handle or id.")
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What the node is, measured, with its age. Exit 0: ok; 3: degraded; 4: not measured."""

    def act(settings: Settings) -> Outcome:
        from powernode_agent.cli.looking import show_status

        width, color = _screen()
        return show_status(settings, network, width, color)

    _finish("status", config, act, as_json)


@app.command()
def doctor(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="[CODE]", help="One health code (NAT-001), or the name of a network or a peer."
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """What is wrong, why, and what to type next. Exit 0: nothing; 3: something; 4: not measured."""

    def act() -> Outcome:
        from powernode_agent.cli.doctor import show_doctor

        width, color = _screen()
        return show_doctor(config, code, width, color)

    _end("doctor", act, as_json)


@app.command()
def plan(
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            metavar="FILE",
            help='Desired state to plan for; "-": standard input. Else the accepted revision.',
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The exact changes that would be made; makes none. Exit 0: nothing to do; 3: changes pending."""

    def act(settings: Settings) -> Outcome:
        from powernode_agent.cli.looking import show_plan

        return show_plan(settings, file)

    _finish("plan", config, act, as_json)


@app.command()
def enrol(
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", metavar="FILE", help="The one-time token; else from standard input."
        ),
    ] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Trade a one-time token for the node's certificate. The token is never an argument."""

    def act(settings: Settings) -> Outcome:
        from powernode_agent.cli.changing import enrol_node

        return enrol_node(settings, token_file)

    _finish("enrol", config, act, as_json)


@app.command()
def purge(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Tear down everything of ours on this host, with or without a running daemon."""

    def act(settings: Settings) -> Outcome:
        from powernode_agent.cli.changing import purge_node

        return purge_node(settings, confirmed=yes)

    _finish("purge", config, act, as_json)


@app.command()
def version(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Versions of this program and of the running daemon."""

    def act(settings: Settings) -> Outcome:
        from powernode_agent.cli.looking import show_version

        return show_version(settings)

    _finish("version", config, act, as_json)


def main() -> None:
    """Entry point of the program `powernode-agent`."""
    app(prog_name="powernode-agent")


def _finish(
    verb: str, config: Path | None, act: Callable[[Settings], Outcome], as_json: bool
) -> None:
    """Carry out a verb that cannot do without the configuration."""
    _end(verb, lambda: act(load_settings(config, os.environ)), as_json)


def _end(verb: str, act: Callable[[], Outcome], as_json: bool) -> None:
    """Carry the verb out and print its outcome; the one place that prints and exits."""
    try:
        outcome = act()
    except AgentError as error:
        outcome = failed(verb, error)
    if as_json:
        typer.echo(json.dumps(outcome.document, indent=2, allow_nan=False))
    else:
        if outcome.text:
            typer.echo(outcome.text)
        if outcome.complaint:
            typer.echo(outcome.complaint, err=True)
    raise typer.Exit(outcome.code)


def _screen() -> tuple[int | None, bool]:
    """Width and colour of a terminal; neither for a pipe, which gets whole lines."""
    if not sys.stdout.isatty():
        return None, False
    return shutil.get_terminal_size().columns, not os.environ.get("NO_COLOR")

"""`netns-lab`: the lab's command line.

Exit codes are the agent's (design, section 12): 0 good; 1 the command failed; 2 usage; 3 bad news (a
node is not what it should be); 4 could not be measured (there is no such lab, no platform). Errors
go to stderr in one sentence with what to do next; `--json` output has a schema and goes to stdout.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from netns_lab import impair, lab_report, namespaces, teardown
from netns_lab.errors import ActionError, LabError
from netns_lab.lab import PLATFORM_UNIT, Lab
from netns_lab.node import AGENT, LabNode, command_environment
from netns_lab.paths import lab_paths
from netns_lab.topology import PLATFORM, plain_topology, reference_topology

FAILED: Final = 1
USAGE: Final = 2
BAD_NEWS: Final = 3
NOT_MEASURED: Final = 4

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="An SD-WAN in network namespaces: real agents, a reference platform, an internet between.",
)

LabOption = Annotated[str, typer.Option("--lab", help="Name of the lab: 1 to 8 of a-z and 0-9.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command()
def up(
    lab: LabOption = "lab",
    spokes: Annotated[
        int, typer.Option(min=0, max=60, help="This many open spokes instead of the usual three.")
    ] = 0,
    hubs: Annotated[int, typer.Option(min=1, max=20, help="Hubs, with --spokes.")] = 2,
    bare: Annotated[
        bool, typer.Option("--bare", help="Namespaces and links only: no platform, no agents.")
    ] = False,
) -> None:
    """Bring up the internet, the platform and one enrolled agent a node."""
    topology = plain_topology(hubs=hubs, spokes=spokes) if spokes else reference_topology()
    progress = _Progress()
    made = Lab.up(lab, topology, progress=progress)
    if not bare:
        try:
            made.start(progress=progress)
        except LabError as error:
            # The half-started lab stays, because its logs say why.
            _complain(error)
            _complain_text(f"the lab is left as it is: netns-lab logs NODE --lab {lab}; then down")
            raise typer.Exit(FAILED) from error
    progress("up")
    _print(lab, lab_report.survey(made), problems=not bare)


@app.command()
def down(
    lab: LabOption = "lab",
    everything: Annotated[
        bool, typer.Option("--all", help="Every lab of this host, also what crashes left.")
    ] = False,
) -> None:
    """Remove a lab, whole or half made. Twice does no harm."""
    if everything:
        names = teardown.remove_all()
    else:
        names = [lab] if lab in teardown.known_labs() else []
        teardown.remove(lab_paths(lab))
    typer.echo(f"down: {', '.join(names)}" if names else "nothing to take down")


@app.command()
def status(lab: LabOption = "lab", as_json: JsonOption = False) -> None:
    """Every node: is its agent there, and what does it say. Exit 3 if one is not as it should be."""
    rows = lab_report.survey(_attach(lab))
    if as_json:
        typer.echo(lab_report.to_json(lab, rows))
    else:
        _print(lab, rows, problems=True)
    if not all(row.good for row in rows):
        raise typer.Exit(BAD_NEWS)


@app.command("exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def execute(context: typer.Context, node: str, lab: LabOption = "lab") -> None:
    """Run a command inside a node: netns-lab exec NODE -- CMD. Its exit code is ours.

    `powernode-agent` is the one that the lab runs.
    """
    if not context.args:
        _complain_text("no command: netns-lab exec NODE -- CMD")
        raise typer.Exit(USAGE)
    argv = _attach(lab).node(node).argv(context.args)
    sys.stdout.flush()
    # The command takes our place: it gets our terminal and its signals, and its end is our end.
    os.execvpe(argv[0], argv, command_environment())


@app.command()
def call(
    action: str,
    arguments: Annotated[str, typer.Argument(metavar="JSON", help="An object.")] = "{}",
    lab: LabOption = "lab",
    account: Annotated[
        str, typer.Option(help="Whom to act for, by id or name; the first account if left out.")
    ] = "",
) -> None:
    """Carry out an action on the platform: netns-lab call ACTION JSON. Prints the answer as JSON."""
    try:
        given = json.loads(arguments)
    except ValueError as error:
        _complain_text(f"the arguments are not JSON: {error}")
        raise typer.Exit(USAGE) from error
    if not isinstance(given, dict):
        _complain_text("the arguments have to be a JSON object")
        raise typer.Exit(USAGE)
    platform = _attach(lab).platform.acting_for(account, door="call")
    try:
        answer = platform.call(action, given)
    except ActionError as error:
        _complain(error)
        raise typer.Exit(FAILED) from error
    except LabError as error:
        _complain(error)
        raise typer.Exit(NOT_MEASURED) from error
    typer.echo(json.dumps(answer, indent=2))


@app.command()
def mcp(
    lab: LabOption = "lab",
    account: Annotated[
        str, typer.Option(help="The account that the tools act for, by id or name.")
    ] = "default",
    lab_actions: Annotated[
        bool, typer.Option("--lab-actions", help="The lab's own actions as tools, too.")
    ] = False,
) -> None:
    """Serve the platform's actions as MCP tools on standard input and output, for one account."""
    # Not at the top: no other command has use for the SDK, which takes half a second to load.
    from netns_lab.mcp_door import stdio

    try:
        stdio.serve(_attach(lab).platform, account, with_lab=lab_actions)
    except LabError as error:
        _complain(error)
        raise typer.Exit(NOT_MEASURED) from error


@app.command("impair")
def impair_node(
    node: str,
    loss: Annotated[str, typer.Option(metavar="20%", help="Packets lost, each way.")] = "0%",
    delay: Annotated[str, typer.Option(metavar="50ms", help="Added to each packet.")] = "0ms",
    reorder: Annotated[
        str, typer.Option(metavar="5%", help="Packets that skip the delay, and so overtake.")
    ] = "0%",
    clear: Annotated[bool, typer.Option("--clear", help="End the impairment.")] = False,
    lab: LabOption = "lab",
) -> None:
    """Lose, delay or reorder packets of a node's uplink, both ways. Takes a kernel with netem."""
    given = [text for text, none in ((loss, "0%"), (delay, "0ms"), (reorder, "0%")) if text != none]
    if clear == bool(given):
        _complain_text("either --clear, or at least one of --loss, --delay and --reorder")
        raise typer.Exit(USAGE)
    chosen = _attach(lab).node(node)
    if clear:
        impair.clear(chosen)
    else:
        impair.impair(chosen, impair.Impairment.parse(loss=loss, delay=delay, reorder=reorder))


@app.command()
def logs(
    node: str,
    lab: LabOption = "lab",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
) -> None:
    """The log of a node's agent, or of the platform."""
    chosen = _attach(lab).node(node)
    path = chosen.paths.log(chosen.name, PLATFORM_UNIT if chosen.name == PLATFORM else AGENT)
    if not path.exists():
        _complain_text(f"{node} has no log yet: nothing was started there")
        raise typer.Exit(NOT_MEASURED)
    _show(path, chosen, follow)


def main() -> None:
    """Entry point. Usage errors leave with 2 by typer itself."""
    try:
        app()
    except LabError as error:
        _complain(error)
        sys.exit(FAILED)


class _Progress:
    """One line for each step with the time since the start, on stderr."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def __call__(self, text: str) -> None:
        typer.echo(f"[{time.monotonic() - self._begin:6.2f} s] {text}", err=True)


def _attach(name: str) -> Lab:
    namespaces.require_root()
    try:
        return Lab.attach(name)
    except LabError as error:
        _complain(error)
        raise typer.Exit(NOT_MEASURED) from error


def _show(path: Path, node: LabNode, follow: bool) -> None:
    with path.open(errors="replace") as log:
        sys.stdout.write(log.read())
        sys.stdout.flush()
        # Ends when the lab goes down (the namespace's name with it) or at Ctrl-C.
        while follow and node.network_namespace.exists():
            more = log.read()
            sys.stdout.write(more)
            sys.stdout.flush()
            if not more:
                time.sleep(0.1)


def _print(lab: str, rows: Sequence[lab_report.NodeRow], *, problems: bool) -> None:
    console = Console(soft_wrap=True)
    console.print(lab_report.table(rows))
    for row in rows:
        if problems and row.problem:
            reason = f"{row.node}: {row.problem}"
            console.print(f"FAIL {reason}  -> netns-lab logs {row.node} --lab {lab}", markup=False)


def _complain(error: LabError) -> None:
    _complain_text(str(error))


def _complain_text(text: str) -> None:
    typer.echo(f"netns-lab: {text}", err=True)


if __name__ == "__main__":
    main()

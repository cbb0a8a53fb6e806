"""`python -m netns_lab.vm`: `check`, and `run [OPTIONS] -- COMMAND`.

The exit code of `run` is the command's own, or 77 (this host cannot run it), 124 (time limit), 125 (the
machine died); each with one sentence on stderr.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from netns_lab.errors import LabError
from netns_lab.vm import kernel, machine, needs
from netns_lab.vm.errors import CannotRunError, DiedError, TimedOutError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


@app.command()
def check() -> None:
    """Say whether this host can run the machine: exit 0, or 77 and why not."""
    means = needs.check()
    typer.echo(f"can run: {means.acceleration.value}, {kernel.find(kernel.cache()).release}")


@app.command(context_settings={"allow_interspersed_args": False})
def run(
    command: Annotated[list[str], typer.Argument(help="What to run.", metavar="COMMAND...")],
    timeout: Annotated[float, typer.Option(help="Seconds, with booting.")] = machine.TIMEOUT,
    memory: Annotated[int, typer.Option(help="MiB.")] = machine.MEMORY,
    cpus: Annotated[int, typer.Option(min=1)] = machine.CPUS,
    writable: Annotated[
        list[Path] | None, typer.Option(help="A directory whose changes stay. Repeatable.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say how long it took.")] = False,
) -> None:
    """Run COMMAND in a throw-away machine, in this directory and with this environment."""
    ended = machine.run(command, timeout=timeout, memory=memory, cpus=cpus, writable=writable or ())
    if verbose:
        typer.echo(
            f"machine: {ended.acceleration.value}, booted in {ended.boot_seconds:.1f} s,"
            f" {ended.seconds:.1f} s in all",
            err=True,
        )
    raise typer.Exit(ended.code)


def main() -> None:
    """Entry point."""
    # A SIGTERM ends us as an exception does: with QEMU and virtiofsd ended first.
    signal.signal(signal.SIGTERM, _leave)
    try:
        app(prog_name="python -m netns_lab.vm")
    except (CannotRunError, TimedOutError, DiedError) as error:
        typer.echo(f"netns-lab vm: {error}", err=True)
        sys.exit(error.code)
    except LabError as error:
        typer.echo(f"netns-lab vm: {error}", err=True)
        sys.exit(DiedError.code)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()

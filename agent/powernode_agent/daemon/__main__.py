"""The daemon as a process of its own: `python -m powernode_agent.daemon CONFIG [DESIRED_STATE]`.

`powernode-agent run` becomes this process by exec, so that the daemon carries nothing of the command
line with it: typer brings pydantic, and structlog loads rich and pygments if it finds them, together
15 MB that stay resident on every node for a `--help` that was never asked for. CONFIG "" is the
built-in default.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path

# structlog imports rich for pretty tracebacks if it can. Our log is JSON; None means "not there".
sys.modules["rich"] = None  # type: ignore[assignment]

from powernode_agent.config import load_settings, with_desired_state  # noqa: E402
from powernode_agent.daemon import run  # noqa: E402
from powernode_agent.errors import AgentError  # noqa: E402


def main(arguments: list[str]) -> int:
    """0 after an orderly stop, 1 if it could not start."""
    config, desired_state = (*arguments, "", "")[:2]
    try:
        settings = load_settings(Path(config) if config else None)
        if desired_state:
            settings = with_desired_state(settings, Path(desired_state))
        _spare_the_collector()
        return run(settings)
    except AgentError as error:
        sys.stderr.write(f"powernode-agent: {error}\n")
        return 1


def _spare_the_collector() -> None:
    """Keep the garbage collector from walking what cannot be garbage.

    The modules' objects stay for the life of the process, and walking them all takes 30 ms: more than
    most passes, and in the middle of one, because a revision of 1,000 peers is enough to ask for it.
    Frozen, they are passed over; the higher thresholds leave the young objects of a pass alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

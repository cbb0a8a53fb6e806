"""What of ours stands in daemons that have no use for it, and taking it out. Shell, but for `of_ours`.

FRR's start enters route maps and prefix lists into every daemon that knows such, and saving gathers
them from all of them again: what was taken out of bgpd alone would stand in frr.conf for good, and an
entry that left a route map would be back in it at the next start.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from powernode_agent.frr.answering import Answer, ask
from powernode_agent.frr.difference import Daemon
from powernode_agent.frr.ownership import names_in
from powernode_agent.frr.running import parse_running
from powernode_agent.frr.vty import Vty
from powernode_agent.model.frr_config import FrrConfig

_SHARED: Final = re.compile(r"^(?:route-map|ip prefix-list|ipv6 prefix-list) (\S+)")
_NOT_ASKED: Final = frozenset({"watchfrr", Daemon.BGPD.value})


async def clear_elsewhere(run: Path) -> None:
    """Take it out of all daemons with a socket in `run`, but bgpd. Raises `FrrError`."""
    for name in sorted(os.listdir(run)):
        socket = run / name
        if socket.suffix != ".vty" or socket.stem in _NOT_ASKED:
            continue
        if await ask(socket) is not Answer.GIVEN:
            # Gone, or it hangs: no reason to leave iBGP undone. The next saving looks again.
            continue
        vty = await Vty.open(socket)
        try:
            found = of_ours(parse_running(await vty.ask("show running-config")))
            if found:
                undo = [f"no {each}" for each in found]
                await vty.say(["configure terminal", *undo, "end"])
        finally:
            await vty.close()


def of_ours(config: FrrConfig) -> list[str]:
    """Lines and contexts of the top that bear names of our making, as they can go one by one."""
    contexts = [context[0] for context in config.contexts if len(context) == 1]
    # Route maps before what they may name. Of everything else (an interface, a static route by one)
    # the name may be the operator's.
    lines = (*contexts, *config.contexts.get((), ()))
    return [each for each in lines if names_in(" ".join(_SHARED.findall(each)))]

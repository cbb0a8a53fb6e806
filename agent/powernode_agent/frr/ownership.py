"""Whether a frr.conf is of our making, by what stands in it. Pure.

Our first line does not outlive `write memory`: FRR then writes what it runs in its own words, and a
comment is not among them. But the names of what we made are, and no other hand makes such names by
chance: so a file that holds some of those that we noted is ours, whoever had it written. So is one that
says nothing but what we had FRR save: FRR does not replace its file as one, and a crash leaves a part.
Any other is somebody else's, whatever we noted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from powernode_agent.frr.running import is_ours, parse_running

# Of prefix lists, route maps, communities, peer groups and BFD profiles: `pn.<handle>.*`, `pn-*`.
_NAME: Final = re.compile(r"(?<!\S)pn[.-][\w.-]+")


@dataclass(frozen=True, slots=True)
class Noted:
    """What is kept outside of frr.conf. `names`: of ours, in the files we had written; None: there is a
    note that cannot be read, and any such name counts. `wanted`: what FRR was last told to save, in
    our words; `found`: the file that came of it, in FRR's, or nothing if that is not known."""

    names: frozenset[str] | None
    wanted: str = ""
    found: str = ""


def names_in(text: str) -> frozenset[str]:
    """Names as we make them."""
    return frozenset(_NAME.findall(text))


def of_our_making(text: str, noted: Noted | None) -> bool:
    """Whether a frr.conf is ours: written by us, or saved by FRR from what we had it run."""
    if is_ours(text):
        return True
    if noted is None:
        return False
    found = names_in(text)
    if found if noted.names is None else found & noted.names:
        return True
    saved = _statements(noted.wanted) | _statements(noted.found)
    # The last line may have been cut.
    return bool(saved) and _statements(text.rpartition("\n")[0]) <= saved


def _statements(text: str) -> set[str]:
    contexts = parse_running(text).contexts
    return {word for context, lines in contexts.items() for word in (*context, *lines)}


def encode(noted: Noted) -> bytes:
    """For the disk."""
    content = {
        "names": sorted(noted.names or ()),
        "wanted": noted.wanted,
        "found": noted.found,
    }
    return json.dumps(content).encode()


def decode(stored: bytes) -> Noted:
    """What was noted; of what is no such note, that there is one."""
    try:
        content = json.loads(stored)
        names, wanted, found = content["names"], content["wanted"], content["found"]
    except (ValueError, KeyError, TypeError):
        return Noted(None)
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        return Noted(None)
    return Noted(frozenset(names), str(wanted), str(found))

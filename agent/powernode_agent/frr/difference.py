"""What leads from one configuration of FRR to another, as commands. Pure.

Whatever is named is made before what names it, and goes after it; a line that takes the place of
another is entered over it, so that there is no moment without either. What FRR really made of it is
read back afterwards (`writer`), so nothing here has to be trusted, only to come to rest.

Odd facts of FRR 8.4 that stand behind odd branches:
- a BFD profile of a living neighbour is not changed by naming another: `no neighbor X bfd` first;
- a neighbour cannot move from one peer group to another, it has to leave first;
- `no neighbor X` takes all its lines along, also those in address families;
- one AS number at a time: `router bgp` of another one has to go first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from powernode_agent.model.frr_config import Context, FrrConfig


class Daemon(Enum):
    """The daemons whose configuration we own."""

    BGPD = "bgpd"
    BFDD = "bfdd"


@dataclass(frozen=True, slots=True)
class Step:
    """Commands for one daemon, from the top of configuration mode. `removes`: what is not there any
    more is no error."""

    daemon: Daemon
    context: Context
    command: str
    removes: bool = False

    def __str__(self) -> str:
        return " / ".join((*self.context, self.command)) if self.command else self.context[-1]


def daemon_of(context: Context) -> Daemon:
    """Who runs what is in a context."""
    return Daemon.BFDD if context[:1] == ("bfd",) else Daemon.BGPD


def same(one: FrrConfig, two: FrrConfig) -> bool:
    """Whether both say the same: FRR prints lines in an order of its own."""
    return _sets(one) == _sets(two)


def difference(running: FrrConfig, wanted: FrrConfig, *, by_replacing: bool = False) -> list[Step]:
    """Steps from `running` to `wanted`. `by_replacing`: what is entered over another line is taken out
    first; for lines that FRR does not replace, at the price of a moment without."""
    old, new = running.contexts, wanted.contexts
    reentered = _reentered(old, new)
    steps: list[Step] = []
    for context in old:
        # Of another AS number, or of a kind that we never make: out of the way first.
        if len(context) == 1 and context[0].startswith("router bgp") and context not in new:
            steps.append(_no(context[:-1], context[-1]))
            old = {each: lines for each, lines in old.items() if each[:1] != context}
    in_the_way = _in_the_way(old.get((), ()), new.get((), ()))
    steps += [_no((), line) for line in in_the_way]
    for neighbor in sorted(reentered):
        steps.append(_no(_bgp(old), f"neighbor {neighbor}"))
    standing = {
        context: tuple(
            line
            for line in lines
            if _neighbor(line) not in reentered and (context or line not in in_the_way)
        )
        for context, lines in old.items()
    }
    for context, lines in new.items():
        steps += _enter(context, standing.get(context), lines, by_replacing=by_replacing)
    steps += _leave(standing, new)
    return steps


def _enter(
    context: Context, before: Sequence[str] | None, lines: Sequence[str], *, by_replacing: bool
) -> Iterator[Step]:
    """What comes into a context, and what it takes the place of."""
    daemon = daemon_of(context)
    stood = set(before or ())
    coming = [line for line in lines if line not in stood]
    if before is None and not lines and context:
        yield Step(daemon, context, "")
    keys = {_key(line) for line in coming}
    for line in before or ():
        if line in lines or not context:
            continue
        bfd = _bfd_of(line)
        if bfd is not None and _key(line) in keys:
            yield Step(daemon, context, f"no neighbor {bfd} bfd", removes=True)
            coming = [f"neighbor {bfd} bfd", *(c for c in coming if c != f"neighbor {bfd} bfd")]
        elif by_replacing and _key(line) in keys:
            yield Step(daemon, context, _negated(line), removes=True)
    for line in coming:
        yield Step(daemon, context, line)


def _leave(
    old: Mapping[Context, Sequence[str]], new: Mapping[Context, Sequence[str]]
) -> list[Step]:
    """What goes: neighbours whole, lines one by one, contexts that hold nothing any more, and last what
    all of these may have named."""
    steps: list[Step] = []
    bgp = _bgp(old)
    wanted_neighbors = {_neighbor(line) for lines in new.values() for line in lines}
    gone: dict[str, str] = {}
    for line in old.get(bgp, ()):
        neighbor = _neighbor(line)
        if neighbor is not None and neighbor not in wanted_neighbors:
            group = line == f"neighbor {neighbor} peer-group"
            gone[neighbor] = (
                f"neighbor {neighbor} peer-group"
                if group
                else gone.get(neighbor, f"neighbor {neighbor}")
            )
    # Members before their group, which would take them along.
    for words in sorted(gone.values(), key=lambda words: words.endswith(" peer-group")):
        steps.append(_no(bgp, words))
    entries: list[Step] = []
    profiles: list[Step] = []
    for context, lines in old.items():
        kept = new.get(context)
        if not context:
            continue
        if kept is None and not context[-1].startswith("address-family"):
            step = _no(context[:-1], context[-1])
            if context[0] == "bfd" and len(context) > 1:
                profiles.append(step)
            elif context != ("bfd",):
                entries.append(step)
            continue
        keys = {_key(line) for line in kept or ()}
        for line in lines:
            if line in (kept or ()) or _neighbor(line) in gone or _key(line) in keys:
                continue
            steps.append(Step(daemon_of(context), context, _negated(line), removes=True))
    return [*steps, *entries, *profiles, *_lists_that_go(old.get((), ()), new.get((), ()))]


def _lists_that_go(old: Sequence[str], new: Sequence[str]) -> Iterator[Step]:
    """Lines of the top; a list of which nothing stays goes in one command."""
    kept_names = {_list_name(line) for line in new}
    keys = {_key(line) for line in new}
    whole: set[str] = set()
    for line in old:
        if line in new:
            continue
        name = _list_name(line)
        if name is not None and name.split()[1:2] == ["prefix-list"] and name not in kept_names:
            if name not in whole:
                whole.add(name)
                yield _no((), name)
        elif _key(line) not in keys:
            yield _no((), line)


def _in_the_way(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Entries whose place in a list another is to have."""
    coming = [line for line in new if line not in old]
    keys = {_key(line) for line in coming}
    # FRR silently ignores an entry that is in the list already under another number.
    bodies = {_without_number(line) for line in coming}
    return [
        line
        for line in old
        if line not in new
        and _list_name(line) is not None
        and (_key(line) in keys or _without_number(line) in bodies)
    ]


def _reentered(
    old: Mapping[Context, Sequence[str]], new: Mapping[Context, Sequence[str]]
) -> frozenset[str]:
    """Neighbours that move to another peer group, or leave theirs and stay neighbours."""
    before, after = (
        {_neighbor(line): line for line in lines if " peer-group " in line}
        for lines in (old.get(_bgp(old), ()), new.get(_bgp(new), ()))
    )
    staying = {_neighbor(line) for line in new.get(_bgp(new), ())}
    return frozenset(
        neighbor
        for neighbor, line in before.items()
        if neighbor is not None and neighbor in staying and after.get(neighbor) != line
    )


def _no(context: Context, words: str) -> Step:
    daemon = daemon_of(context or (words,))
    return Step(daemon, context, _negated(words), removes=True)


def _negated(line: str) -> str:
    """The command that takes a line out."""
    if line.startswith("no "):
        return line.removeprefix("no ")
    for words in _NEGATED_BARE:
        if line.startswith(words):
            return f"no {words}"
    return f"no {line}"


def _bgp(contexts: Mapping[Context, Sequence[str]]) -> Context:
    return next((c for c in contexts if len(c) == 1 and c[0].startswith("router bgp ")), ())


def _neighbor(line: str) -> str | None:
    words = line.split()
    return words[1] if words[0] == "neighbor" and len(words) > 1 else None


def _bfd_of(line: str) -> str | None:
    """The neighbour of whose BFD profile a line speaks."""
    words = line.split()
    return words[1] if words[0] == "neighbor" and words[2:4] == ["bfd", "profile"] else None


_NEGATED_BARE: Final = ("set as-path prepend", "on-match goto")
"""Lines that FRR 8.4 takes out without their values, and not with them."""

_KEY_WORDS: Final[Mapping[str, int]] = {
    "bgp cluster-id": 2,
    "bgp route-map": 3,
    "bgp router-id": 2,
    "call": 1,
    "coalesce-time": 1,
    "match ip": 3,
    "match ipv6": 3,
    "match": 2,
    "maximum-paths": 2,
    "network": 2,
    "on-match": 1,
    "receive-interval": 1,
    "redistribute": 2,
    "set": 2,
    "transmit-interval": 1,
}
"""How many words of a line say what it is about; looked up by its first two words, then by one."""


def _key(line: str) -> str:
    """What a line says something about: of two lines with the same key, the later one holds."""
    words = line.split()
    if words[0] == "neighbor":
        if words[-1] in ("in", "out"):
            return " ".join((*words[:3], words[-1]))
        count = 4 if words[2:4] in (["timers", "connect"], ["bfd", "profile"]) else 3
        return " ".join(words[:count])
    if "seq" in words:
        return " ".join(words[: words.index("seq") + 2])
    count = _KEY_WORDS.get(" ".join(words[:2])) or _KEY_WORDS.get(words[0], len(words))
    return " ".join(words[:count])


def _list_name(line: str) -> str | None:
    """ "ipv6 prefix-list NAME" of a line that is an entry of a list."""
    words = line.split()
    if "seq" not in words:
        return None
    return " ".join(words[: words.index("seq")])


def _sets(config: FrrConfig) -> dict[Context, frozenset[str]]:
    """Without contexts that FRR does not print when they are empty."""
    return {
        context: frozenset(lines)
        for context, lines in config.contexts.items()
        if lines or context[:1] not in ((), ("bfd",)) or len(context) > 1
    }


def _without_number(line: str) -> str:
    words = line.split()
    at = words.index("seq") if "seq" in words else len(words)
    return " ".join((*words[:at], *words[at + 2 :]))


def commands_of(steps: Iterable[Step]) -> list[str]:
    """For people: one line for each step."""
    return [str(step) for step in steps]

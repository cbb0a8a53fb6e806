"""The whole table out of the rooms' fragments, and what leads from one to another. Pure.

A change touches what differs: an element that came is one element, a chain whose lines differ is
emptied and filled in the same transaction, and everything else is not mentioned. Fragments and objects
that are the same objects as before are passed over by identity, so that one more member beside 10,000
chains costs no comparison of chains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from powernode_agent.model.ruleset import (
    Chain,
    Counter,
    ElementMap,
    Fragment,
    Hook,
    PrefixSet,
    RulesetObject,
)
from powernode_agent.nftables.codec import Elements
from powernode_agent.nftables.script import (
    FULL_NAME,
    HookLine,
    Key,
    Script,
    entry_texts,
    member_texts,
)

Fragments = Mapping[Key, Fragment]
_NOTHING: Mapping[str, RulesetObject] = {}

MANY_RANGES: Final = 20
"""Ranges that are deleted one by one from a set or map. libnftables looks through all of them for each:
3,000 of 10,000 take 20 s, while flushing the map and filling it again takes 0.2 s."""


@dataclass(frozen=True, slots=True)
class _Move:
    """One object before and after; None: it is not there."""

    owner: Key
    was: RulesetObject | None
    now: RulesetObject | None


def whole(fragments: Fragments) -> Script:
    """The script that puts `fragments` in place of whatever the table holds, in one transaction."""
    script = nothing()
    if not fragments:
        return script
    placed = {
        name: (each, key)
        for key, fragment in fragments.items()
        for name, each in fragment.objects.items()
    }
    script.add(f"table {FULL_NAME} {{")
    # In the order of names: the same table is the same text, whatever came first.
    for name in sorted(placed):
        script.declare(*placed[name])
    _fill_bases(script, _bases(fragments))
    script.add("}")
    return script


def nothing() -> Script:
    """The script that removes the table, whether or not there is one."""
    script = Script()
    script.add(f"add table {FULL_NAME}")
    script.add(f"delete table {FULL_NAME}")
    return script


def difference(before: Fragments, after: Fragments) -> Script | list[Elements]:
    """What leads from `before` to `after`: a script, or where only addresses joined and left sets of
    addresses, those alone. Empty if nothing differs.
    """
    moves = list(_moves(before, after))
    old_bases, new_bases = _bases(before), _bases(after)
    if old_bases == new_bases:
        elements = _only_addresses(moves)
        if elements is not None:
            return elements
    script = Script()
    # What is to be filled anew, and what is to go, lets go of what it leads to first.
    for move in moves:
        if isinstance(move.was, Chain):
            script.add(f"flush chain {FULL_NAME} {move.was.name}", move.owner)
    refilled = {h: lines for h, lines in new_bases.items() if old_bases.get(h) != lines}
    for hook in old_bases:
        if hook in refilled or hook not in new_bases:
            script.add(f"flush chain {FULL_NAME} {hook.value}")
    for move in moves:
        _move_elements(script, move, "delete")
    script.add(f"table {FULL_NAME} {{")
    for move in moves:
        if move.now is not None and (move.was is None or isinstance(move.now, Chain)):
            script.declare(move.now, move.owner)
    _fill_bases(script, refilled)
    script.add("}")
    for move in moves:
        _move_elements(script, move, "add")
    # What leads somewhere goes before where it leads.
    words = {ElementMap: "map", PrefixSet: "set", Chain: "chain", Counter: "counter"}
    for kind, word in words.items():
        for move in moves:
            was = move.was
            if was is not None and isinstance(was, kind) and move.now is None:
                script.add(f"delete {word} {FULL_NAME} {was.name}", move.owner)
    for hook in old_bases:
        if hook not in new_bases:
            script.add(f"delete chain {FULL_NAME} {hook.value}")
    return script


def described(before: Fragment | None, after: Fragment | None) -> tuple[str, ...]:
    """The difference of one fragment in an operator's words, a line for each object."""
    lines: list[str] = []
    for was, now in _pairs(before, after):
        if was is None and now is not None:
            lines.append(f"add {_words(now)}")
        elif was is not None and now is None:
            lines.append(f"remove {_words(was)}")
        elif was is not None and now is not None:
            lines.append(f"change {_words(now)}{_movement(was, now)}")
    old_hooks = {} if before is None else before.hooks
    new_hooks = {} if after is None else after.hooks
    for hook in Hook:
        if old_hooks.get(hook) != new_hooks.get(hook):
            count = len(new_hooks.get(hook, ()))
            lines.append(f"change chain {hook.value}: {count} lines for this network")
    return tuple(lines)


def _words(each: RulesetObject) -> str:
    match each:
        case Chain(name=name, lines=lines):
            return f"chain {name}, {len(lines)} lines"
        case PrefixSet(name=name, members=members):
            return f"set {name}, {len(members)} members"
        case ElementMap(name=name, entries=entries):
            return f"map {name}, {len(entries)} elements"
        case Counter(name=name):
            return f"counter {name}"


def _movement(was: RulesetObject, now: RulesetObject) -> str:
    if isinstance(was, PrefixSet) and isinstance(now, PrefixSet):
        return f": {len(now.members - was.members)} joined, {len(was.members - now.members)} left"
    return ""


def _moves(before: Fragments, after: Fragments) -> Iterator[_Move]:
    for key in {**before, **after}:
        for was, now in _pairs(before.get(key), after.get(key)):
            yield _Move(key, was, now)


def _pairs(
    before: Fragment | None, after: Fragment | None
) -> Iterator[tuple[RulesetObject | None, RulesetObject | None]]:
    """The objects that differ, before and after."""
    if before is after:
        return
    old = _NOTHING if before is None else before.objects
    new = _NOTHING if after is None else after.objects
    for name, now in new.items():
        was = old.get(name)
        if was is not now and was != now:
            yield was, now
    if new.keys() != old.keys():
        for name, was in old.items():
            if name not in new:
                yield was, None


def _bases(fragments: Fragments) -> dict[Hook, tuple[HookLine, ...]]:
    found: dict[Hook, list[HookLine]] = {}
    for key in sorted(fragments):
        for hook, lines in fragments[key].hooks.items():
            found.setdefault(hook, []).extend(HookLine(key, line) for line in lines)
    return {hook: tuple(lines) for hook, lines in found.items() if lines}


def _fill_bases(script: Script, bases: Mapping[Hook, tuple[HookLine, ...]]) -> None:
    for hook in sorted(bases, key=lambda each: each.value):
        script.base(hook, bases[hook])


def _only_addresses(moves: list[_Move]) -> list[Elements] | None:
    """The movements of addresses, if there is nothing else."""
    found: list[Elements] = []
    for move in moves:
        was, now = move.was, move.now
        if not isinstance(was, PrefixSet) or not isinstance(now, PrefixSet) or now.interval:
            return None
        found.append(Elements(now.name, now.members - was.members, was.members - now.members))
    return found


def _move_elements(script: Script, move: _Move, word: str) -> None:
    """Elements that left (`delete`) or came (`add`); one whose value changed does both. Where many
    leave a set of ranges, all leave and those that stay come again (`MANY_RANGES`)."""
    was, now = move.was, move.now
    match (was, now):
        case (PrefixSet() as old, PrefixSet() as new):
            kind = "set"
            left = list(member_texts(old.members - new.members))
            come = list(member_texts(new.members - old.members))
            every = member_texts(new.members)
        case (ElementMap() as old_map, ElementMap() as new_map):
            kind = "map"
            old_entries, new_entries = old_map.entries, new_map.entries
            left = [key for key, value in old_entries.items() if new_entries.get(key) != value]
            came = {k: v for k, v in new_entries.items() if old_entries.get(k) != v}
            come = list(entry_texts(came.items()))
            every = entry_texts(new_entries.items())
        case _:
            return
    anew = now.interval and len(left) > MANY_RANGES
    origin = now.origin if isinstance(now, PrefixSet) else ""
    if word == "delete" and anew:
        script.add(f"flush {kind} {FULL_NAME} {now.name}", move.owner, origin)
        return
    texts = left if word == "delete" else list(every) if anew else come
    if texts:
        elements = ", ".join(sorted(texts))
        script.add(f"{word} element {FULL_NAME} {now.name} {{ {elements} }}", move.owner, origin)

"""The resources of one kind on one network, while changes are applied to them.

Peers, paths, rules, tags and mappings all go through this: what comes and goes is noted first and
decoded when all of it is known, so that too many of a kind are refused before they cost anything. What
comes out equal to what was there keeps its identity, and so does the whole mapping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from powernode_agent.model.violation import Violation
from powernode_agent.wire.resources import KIND_NAMES, NetworkResource, Resource

_Message = TypeVar("_Message", bound=NetworkResource)
_Id = TypeVar("_Id", bound=str)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Earlier(Generic[_Message, _Item]):
    """A resource as it was before: `item` is what `message` was decoded to."""

    message: _Message
    item: _Item


Decode = Callable[[_Message, Earlier[_Message, _Item] | None, list[Violation]], _Item | None]
"""Gives None with at least one violation added."""

CheckCount = Callable[[list[Violation], str, int], None]
"""Notes that the network named in the second argument would have too many."""


class AnyKind(Protocol):
    """`KindDraft` to those who need not know which kind it is."""

    @property
    def changed(self) -> bool: ...

    def put(self, before: Resource | None, after: NetworkResource) -> None: ...

    def drop(self, id_: str) -> None: ...

    def settle(self, network: str, found: list[Violation]) -> None: ...

    def named(self) -> Iterator[str]: ...


class KindDraft(Generic[_Message, _Id, _Item]):
    """One kind on one network. `items` and `refused` are what came out, once it is settled."""

    def __init__(
        self,
        kind: int,
        message: type[_Message],
        id_of: Callable[[str], _Id],
        decode: Decode[_Message, _Item],
        before: Mapping[_Id, _Item],
        check_count: CheckCount | None = None,
    ) -> None:
        self._kind = kind
        self._message = message
        self._id_of = id_of
        self._decode = decode
        self._before = before
        self._check_count = check_count
        self._coming: dict[_Id, tuple[_Message | None, _Message]] = {}
        self._going: set[_Id] = set()
        self.items = before
        self.refused: set[_Id] = set()

    @property
    def changed(self) -> bool:
        """Whether anything is not as it was before."""
        return self.items is not self._before

    def put(self, before: Resource | None, after: NetworkResource) -> None:
        """`after` comes, in place of `before` if that was on this network."""
        if not isinstance(after, self._message):
            raise TypeError(f"{type(after).__name__} among {self._message.__name__}s")
        self._coming[self._id_of(after.id)] = (
            before if isinstance(before, self._message) else None,
            after,
        )

    def drop(self, id_: str) -> None:
        """It goes, or has moved to another network."""
        self._going.add(self._id_of(id_))

    def settle(self, network: str, found: list[Violation]) -> None:
        """Decodes what came; `network` is how a violation calls the network."""
        if not self._coming and not self._going:
            return
        if self._check_count is not None:
            new = sum(1 for id_ in self._coming if id_ not in self._before)
            known = len(found)
            self._check_count(found, network, len(self._before) - len(self._going) + new)
            if len(found) > known:
                return
        after = {id_: item for id_, item in self._before.items() if id_ not in self._going}
        same = len(after) == len(self._before)
        for id_, (old, new_message) in self._coming.items():
            known_item = after.get(id_)
            earlier = None if old is None or known_item is None else Earlier(old, known_item)
            item = self._decode(new_message, earlier, found)
            if item is None:
                after.pop(id_, None)
                self.refused.add(id_)
            elif known_item is None or known_item != item:
                after[id_] = item
                same = False
        if not same:
            self.items = after

    def named(self) -> Iterator[str]:
        """All of them by name, the refused ones too."""
        yield from map(str, self.items.values())
        for id_ in self.refused:
            yield f"{KIND_NAMES[self._kind]} {id_}"


def afresh(decode: Callable[[_Message, list[Violation]], _Item | None]) -> Decode[_Message, _Item]:
    """A decoder that has no use for what was before."""
    return lambda message, _, found: decode(message, found)

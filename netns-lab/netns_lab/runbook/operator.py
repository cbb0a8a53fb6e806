"""An operator who goes through the runbook from its first line to its last: makes its calls in its
order, fills in what it leaves open, and holds each answer against what it says.

Whoever plays along names the call that has to come next, and so notices when the guide and the play
are no longer the same. Nothing can be left out: `finish` says what was not called.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from netns_lab.errors import LabError
from netns_lab.platform_client import Answer
from netns_lab.runbook.reader import Call, Placeholder, Value, read
from netns_lab.runbook.shape import differences

Caller = Callable[[str, dict[str, object]], Answer]


class Operator:
    """`example` and `ours`: addresses of the guide and of this place, in the same order."""

    def __init__(self, text: str, call: Caller, places: Mapping[str, str]) -> None:
        self._left = deque(read(text))
        self._call = call
        self._places = places
        self.done: list[Call] = []

    def follow(
        self,
        action: str,
        given: Mapping[str, object] | None = None,
        *,
        by: Caller | None = None,
        until: Callable[[Answer], bool] = lambda answer: True,
        wait: Callable[[Callable[[], bool]], object] | None = None,
    ) -> Answer:
        """The next call of the guide, which has to be this one. `given` has what it leaves open, by
        its words; `by` makes the call in the place of the operator (another account).

        With `wait` the call is made again until the answer is as described and `until` holds of it.
        Raises `LabError` when another call is next, something is not filled in, or the answer is not
        what the guide says.
        """
        call = self._next(action)
        arguments = self._filled(call, call.arguments, given or {})
        assert isinstance(arguments, dict)
        answer: Answer = {}
        problems: list[str] = []

        def made() -> bool:
            nonlocal answer, problems
            answer = (by or self._call)(call.action, arguments)
            problems = [] if call.answer is None else list(differences(call.answer, answer))
            return not problems and until(answer)

        if wait is None:
            made()
        else:
            wait(made)
        if problems:
            raise LabError(
                "the answer is not what the runbook says",
                which=call.where,
                value="; ".join(problems),
            )
        self.done.append(call)
        return answer

    def vary(
        self,
        given: Mapping[str, object] | None = None,
        *,
        without: Sequence[str] = (),
        **changed: object,
    ) -> Answer:
        """The last call once more, with the alternatives that the guide names for it."""
        call = self.done[-1]
        kept = {key: value for key, value in call.arguments.items() if key not in without}
        for key in changed:
            kept.pop(key, None)
        arguments = self._filled(call, kept, given or {})
        assert isinstance(arguments, dict)
        return self._call(call.action, {**arguments, **changed})

    def finish(self) -> None:
        """Raises `LabError` naming the calls that were not made."""
        if self._left:
            raise LabError(
                "the runbook was not followed to its end",
                value="; ".join(call.where for call in self._left),
            )

    def _next(self, action: str) -> Call:
        if not self._left or self._left[0].action != action:
            following = self._left[0].where if self._left else "the end of the runbook"
            raise LabError("another call comes next", value=action, expected=following)
        return self._left.popleft()

    def _filled(self, call: Call, value: Value, given: Mapping[str, object]) -> object:
        match value:
            case Placeholder(words):
                if words not in given:
                    raise LabError("nothing fills this in", which=call.where, value=words)
                return given[words]
            case str():
                for theirs, ours in self._places.items():
                    value = value.replace(theirs, ours)
                return value
            case Mapping():
                return {key: self._filled(call, each, given) for key, each in value.items()}
            case Sequence():
                return [self._filled(call, each, given) for each in value]
        return value

"""What is wrong with an action's arguments, as field, rule and value, in one sentence. Pure.

Pydantic's own words name neither the value nor, in a choice of types, the field as an operator wrote
it. Values are shown cut, and keys, tokens and passwords never: they end up in logs and terminals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from netns_lab.platform.errors import ActionError

Place = tuple[str | int, ...]

_TYPES: Final = {
    "string_type": "must be a string",
    "bool_type": "must be a boolean, true or false",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "list_type": "must be a list",
    "dict_type": "must be an object (a dictionary)",
    "mapping_type": "must be an object (a dictionary)",
    "model_type": "must be an object (a dictionary)",
}
_SHOULD: Final = re.compile(r"^(?:[A-Z][a-z]+ )?should ")
_SECRET_NAMES: Final = ("private_key", "preshared_key", "token", "secret", "password")
_SECRET_TEXT: Final = re.compile(r"[A-Za-z0-9+/]{43}=|-----BEGIN |[?&]token=")
"""A WireGuard key, a PEM block or a bootstrap URL: people paste them into the wrong field."""
_LONE_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_LONGEST: Final = 60


def explain(error: ValidationError, raw: Mapping[str, object], names: str) -> ActionError:
    """The error that says most, the one deepest inside. `names` are the arguments there are."""
    found = [
        (_place(raw, each["loc"], each["type"] == "missing"), each["type"], each["msg"])
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    place, kind, _ = max(found, key=lambda each: len(each[0]))
    field = ".".join(str(part) for part in place) or "arguments"
    if kind == "missing":
        return ActionError(field, "is required")
    if kind == "extra_forbidden":
        # Of a member of an argument the arguments' own names are no help.
        more = f"; there are {names}" if len(place) == 1 else ""
        return ActionError(field, f"is no argument here{more}")
    # Of a choice of types, all that were tried and failed at this place.
    rules = dict.fromkeys(_rule(what, text) for at, what, text in found if at == place)
    rule = " or ".join((next(iter(rules)), *(r.removeprefix("must be ") for r in list(rules)[1:])))
    return ActionError(field, f"{rule}, got {_shown(place, _at(raw, place))}")


def refuse_unwritable(value: object, place: Place = ()) -> None:
    """Refuses text that cannot be written down: JSON can spell half of a character ("\\ud800"), and
    neither a database nor the wire takes it. Raises `ActionError`."""
    if isinstance(value, str):
        if not writable(value):
            field = ".".join(str(part) for part in place if writable(str(part))) or "arguments"
            raise ActionError(field, "must be text of whole characters (no lone surrogates)")
    elif isinstance(value, Mapping):
        for key, each in value.items():
            refuse_unwritable(key, place)
            refuse_unwritable(each, (*place, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            refuse_unwritable(each, (*place, number))


def writable(text: str) -> bool:
    """Whether a text has a UTF-8."""
    return text.isascii() or not _LONE_SURROGATE.search(text)


def is_secret(name: str, text: str) -> bool:
    """Whether a value may not be shown: by the name it goes by, or by its look."""
    if name.endswith(_SECRET_NAMES):
        return True
    # A public key looks like a private one, and only its name tells.
    return not name.endswith("public_key") and bool(_SECRET_TEXT.search(text))


def _rule(kind: str, message: str) -> str:
    return _TYPES.get(kind) or _SHOULD.sub("must ", message.removeprefix("Value error, "))


def _place(raw: object, location: Sequence[str | int], missing: bool) -> Place:
    """Where the operator finds it: without the branches of a choice, which pydantic puts between."""
    place: list[str | int] = []
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if _holds(_at(raw, tuple(place)), part) or (missing and last):
            place.append(part)
    return tuple(place)


def _holds(value: object, part: str | int) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _at(raw: object, place: Place) -> object:
    value = raw
    for part in place:
        match value:
            case Mapping():
                value = value[part]
            case list() if isinstance(part, int):
                value = value[part]
    return value


def _shown(place: Place, value: object) -> str:
    if any(str(part).endswith(_SECRET_NAMES) for part in place):
        return "a value that is not shown"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        if _SECRET_TEXT.search(value):
            return "a value that is not shown"
        return repr(value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…")
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return f"a {type(value).__name__}"

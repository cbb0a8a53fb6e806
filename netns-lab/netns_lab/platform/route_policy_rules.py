"""What may be said of a route policy: one set of rules for creating and updating.

A breach is an `ActionError` with the field and the rule, raised before anything is written. A condition
that is null or empty is refused and not taken for "any": a script whose variable was empty must not
make a policy for all routes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import Field
from sqlalchemy import func, select

from netns_lab.platform import prefixes
from netns_lab.platform.as_path_rules import RULE as AS_PATH_RULE
from netns_lab.platform.as_path_rules import is_as_path_pattern
from netns_lab.platform.context import Context
from netns_lab.platform.errors import ActionError
from netns_lab.platform.intent import RoutingMode
from netns_lab.platform.policy_intent import (
    MatchIntent,
    PolicyAction,
    SetIntent,
    StatementIntent,
)
from netns_lab.platform.registry import Arguments
from netns_lab.platform.route_policy_tables import RoutePolicyRow
from netns_lab.platform.tables import Network

MAX_POLICIES: Final = 100
"""Of one account; every node may get all of them, and FRR holds every route against them."""
MAX_STATEMENTS: Final = 1_000
"""Of one policy: what an agent takes."""
MAX_VALUES: Final = 32
"""Communities that are set, and AS numbers that are prepended."""
MAX_SEQ: Final = 65_535

COMMUNITY_RULE: Final = (
    "must be a community such as '65000:100' (1 to 65534, then 0 to 65535) or a large one such as"
    " '65000:1:2' (not 0, 65535 or 4294967295 in front)"
)

_UINT16: Final = 2**16 - 1
_UINT32: Final = 2**32 - 1
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_RESERVED: Final = frozenset({0, _UINT16, _UINT32})
"""In front of a community these mean something by themselves, or nothing (RFC 1997, RFC 8092)."""

DirectionName = Literal["import", "export"]
Number32 = Annotated[int, Field(ge=0, le=_UINT32)]
AsNumber = Annotated[int, Field(ge=1, le=_UINT32)]
Length = Annotated[int, Field(ge=0, le=128)]
Communities = str | Annotated[list[str], Field(max_length=MAX_VALUES)]
"""One, or a list of them."""


class MatchArguments(Arguments):
    """The runbook's match: what is left out is any. `peer` is a peer by id; `peer_id`, as everywhere
    else in the runbook, is the same."""

    prefix: str | None = None
    ge: Length | None = None
    le: Length | None = None
    peer: str | None = None
    peer_id: str | None = None
    community: str | None = None
    as_path: str | None = None


class SetArguments(Arguments):
    """The runbook's set: what is left out stays as it is. `community` is the same as `communities`."""

    local_pref: Number32 | None = None
    med: Number32 | None = None
    communities: Communities | None = None
    community: Communities | None = None
    communities_additive: bool = False
    as_path_prepend: Annotated[list[AsNumber] | None, Field(max_length=MAX_VALUES)] = None


class StatementArguments(Arguments):
    """One of the runbook's statements."""

    seq: Annotated[int, Field(ge=1, le=MAX_SEQ)]
    action: Literal["permit", "deny"]
    match: MatchArguments = MatchArguments()
    set: SetArguments = SetArguments()


Statements = Annotated[list[StatementArguments], Field(min_length=1, max_length=MAX_STATEMENTS)]


def policy_network(context: Context, network_id: str) -> Network:
    """The network of a policy, on which BGP must choose. Raises `ActionError`."""
    network = context.network(network_id)
    if network.routing_mode != RoutingMode.IBGP.value:
        raise ActionError(
            "network_id",
            f"must be a network with routing_mode 'ibgp'; {network.name} is"
            f" {network.routing_mode!r}, where no routes are exchanged",
        )
    return network


def statements(
    context: Context, network: Network | None, given: Sequence[StatementArguments]
) -> tuple[StatementIntent, ...]:
    """The statements in order of `seq`; `network` None: of the whole account. Raises `ActionError`."""
    first_with: dict[int, int] = {}
    found: list[StatementIntent] = []
    for index, each in enumerate(given):
        place = f"statements.{index}"
        if each.seq in first_with:
            raise ActionError(
                f"{place}.seq",
                f"must be unique in the policy; statements.{first_with[each.seq]} has {each.seq} too",
            )
        first_with[each.seq] = index
        found.append(_statement(context, network, each, place))
    return tuple(sorted(found, key=lambda statement: statement.seq))


def check_room(context: Context) -> None:
    """Refuses one policy more in an account that is full. Raises `ActionError`."""
    count = context.session.scalar(
        select(func.count())
        .select_from(RoutePolicyRow)
        .where(RoutePolicyRow.account_id == context.account_id)
    )
    if (count or 0) >= MAX_POLICIES:
        raise ActionError(
            "arguments", f"must leave the account at most {MAX_POLICIES} route policies; it is full"
        )


def check_name(context: Context, network: Network | None, name: str, own_id: str = "") -> None:
    """Refuses a name that another policy of the same scope has. Raises `ActionError`."""
    other = context.session.scalars(
        select(RoutePolicyRow.id).where(
            RoutePolicyRow.account_id == context.account_id,
            RoutePolicyRow.network_id == network.id
            if network is not None
            else RoutePolicyRow.network_id.is_(None),
            RoutePolicyRow.name == name,
            RoutePolicyRow.id != own_id,
        )
    ).first()
    if other is not None:
        scope = "the account" if network is None else f"network {network.name}"
        raise ActionError(
            "name", f"must be unique among the route policies of {scope}; {other} is {name!r}"
        )


def next_age(context: Context) -> int:
    """Milliseconds since the epoch, later than any policy of the account: of equal priorities the older
    one comes first, also of two that were made in the same millisecond."""
    newest = context.session.scalar(
        select(func.max(RoutePolicyRow.created_at_ms)).where(
            RoutePolicyRow.account_id == context.account_id
        )
    )
    return max(int(context.now * 1000), (newest or 0) + 1)


def _statement(
    context: Context, network: Network | None, given: StatementArguments, place: str
) -> StatementIntent:
    for part, members in (("match", given.match), ("set", given.set)):
        for name in sorted(members.model_fields_set):
            if getattr(members, name) is None:
                means = "any" if part == "match" else "unchanged"
                raise ActionError(
                    f"{place}.{part}.{name}", f"must not be null; left out, it means {means}"
                )
    if given.action == "deny" and given.set.model_fields_set:
        raise ActionError(f"{place}.set", "must be left out with action 'deny'")
    return StatementIntent(
        seq=given.seq,
        action=PolicyAction(given.action),
        match=_match(context, network, given.match, f"{place}.match"),
        set=_set(given.set, f"{place}.set"),
    )


def _match(
    context: Context, network: Network | None, given: MatchArguments, place: str
) -> MatchIntent:
    prefix = ""
    if given.prefix is not None:
        prefix = str(prefixes.parse_selected(f"{place}.prefix", given.prefix))
    _check_lengths(given, prefix, place)
    named = _name_given(given, place, "peer", "peer_id")
    peer_id = given.peer if given.peer is not None else given.peer_id
    if peer_id is not None:
        _check_peer(context, network, peer_id, f"{place}.{named}")
    if given.community is not None:
        _check_community(given.community, f"{place}.community")
    if given.as_path is not None and not is_as_path_pattern(given.as_path):
        raise ActionError(f"{place}.as_path", f"{AS_PATH_RULE}, got {_cut(given.as_path)}")
    return MatchIntent(
        prefix=prefix,
        ge=given.ge,
        le=given.le,
        peer_id=peer_id or "",
        community=given.community or "",
        as_path=given.as_path or "",
    )


def _check_lengths(given: MatchArguments, prefix: str, place: str) -> None:
    for name, length in (("ge", given.ge), ("le", given.le)):
        if length is None:
            continue
        if not prefix:
            raise ActionError(f"{place}.{name}", "must be left out without a prefix")
        matched = prefixes.parse_selected(f"{place}.prefix", prefix)
        if not matched.prefixlen <= length <= matched.max_prefixlen:
            raise ActionError(
                f"{place}.{name}",
                f"must be {matched.prefixlen} to {matched.max_prefixlen} with prefix {prefix},"
                f" got {length}",
            )
    if given.ge is not None and given.le is not None and given.le < given.ge:
        raise ActionError(f"{place}.le", f"must be ge ({given.ge}) or more, got {given.le}")


def _check_peer(context: Context, network: Network | None, peer_id: str, field: str) -> None:
    peer = context.peer(peer_id, field)
    if network is not None and peer.network_id != network.id:
        raise ActionError(
            field,
            f"must be a peer of network {network.name}; {peer.node.name} ({peer.id}) is on network"
            f" {peer.network.name}",
        )
    if peer.network.routing_mode != RoutingMode.IBGP.value:
        raise ActionError(
            field,
            f"must be a peer of an iBGP network; {peer.node.name} ({peer.id}) is on network"
            f" {peer.network.name}, which is {peer.network.routing_mode!r}",
        )


def _set(given: SetArguments, place: str) -> SetIntent:
    named = _name_given(given, place, "communities", "community")
    wanted = given.communities if given.communities is not None else given.community
    communities = [wanted] if isinstance(wanted, str) else wanted or []
    for index, community in enumerate(communities):
        field = f"{place}.{named}" if isinstance(wanted, str) else f"{place}.{named}.{index}"
        _check_community(community, field)
        if community in communities[:index]:
            raise ActionError(field, f"must not be there twice, got {community!r}")
    if given.communities_additive and not communities:
        raise ActionError(f"{place}.communities", "is required with communities_additive")
    return SetIntent(
        local_pref=given.local_pref,
        med=given.med,
        communities=tuple(communities),
        communities_additive=given.communities_additive,
        as_path_prepend=tuple(given.as_path_prepend or ()),
    )


def _name_given(given: Arguments, place: str, name: str, other: str) -> str:
    """Which of two names for one thing was used. Raises `ActionError` if it was both."""
    if other not in given.model_fields_set:
        return name
    if name in given.model_fields_set:
        raise ActionError(f"{place}.{other}", f"must be left out with {name}: it is the same")
    return other


def _check_community(text: str, field: str) -> None:
    parts = text.split(":")
    highest = {2: _UINT16, 3: _UINT32}.get(len(parts), 0)
    if (
        not all(_NUMBER.fullmatch(part) and int(part) <= highest for part in parts)
        or int(parts[0]) in _RESERVED
    ):
        raise ActionError(field, f"{COMMUNITY_RULE}, got {_cut(text)}")


def _cut(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")

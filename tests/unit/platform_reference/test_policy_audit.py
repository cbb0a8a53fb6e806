"""What the audit says of route policies is true of every route: an evaluator of its own says so too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from netns_lab.platform.compile_policies import lengths
from netns_lab.platform.policy_audit import Finding, audit
from netns_lab.platform.policy_intent import (
    MatchIntent,
    PolicyAction,
    PolicyDirection,
    RoutePolicyIntent,
    SetIntent,
    StatementIntent,
)

PERMIT, DENY = PolicyAction.PERMIT, PolicyAction.DENY
PREFIXES = ("10.0.0.0/8", "10.0.0.0/16", "10.1.0.0/16", "10.1.2.0/24", "fd00::/16", "fd00:1::/32")
COMMUNITIES = ("65000:1", "65000:2", "65000:0:1")
GONE = "peer-gone"
ANY = MatchIntent()


@dataclass(frozen=True)
class Route:
    prefix: str
    peer: str
    communities: frozenset[str]
    as_path: tuple[int, ...]
    local_pref: int = 100
    med: int = 0


ROUTES = [
    Route(prefix, peer, frozenset(own), path)
    for prefix, peer, own, path in product(
        PREFIXES,
        ("peer-a", "peer-b"),
        ((), COMMUNITIES[:1], COMMUNITIES[1:], COMMUNITIES),
        ((), (65001,)),
    )
]


def inside(prefix: str, outer: str) -> bool:
    match ip_network(prefix), ip_network(outer):
        case (IPv4Network() as one, IPv4Network() as two):
            return one.subnet_of(two)
        case (IPv6Network() as one, IPv6Network() as two):
            return one.subnet_of(two)
    return False


def matches(match: MatchIntent, route: Route) -> bool:
    ends = lengths(match)
    if ends is not None:
        length = ip_network(route.prefix).prefixlen
        if not inside(route.prefix, match.prefix) or not ends[0] <= length <= ends[1]:
            return False
    if match.peer_id not in ("", route.peer):
        return False
    if match.community and match.community not in route.communities:
        return False
    return match.as_path == "" or (match.as_path == "^$") is (not route.as_path)


def changed(route: Route, changes: SetIntent) -> Route:
    communities = set(route.communities)
    if not changes.communities_additive:
        kinds = {each.count(":") for each in changes.communities}
        communities = {each for each in communities if each.count(":") not in kinds}
    return replace(
        route,
        communities=frozenset(communities | set(changes.communities)),
        as_path=(*changes.as_path_prepend, *route.as_path),
        local_pref=route.local_pref if changes.local_pref is None else changes.local_pref,
        med=route.med if changes.med is None else changes.med,
    )


def run(chain: Sequence[RoutePolicyIntent], route: Route) -> tuple[Route | None, set[object]]:
    """What is left of a route, and the statements that it hit."""
    hit: set[object] = set()
    for policy in sorted(chain, key=lambda policy: policy.order):
        found = next((s for s in policy.statements if matches(s.match, route)), None)
        if found is not None:
            hit.add((policy.id, found.seq))
            if found.action is DENY:
                return None, hit
            route = changed(route, found.set)
    return route, hit


def key(finding: Finding) -> tuple[str, int]:
    return finding.of.policy.id, finding.of.statement.seq


@st.composite
def matched(draw: st.DrawFn) -> MatchIntent:
    prefix = draw(st.sampled_from(("", *PREFIXES)))
    ge = le = None
    if prefix:
        own, longest = ip_network(prefix).prefixlen, ip_network(prefix).max_prefixlen
        ends = sorted(draw(st.tuples(*[st.sampled_from((own, 16, 24, 32, longest))] * 2)))
        if ends[0] >= own and ends[1] <= longest:
            ge, le = draw(st.sampled_from(((None, None), (ends[0], None), (None, ends[1]), ends)))
    return MatchIntent(
        prefix=prefix,
        ge=ge,
        le=le,
        peer_id=draw(st.sampled_from(("", "", "", "peer-a", "peer-b", GONE))),
        community=draw(st.sampled_from(("", "", "", *COMMUNITIES))),
        as_path=draw(st.sampled_from(("", "", "", "^$", "_65001_"))),
    )


@st.composite
def changes(draw: st.DrawFn) -> SetIntent:
    communities = tuple(draw(st.sets(st.sampled_from(COMMUNITIES), max_size=2)))
    return SetIntent(
        local_pref=draw(st.sampled_from((None, None, 50, 200))),
        med=draw(st.sampled_from((None, None, 7))),
        communities=communities,
        communities_additive=bool(communities) and draw(st.booleans()),
        as_path_prepend=draw(st.sampled_from(((), (), (65001,)))),
    )


@st.composite
def chains(draw: st.DrawFn) -> tuple[RoutePolicyIntent, ...]:
    found = []
    for number in range(draw(st.integers(1, 3))):
        statements = []
        for seq in range(10, 10 * draw(st.integers(2, 5)), 10):
            action = draw(st.sampled_from((PERMIT, DENY)))
            set_ = draw(changes()) if action is PERMIT else SetIntent()
            statements.append(StatementIntent(seq, action, draw(matched()), set_))
        found.append(policy(f"rpl-{number}", *statements))
    return tuple(found)


def policy(
    id_: str,
    *statements: StatementIntent,
    priority: int = 0,
    direction: PolicyDirection = PolicyDirection.IMPORT,
) -> RoutePolicyIntent:
    return RoutePolicyIntent(id_, 1, "net-1", id_, direction, priority, statements, 0)


def permit(seq: int, match: MatchIntent = ANY, **changes: object) -> StatementIntent:
    return StatementIntent(seq, PERMIT, match, SetIntent(**changes))  # type: ignore[arg-type]


def deny(seq: int, match: MatchIntent = ANY) -> StatementIntent:
    return StatementIntent(seq, DENY, match)


def without(policy_: RoutePolicyIntent, seq: int, finding: Finding) -> RoutePolicyIntent:
    """The policy whose statement does not set what the finding calls set in vain."""

    def bare(statement: StatementIntent) -> StatementIntent:
        if statement.seq != seq:
            return statement
        if "sets local_pref" in finding.because:
            return replace(statement, set=replace(statement.set, local_pref=None))
        if "sets med" in finding.because:
            return replace(statement, set=replace(statement.set, med=None))
        kinds = {each.count(":") for each in finding.by.statement.set.communities}
        kept = tuple(each for each in statement.set.communities if each.count(":") not in kinds)
        return replace(statement, set=replace(statement.set, communities=kept))

    return replace(policy_, statements=tuple(map(bare, policy_.statements)))


@settings(max_examples=400, deadline=None)
@given(chains())
def test_what_is_found_is_true_of_every_route(chain: tuple[RoutePolicyIntent, ...]) -> None:
    found = audit(chain, lambda peer: peer != GONE)
    results = [run(chain, route) for route in ROUTES]
    for finding in found.shadowed:
        assert not any(key(finding) in hit for _, hit in results), finding.because
    for finding in found.inconsistent:
        if "denies" in finding.because:
            assert all(left is None for left, hit in results if key(finding) in hit)
        else:
            id_, seq = key(finding)
            other = [without(p, seq, finding) if p.id == id_ else p for p in chain]
            assert [run(other, route)[0] for route in ROUTES] == [left for left, _ in results]


@settings(max_examples=200, deadline=None)
@given(chains())
def test_nothing_that_one_statement_hides_is_missed(chain: tuple[RoutePolicyIntent, ...]) -> None:
    """Within a policy, by the definition and without an index."""
    found = {key(finding) for finding in audit(chain, lambda peer: peer != GONE).shadowed}
    for policy_ in chain:
        for first, then in pairs(policy_.statements):
            if GONE not in (first.match.peer_id, then.match.peer_id) and hides(first, then):
                assert (policy_.id, then.seq) in found


def pairs(
    statements: Sequence[StatementIntent],
) -> Iterator[tuple[StatementIntent, StatementIntent]]:
    for number, then in enumerate(statements):
        for first in statements[:number]:
            yield first, then


def hides(first: StatementIntent, then: StatementIntent) -> bool:
    one, two = first.match, then.match
    for name in ("peer_id", "community", "as_path"):
        if getattr(one, name) not in ("", getattr(two, name)):
            return False
    ends, others = lengths(one), lengths(two)
    if ends is None:
        return True
    if others is None or not inside(two.prefix, one.prefix):
        return False
    return ends[0] <= others[0] and others[1] <= ends[1]


ENDS = {"10.0.0.0/28": 32, "fd00::/124": 128}
EVERY_PREFIX = [
    str(each)
    for outer, longest in ENDS.items()
    for length in range(ip_network(outer).prefixlen, longest + 1)
    for each in ip_network(outer).subnets(new_prefix=length)
]
"""Few enough to try all of them."""


@st.composite
def ranged(draw: st.DrawFn) -> MatchIntent:
    prefix = draw(st.sampled_from(EVERY_PREFIX))
    own, longest = ip_network(prefix).prefixlen, ip_network(prefix).max_prefixlen
    first, last = sorted(draw(st.tuples(*[st.integers(own, longest)] * 2)))
    ge, le = draw(st.sampled_from(((None, None), (first, None), (None, last), (first, last))))
    return MatchIntent(prefix=prefix, ge=ge, le=le)


def matched_of_all(match: MatchIntent) -> set[str]:
    ends = lengths(match)
    assert ends is not None
    return {
        each
        for each in EVERY_PREFIX
        if inside(each, match.prefix) and ends[0] <= ip_network(each).prefixlen <= ends[1]
    }


@settings(max_examples=400, deadline=None)
@given(ranged(), ranged())
def test_one_hides_another_if_and_only_if_it_matches_all_of_its_prefixes(
    one: MatchIntent, two: MatchIntent
) -> None:
    found = audit((policy("p", permit(10, one), permit(20, two)),)).shadowed
    assert bool(found) == (matched_of_all(two) <= matched_of_all(one))
    # What a policy lets in, and the next one denies: the same question over two of them.
    found = audit((policy("a", permit(10, two)), policy("b", deny(10, one)))).inconsistent
    assert bool(found) == (matched_of_all(two) <= matched_of_all(one))


LAN = MatchIntent(prefix="10.1.0.0/16")
WIDE = MatchIntent(prefix="10.0.0.0/8", le=24)


def reasons(*chain: RoutePolicyIntent) -> tuple[list[str], list[str]]:
    found = audit(chain)
    return [each.because for each in found.shadowed], [each.because for each in found.inconsistent]


def test_the_runbooks_policy_has_nothing_wrong() -> None:
    aggregator = replace(LAN, peer_id="peer-tokyo")
    first, then = permit(10, aggregator, local_pref=200), permit(20, LAN, local_pref=100)
    assert reasons(policy("tokyo", first, then)) == ([], [])
    turned = policy("tokyo", replace(then, seq=10), replace(first, seq=20))
    assert reasons(turned) == (
        ["statement 20 of tokyo is never reached: statement 10 of tokyo matches all of it first"],
        [],
    )


def test_policies_that_contradict_each_other_are_named_whichever_comes_first() -> None:
    yes, no = policy("yes", permit(10, LAN), priority=1), policy("no", deny(5, WIDE), priority=2)
    assert reasons(yes, no) == (
        [],
        ["statement 10 of yes permits what statement 5 of no denies afterwards"],
    )
    assert reasons(replace(yes, priority=3), no) == (
        ["statement 10 of yes is never reached: statement 5 of no denies all of it before"],
        [],
    )
    out = replace(no, direction=PolicyDirection.EXPORT)
    assert reasons(yes, out) == ([], []), "directions do not meet"


def test_the_opposite_of_one_match_is_a_contradiction_whichever_comes_first() -> None:
    yes, no = policy("yes", permit(10, LAN), priority=1), policy("no", deny(5, LAN), priority=2)
    assert reasons(yes, no) == (
        [],
        ["statement 10 of yes permits what statement 5 of no denies afterwards"],
    )
    said = ["statement 10 of yes is never reached: statement 5 of no denies all of it before"]
    assert reasons(replace(yes, priority=3), no) == (said, said)
    twice = policy("again", deny(5, LAN), priority=3)
    assert reasons(no, twice)[1] == [], "they agree"


def test_values_that_are_set_twice_are_named_and_overriding_a_default_is_not() -> None:
    high, low = permit(10, LAN, local_pref=200), permit(10, WIDE, local_pref=100)
    assert reasons(policy("a", high), policy("b", low)) == (
        [],
        ["statement 10 of a sets local_pref 200, which statement 10 of b replaces"],
    )
    assert reasons(policy("a", low), policy("b", high)) == ([], []), "the general, then the special"
    same = permit(10, WIDE, local_pref=200)
    assert reasons(policy("a", high), policy("b", same)) == ([], []), "no contradiction"


def test_an_exception_before_a_denial_is_none() -> None:
    exempt = policy("b", permit(5, MatchIntent(prefix="10.1.2.0/24")), deny(10, WIDE))
    ranged = permit(10, replace(LAN, le=24))
    assert reasons(policy("a", ranged), exempt) == ([], [])


def test_communities_that_somebody_acts_on_were_not_set_in_vain() -> None:
    marks = policy("a", permit(10, communities=("65000:1",)))
    acts = policy("b", deny(10, MatchIntent(community="65000:1")))
    clears = policy("c", permit(10, communities=("65000:2",)))
    assert reasons(marks, acts, clears) == ([], [])
    assert reasons(marks, clears)[1] == [
        "statement 10 of a sets communities 65000:1, which statement 10 of c replaces"
    ]


def test_five_large_policies_that_replace_each_others_values() -> None:
    big = [
        policy(
            f"rpl-{number}",
            *(
                permit(
                    seq, MatchIntent(prefix=f"10.{seq >> 8}.{seq & 255}.0/24"), local_pref=number
                )
                for seq in range(1, 1001)
            ),
        )
        for number in range(5)
    ]
    found = audit(big)
    assert (len(found.shadowed), len(found.inconsistent)) == (0, 1000 * (4 + 3 + 2 + 1))

"""How a delta changes a table of resources; its work is in proportion to the delta.

A delta is believed only if it starts from the revision we have and ends at the digest it claims. All
that does not fit is a gap, and the remedy for a gap is a snapshot: guessing would leave the node with a
state that nobody wrote. This module knows nothing of the model.
"""

from __future__ import annotations

from powernode.sdwan.v1 import agent_service_pb2 as service_pb
from powernode.sdwan.v1 import firewall_pb2 as firewall_pb
from powernode_agent.errors import AgentError
from powernode_agent.model.violation import ModelError, violation
from powernode_agent.wire.resources import (
    FIELD_OF_KIND,
    FIREWALL_TAG,
    KIND_NAMES,
    NODE,
    Key,
    Resource,
    ResourceChange,
    Table,
    digest_bytes,
    keyed_resources,
    resource_digest,
)


class DeltaGapError(AgentError):
    """A delta that does not lead on from the state we have; the remedy is always a snapshot."""


def apply_delta(table: Table, delta: service_pb.Delta) -> tuple[Table, list[ResourceChange]]:
    """The table that `delta` leads to, and what changed: removals first, then upserts, then tags.

    The work is in proportion to the delta, not to the table. Raises `DeltaGapError` when it does not
    start from `table` or does not end at its own digest, `ModelError` when it makes no sense by itself.
    """
    if delta.base_revision != table.revision:
        raise DeltaGapError(
            "delta does not start from the revision this node has",
            which="desired state",
            value=f"base_revision {delta.base_revision}",
            expected=str(table.revision),
            action="asking the platform for a snapshot",
        )
    upserts, found = keyed_resources(delta.upserts)
    revision = delta.upserts.revision
    if revision <= table.revision:
        found.append(
            violation(
                "delta", "upserts.revision", revision, f"more than base_revision {table.revision}"
            )
        )
    for reference in delta.removed:
        if reference.kind == NODE or reference.kind not in FIELD_OF_KIND:
            found.append(
                violation("delta", "removed.kind", reference.kind, "a kind that can be removed")
            )
    if found:
        raise ModelError(found)

    after = dict(table.resources)
    touched: dict[Key, None] = {}
    for reference in delta.removed:
        key = (int(reference.kind), reference.id)
        if after.pop(key, None) is None:
            raise _unknown("delta removes what this node does not have", key)
        touched[key] = None
    for key, resource in upserts.items():
        if key[0] == NODE:
            _drop_nodes(after, touched)
        after[key] = resource
        touched[key] = None
    for membership in delta.tag_memberships:
        key = (FIREWALL_TAG, membership.tag_id)
        after[key] = _tag_after(after.get(key), membership)
        touched[key] = None

    digest = table.digest
    changes: list[ResourceChange] = []
    for key in touched:
        old, new = table.resources.get(key), after.get(key)
        for side in (old, new):
            if side is not None:
                digest ^= resource_digest(*key, side.version)
        if old is not None or new is not None:
            changes.append(ResourceChange(key, old, new))
    if digest_bytes(digest) != delta.digest:
        raise DeltaGapError(
            "delta does not lead to the state the platform has",
            which=f"desired state, revision {revision}",
            value=f"digest {digest_bytes(digest).hex()}",
            expected=delta.digest.hex() or "a digest",
            action="asking the platform for a snapshot",
        )
    return Table(revision, after, digest), changes


def _drop_nodes(resources: dict[Key, Resource], touched: dict[Key, None]) -> None:
    """A state has one node: a changed id (refused later) must not leave the old one beside it."""
    for key in [key for key in resources if key[0] == NODE]:
        del resources[key]
        touched[key] = None


def _tag_after(
    tag: Resource | None, membership: firewall_pb.TagMembership
) -> firewall_pb.FirewallTag:
    """A copy of `tag` with members joined and left.

    Members are not in the digest, so one that joins twice or leaves without having been there is the
    only sign that the two sides are out of step.
    """
    if not isinstance(tag, firewall_pb.FirewallTag):
        raise _unknown(
            "delta changes what this node does not have", (FIREWALL_TAG, membership.tag_id)
        )
    members = dict.fromkeys(tag.members)
    for prefix in membership.left:
        if prefix not in members:
            raise _out_of_step(tag, f"{prefix} left", "one of its members")
        del members[prefix]
    for prefix in membership.joined:
        if prefix in members:
            raise _out_of_step(tag, f"{prefix} joined", "a prefix that is not a member")
        members[prefix] = None
    changed = firewall_pb.FirewallTag()
    changed.CopyFrom(tag)
    del changed.members[:]
    changed.members.extend(members)
    changed.version = membership.version
    return changed


def _unknown(what: str, key: Key) -> DeltaGapError:
    kind, id_ = key
    return DeltaGapError(
        what,
        which=f"{KIND_NAMES.get(kind, kind)} {id_!r:.80}",
        action="asking the platform for a snapshot",
    )


def _out_of_step(tag: firewall_pb.FirewallTag, value: str, expected: str) -> DeltaGapError:
    return DeltaGapError(
        "delta changes the members of a tag in a way that does not fit",
        which=f"firewall tag {tag.id!r}",
        value=value,
        expected=expected,
        action="asking the platform for a snapshot",
    )

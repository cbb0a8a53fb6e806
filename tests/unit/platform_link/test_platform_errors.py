"""The table from gRPC's words to ours, and the assembly of snapshots."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from link_platform import chunk, delta

from powernode.sdwan.v1 import agent_service_pb2 as pb
from powernode_agent.platform import errors
from powernode_agent.platform.assembly import Assembly, SnapshotError
from powernode_agent.platform.source import DeltaOffer, Snapshot

CODE = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "details", "expected", "action"),
    [
        (CODE.UNAUTHENTICATED, "", errors.IdentityRefusedError, "powernode-agent enrol"),
        (CODE.PERMISSION_DENIED, "", errors.PermissionRefusedError, "powernode-agent purge"),
        (CODE.UNIMPLEMENTED, "", errors.ContractError, "address"),
        (
            CODE.RESOURCE_EXHAUSTED,
            "CLIENT: Received message larger than max (10 vs. 4)",
            errors.OversizeMessageError,
            "chunks",
        ),
        (CODE.RESOURCE_EXHAUSTED, "too many nodes", errors.PlatformUnavailableError, "log"),
        (CODE.UNAVAILABLE, "Connection refused", errors.PlatformUnavailableError, "reaches"),
        (
            CODE.UNAVAILABLE,
            "x" * 400 + "CERTIFICATE_VERIFY_FAILED",
            errors.PlatformUntrustedError,
            "ca_file",
        ),
        (
            CODE.UNAVAILABLE,
            "Peer name other.example is not in peer certificate",
            errors.PlatformUntrustedError,
            "name",
        ),
        (
            CODE.UNAVAILABLE,
            "SSLV3_ALERT_CERTIFICATE_EXPIRED",
            errors.IdentityRefusedError,
            "powernode-agent enrol",
        ),
        (CODE.INTERNAL, "boom", errors.PlatformUnavailableError, "log"),
    ],
)
def test_each_failure_says_what_to_do(
    code: grpc.StatusCode, details: str, expected: type[errors.PlatformError], action: str
) -> None:
    error = errors.explain(code, details, "platform.example:443")
    assert type(error) is expected
    assert action in error.action
    assert "platform.example:443" in str(error)


@given(st.text(max_size=500))
def test_words_of_the_other_side_are_safe_to_show(text: str) -> None:
    shown = errors.printable(text)
    assert len(shown) <= errors.MAX_DETAIL_LENGTH
    assert not shown or shown.isprintable()


@given(st.integers(1, 20))
def test_chunks_in_order_make_one_snapshot(count: int) -> None:
    assembly = Assembly()
    offers = [assembly.add(chunk(7, index, count)) for index in range(count)]
    assert offers[:-1] == [None] * (count - 1)
    last = offers[-1]
    assert isinstance(last, Snapshot)
    assert [c.index for c in last.chunks] == list(range(count))
    assert isinstance(assembly.add(delta(7, 8)), DeltaOffer)


@pytest.mark.parametrize(
    ("responses", "field"),
    [
        ([chunk(1, 1, 3)], "index"),
        ([chunk(1, 0, 3), chunk(1, 0, 3)], "index"),
        ([chunk(1, 0, 3), chunk(1, 1, 4)], "count"),
        ([chunk(1, 0, 0)], "count"),
        ([chunk(1, 0, 3), chunk(2, 1, 3)], "part.revision"),
        ([chunk(1, 0, 3), delta(1, 2)], "message"),
        ([pb.WatchDesiredStateResponse()], "message"),
    ],
)
def test_what_is_no_snapshot_is_refused(
    responses: list[pb.WatchDesiredStateResponse], field: str
) -> None:
    assembly = Assembly()
    for response in responses[:-1]:
        assembly.add(response)
    with pytest.raises(SnapshotError) as raised:
        assembly.add(responses[-1])
    assert raised.value.violation.field == field
    assert isinstance(assembly.add(chunk(9)), Snapshot)


def test_snapshots_are_bounded() -> None:
    assembly = Assembly(max_bytes=2 * chunk(1, 1, 100).snapshot.ByteSize())
    assembly.add(chunk(1, 0, 100))
    assembly.add(chunk(1, 1, 100))
    with pytest.raises(SnapshotError) as raised:
        assembly.add(chunk(1, 2, 100))
    assert raised.value.violation.field == "size"

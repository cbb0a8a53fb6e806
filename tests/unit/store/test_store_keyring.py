"""Keys the node made: made once, kept apart, never guessed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from powernode_agent.model.keys import make_private_key
from powernode_agent.model.values import NetworkId
from powernode_agent.store.files import StoreError
from powernode_agent.store.keyring import Keyring

CORE = NetworkId("core")


class Counting:
    """Randomness that is never the same and can be repeated."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, length: int) -> bytes:
        self.calls += 1
        return bytes([self.calls]) * length


def test_a_key_is_made_once(tmp_path: Path) -> None:
    randomness = Counting()
    keyring = Keyring(tmp_path, randomness)
    first = keyring.private_key(CORE, 1)
    assert first == make_private_key(bytes([1]) * 32)
    assert keyring.private_key(CORE, 1) == first
    assert Keyring(tmp_path).private_key(CORE, 1) == first
    assert keyring.private_key(CORE, 2) != first
    assert randomness.calls == 2
    assert keyring.generations(CORE) == (1, 2)
    (file, _) = sorted(tmp_path.iterdir())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_old_generations_are_forgotten(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path / "keys", Counting())
    assert keyring.generations(CORE) == ()
    keyring.forget_before(CORE, 5)
    for generation in (1, 2, 10):
        keyring.private_key(CORE, generation)
    other = keyring.private_key(NetworkId("core.1"), 1)
    keyring.forget_before(CORE, 10)
    assert keyring.generations(CORE) == (10,)
    assert keyring.private_key(NetworkId("core.1"), 1) == other


ids = st.one_of(
    st.sampled_from([".", "..", "a:b.c", "-", "core.1", "core.1.key", "core", "Core"]),
    st.from_regex(r"[A-Za-z0-9._:-]{1,64}", fullmatch=True),
)


@given(wanted=st.dictionaries(st.tuples(ids, st.integers(1, 12)), st.none(), max_size=6))
def test_every_network_and_generation_has_its_own_file_inside_the_directory(
    wanted: dict[tuple[str, int], None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("keys")
    keyring = Keyring(directory, Counting())
    made = {
        (id_, generation): keyring.private_key(NetworkId(id_), generation)
        for id_, generation in sorted(wanted)
    }
    assert len(set(made.values())) == len(made)
    assert len(list(directory.iterdir())) == len(made)
    for id_ in {id_ for id_, _ in wanted}:
        assert keyring.generations(NetworkId(id_)) == tuple(
            sorted(generation for other, generation in wanted if other == id_)
        )


@pytest.mark.parametrize(("id_", "generation"), [("../x", 1), ("", 1), ("a/b", 1), ("a", 0)])
def test_what_is_no_id_is_no_path(tmp_path: Path, id_: str, generation: int) -> None:
    with pytest.raises(ValueError, match="not a network id"):
        Keyring(tmp_path).private_key(NetworkId(id_), generation)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, Counting())
    key = keyring.private_key(CORE, 1)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        keyring.private_key(CORE, 1)
    assert file.read_bytes() == content
    assert key.reveal() not in str(caught.value)


def test_a_key_under_another_name_is_refused(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, Counting())
    keyring.private_key(CORE, 1)
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / "network-core.2.key")
    with pytest.raises(StoreError, match="checksum"):
        keyring.private_key(CORE, 2)


def test_a_key_that_was_rotated_away_is_not_made_again(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path, Counting())
    keyring.private_key(NetworkId("core"), 1)
    second = keyring.private_key(NetworkId("core"), 2)
    keyring.forget_before(NetworkId("core"), 2)
    with pytest.raises(StoreError, match="rotated away"):
        keyring.private_key(NetworkId("core"), 1)
    assert keyring.private_key(NetworkId("core"), 2) == second

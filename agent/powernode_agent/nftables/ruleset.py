"""The table as a whole: plan and apply the rooms' fragments, know what stands, notice who else writes.

It promises that a fragment is applied whole or not at all, that what did not change is neither sent
nor read again, and that what somebody else did to the table is undone by the next pass: a disturbed
table is replaced in one transaction, with everything that is wanted, so that no packet meets half of
it. One network's refused fragment leaves those of the others in force.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from powernode_agent.model.change import Change, Phase, Verb
from powernode_agent.model.ruleset import Fragment
from powernode_agent.nftables.codec import Elements
from powernode_agent.nftables.composition import Fragments, described, difference, nothing, whole
from powernode_agent.nftables.errors import NftablesError, RefusedError
from powernode_agent.nftables.script import FULL_NAME, Key, Script
from powernode_agent.nftables.seal import Seal, SealFile, digest
from powernode_agent.nftables.watch import Watch
from powernode_agent.nftables.worker import Worker

log = structlog.get_logger()

LARGE: Final = 1000
"""Lines of a script whose notifications would cost more than they tell."""
QUIET: Final = 2.0
"""Seconds without a write after which the table is sealed: a burst of changes costs one look."""
BUSY: Final = 1.0
"""Seconds since somebody else's transaction in which the next one is expected at any moment."""


class Ruleset:
    """Our table. `watch` is told of each write, and tells of those of others."""

    def __init__(
        self, worker: Worker, seals: SealFile, watch: Watch, monotonic: Callable[[], float]
    ) -> None:
        self._worker = worker
        self._seals = seals
        self._watch = watch
        self._monotonic = monotonic
        watch.on_disturbed(self._disturbed)
        self._standing: dict[Key, Fragment] | None = None
        """What stands; None: not known, the table is to be replaced."""
        self._good: Mapping[Key, Fragment] = {}
        """What nftables took last, whatever became of it."""
        self._disturbances = 0
        self._sealed: Seal | None = None
        """What an earlier agent left, found intact; until the first plan says whether it is wanted."""
        self._looked = False
        self._written_at: float | None = None
        """When the table was last written and not sealed since."""
        self._counters: Mapping[str, int] | None = None
        self.unheard: NftablesError | None = None
        """Why it is not told what others do to the table; None: it is."""
        self._refused: dict[Key, RefusedError] = {}
        """What was left out when the table was replaced last."""

    # What is known.

    @property
    def known(self) -> bool:
        """Whether it is known what stands."""
        return self._standing is not None

    def standing(self, key: Key) -> Fragment | None:
        """The fragment that stands; None: none, or it is not known."""
        return None if self._standing is None else self._standing.get(key)

    def packets(self, counter: str) -> int | None:
        """Packets that a named counter has seen; None: not measured."""
        return None if self._counters is None else self._counters.get(counter)

    def _disturbed(self) -> None:
        """Somebody else changed the table, or may have."""
        self._disturbances += 1
        self._standing = None
        self._sealed = None
        self._looked = True

    async def observe(self) -> None:
        """Look, where there is reason to: at the table once, when this process has not written it yet,
        and each time while nobody tells what others do to it. Raises `NftablesError`."""
        if not self._watch.listens:
            await self._look_for_others()
        if not self._looked:
            found = await self._worker.inventory()
            seal = self._seals.read()
            if found is None:
                self._standing = {}
            elif seal is not None and seal.found == found:
                self._sealed = seal
            self._looked = True

    async def _look_for_others(self) -> None:
        """Listen from now on; where that cannot be, compare the table with what it was. Either way the
        table may have changed before, unless it is as it was sealed."""
        try:
            self._watch.start()
            self.unheard = None
        except NftablesError as error:
            self.unheard = error
        if self._standing:
            seal = self._seals.read() if self._written_at is None else None
            if seal is None or seal.found != await self._worker.inventory():
                self._disturbed()

    async def count(self) -> None:
        """Read the counters. Raises `NftablesError`."""
        try:
            self._counters = await self._worker.counters()
        except NftablesError:
            self._counters = None
            raise

    # Plan and apply.

    def plan(
        self, wanted: Fragments, phases: Mapping[str, Phase], *, remember: bool = True
    ) -> list[Change]:
        """The changes that lead to `wanted`: one for each fragment that differs, and one for each that
        nobody wants any more. `phases`: when a room's fragments are applied; a fragment that guards its
        network is of `Phase.GUARD`. `remember` False: only asked, leave no trace."""
        # A network that has nothing to filter wants no table.
        wanted = {key: each for key, each in wanted.items() if each.objects or each.hooks}
        standing = self._standing
        if standing is None and self._sealed is not None:
            if self._sealed.written == digest(whole(wanted).text()):
                standing = dict(wanted)
                if remember:
                    self._standing = self._good = standing
            if remember:
                self._sealed = None
        changes: list[Change] = []
        known = {} if standing is None else standing
        for key, fragment in wanted.items():
            before = known.get(key)
            if before is fragment:
                continue
            if before == fragment:
                if remember and self._standing is not None:
                    self._standing[key] = fragment  # so that the next comparison is by identity
                continue
            if standing is None:
                # One thing to say and to count, however much there is in it.
                count = len(fragment.objects)
                lines: tuple[str, ...] = (f"replace table {FULL_NAME}: {count} sets and chains",)
            else:
                lines = described(before, fragment)
            changes.append(
                Change(
                    key.room,
                    key.network,
                    Phase.GUARD if fragment.guards else phases[key.room],
                    Verb.ADD if before is None else Verb.CHANGE,
                    lines or ("nothing but order",),
                    self._bring(wanted, key),
                )
            )
        for key in known.keys() - wanted.keys():
            changes.append(
                Change(
                    key.room,
                    key.network,
                    phases[key.room],
                    Verb.REMOVE,
                    described(known[key], None),
                    self._bring(wanted, key),
                )
            )
        if standing is None and not wanted:
            changes += self._unwanted(phases)
        return changes

    def _unwanted(self, phases: Mapping[str, Phase]) -> list[Change]:
        """A table of ours of which nothing is wanted and nothing is known."""

        async def remove() -> None:
            await self._replace({})

        room = next(iter(phases))
        line = f"remove table {FULL_NAME}"
        return [Change(room, None, phases[room], Verb.REMOVE, (line,), remove)]

    def _bring(self, wanted: Fragments, key: Key) -> Callable[[], Awaitable[None]]:
        """Carries out what `plan` says of one fragment."""

        async def bring() -> None:
            if self._standing is None:
                await self._replace(wanted)
            standing = self._standing
            if standing is None:
                raise NftablesError(
                    "the table was changed by somebody else meanwhile",
                    which=f"table {FULL_NAME}",
                    action="the next pass replaces it",
                )
            fragment = wanted.get(key)
            if key in self._refused and standing.get(key) is not fragment:
                raise self._refused.pop(key)
            if standing.get(key) is not fragment:
                await self._advance(standing, key, fragment)

        return bring

    async def _advance(
        self, standing: Mapping[Key, Fragment], key: Key, fragment: Fragment | None
    ) -> None:
        """One fragment comes, changes or goes, in one transaction."""
        after = {each: value for each, value in standing.items() if each != key}
        if fragment is not None:
            after[key] = fragment
        step = self._step(standing, after)
        if isinstance(step, Script):
            try:
                await self._write(step, after)
            except RefusedError as error:
                # Perhaps the table is not what it is taken for: then putting all of it in its place
                # helps. If not, that fails as well, and changes nothing either.
                log.info("nftables.replacing", error=str(error))
                try:
                    await self._write(whole(after), after)
                except RefusedError:
                    instead = None if fragment is None else self._instead_of(key, fragment)
                    if key not in standing and instead is not None:
                        await self._write(whole({**after, key: instead}), {**after, key: instead})
                    raise
        elif step:
            await self._write(step, after)
        else:
            self._standing = after

    def _step(self, standing: Fragments, after: Fragments) -> Script | list[Elements]:
        """What leads from one to the other. Before it changes a table, libnftables reads all of it, and
        begins anew whenever another's transaction falls into that: beside a busy writer it would not
        come to an end with a large one, while to replace a table it need not read it."""
        if not after:
            return nothing()
        step = difference(standing, after)
        if isinstance(step, Script) and self._watch.others_write(BUSY):
            replacement = whole(after)
            if len(replacement.lines) > LARGE:
                return replacement
        return step

    async def _shut_first(self, wanted: Fragments, lines: int) -> None:
        """Where the table is gone, or has no rule any more, and a large one takes its time, shut the
        links it guards meanwhile: 10,000 rules take most of a second, and all would get through."""
        shut = {
            key: replace(each, objects={}, hooks=each.shut)
            for key, each in wanted.items()
            if each.shut
        }
        if shut and lines > LARGE and not await self._worker.filters():
            await self._write(whole(shut), shut)

    async def _replace(self, wanted: Fragments) -> None:
        """Put all of `wanted` in the place of whatever the table holds. In place of what nftables
        refuses stands what it took last; the error is raised when its own change is carried out."""
        self._refused.clear()
        left = dict(wanted)
        good = self._good
        await self._shut_first(wanted, len(whole(wanted).lines))
        self._good = good  # a door shut for a moment is not what nftables took last
        while True:
            script = whole(left)
            try:
                await self._write(script, left)
            except RefusedError as error:
                owner, _ = script.owner(error.line)
                if owner is None or owner not in left:
                    raise
                self._refused[owner] = error
                instead = self._instead_of(owner, left.pop(owner))
                if instead is not None:
                    left[owner] = instead
            else:
                return

    def _instead_of(self, key: Key, refused: Fragment) -> Fragment | None:
        """What stands in the place of a refused fragment: what nftables took last, else a shut door.
        Nothing would let everyone in. None: it guards nothing, or nothing is left to try."""
        earlier = self._good.get(key)
        if earlier is not None and earlier is not refused and refused.hooks != refused.shut:
            return earlier
        if refused.shut and refused.hooks != refused.shut:
            return replace(refused, objects={}, hooks=refused.shut)
        return None

    async def _write(self, step: Script | list[Elements], after: dict[Key, Fragment]) -> None:
        """One transaction, `after` which this stands; a refused one changes nothing. Raises
        `NftablesError`."""
        before, self._standing = self._standing, None
        disturbances = self._disturbances
        self._watch.begin(large=isinstance(step, Script) and len(step.lines) > LARGE)
        own: int | None = None
        try:
            if isinstance(step, Script):
                own = await self._worker.run(step.text())
            else:
                own = await self._worker.change_elements(step)
            # Whoever is cancelled here does not know what came of it, and neither does the next pass.
            self._standing = self._good = after
        except RefusedError as error:
            self._standing = before
            owner, origin = step.owner(error.line) if isinstance(step, Script) else (None, "")
            which = ", ".join(filter(None, (origin, f"network {owner.network}" if owner else "")))
            raise RefusedError(error.sentence, error.line, which=which) from error
        finally:
            self._watch.end(own)
            if self._disturbances != disturbances:
                self._standing = None
        self._written_at = self._monotonic()
        if not self._watch.listens:
            # Only against the seal can the next look tell whether somebody else was there.
            await self.seal()

    async def purge(self) -> bool:
        """Remove the table; whether there was one. Raises `NftablesError`."""
        stood = await self._worker.stands()
        if stood:
            await self._write(nothing(), {})
        self._standing = {}
        self._written_at = None
        self._seals.forget()
        return stood

    # Seal.

    def seal_due(self) -> float | None:
        """When the table wants to be sealed; None: it is, or nothing was written."""
        return None if self._written_at is None else self._written_at + QUIET

    async def seal(self) -> None:
        """Note what the table looks like, for the next start. Raises `NftablesError`."""
        standing = self._standing
        self._written_at = None
        if standing is None:
            return
        found = await self._worker.inventory()
        # What others did until now has been told by now.
        self._watch.begin()
        self._watch.end(None)
        if found is not None and self._standing is standing and self._written_at is None:
            self._seals.write(Seal(digest(whole(standing).text()), found))

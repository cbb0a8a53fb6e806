"""Takes what a source brings: accept it, refuse it with reasons, or ask for a snapshot.

What it guarantees: only a valid revision becomes the desired state; a refused one changes nothing but
the record of its refusal; the last-known-good file holds the newest accepted revision a moment after it
was accepted, as soon as the disk has taken it. Writing is coalesced, comes after the first pass, and is
off the loop: a revision must reach the kernel in milliseconds, and a disk may take long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from powernode_agent.errors import AgentError
from powernode_agent.model.desired_state import DesiredState
from powernode_agent.model.status import RejectedRevision
from powernode_agent.model.values import Revision
from powernode_agent.model.violation import ModelError, Violation
from powernode_agent.platform.source import (
    DeltaOffer,
    LinkState,
    Offer,
    Position,
    Snapshot,
    Verdict,
    WholeState,
)
from powernode_agent.store.last_known_good import LastKnownGood
from powernode_agent.wire.replica import DeltaGapError, Replica, Staged
from powernode_agent.wire.stored import DesiredStateMessage, parse_stored

log = structlog.get_logger()

SAVE_DELAY: Final = 0.05
"""Seconds before an accepted state is saved: its pass goes first, and a burst is saved once."""
SAVE_RETRY: Final = 5.0
"""Seconds before a failed save is tried again: a full disk does not empty itself faster."""


class Intake:
    """The sink of every source; tells `on_accept`, `on_reject` and `on_link` what came, and `on_saved`
    what the disk has."""

    def __init__(
        self,
        replica: Replica,
        store: LastKnownGood,
        *,
        wall: Callable[[], float],
        on_accept: Callable[[DesiredState], None],
        on_reject: Callable[[], None],
        on_link: Callable[[LinkState], None],
        on_saved: Callable[[DesiredState], None],
    ) -> None:
        self._replica = replica
        self._store = store
        self._wall = wall
        self._on_accept = on_accept
        self._on_reject = on_reject
        self._on_link = on_link
        self._on_saved = on_saved
        self._unsaved = asyncio.Event()
        self._saving = asyncio.Lock()
        self._saves = True
        self.rejected: RejectedRevision | None = None
        self.store_error: AgentError | None = None
        self.store_error_since = 0.0

    def restore(self) -> bool:
        """Start from the last-known-good file; whether there was a usable one.

        A file that is damaged or somebody else's is refused and left for the operator to see; the
        node then waits for the platform, and writes nothing to the kernel until it speaks.
        """
        try:
            content = self._store.load()
            if content is None:
                log.info("last_known_good.none")
                return False
            staged = self._replica.load(parse_stored(content))
        except AgentError as error:
            self._note_store(error)
            log.warning("last_known_good.refused", error=str(error))
            return False
        self._replica.commit(staged)
        log.info("last_known_good.restored", revision=staged.state.revision)
        self._on_accept(staged.state)
        self._on_saved(staged.state)
        return True

    async def offer(self, offer: Offer) -> Verdict:
        """See `platform.source.Sink`."""
        revision = _revision_of(offer)
        try:
            staged = self._stage(offer)
        except DeltaGapError as error:
            log.info("revision.gap", revision=revision, reason=str(error))
            return Verdict.NEED_SNAPSHOT
        except ModelError as error:
            self._reject(revision, error.violations)
            return Verdict.REJECTED
        if staged.unchanged:
            if self.rejected is not None:
                # The file is as it was before the mistake: what is desired is what stands.
                self.rejected = None
                self._on_accept(staged.state)
            return Verdict.ACCEPTED
        self._replica.commit(staged)
        self.rejected = None
        log.info("revision.accepted", revision=staged.revision, went_back=staged.went_back)
        self._unsaved.set()
        self._on_accept(staged.state)
        return Verdict.ACCEPTED

    def preview(self, message: DesiredStateMessage) -> DesiredState:
        """What `message` would be if it were offered, judged as an offer is; changes nothing. Raises
        `ModelError`."""
        return self._replica.load(message).state

    def refuse(self, violations: tuple[Violation, ...]) -> None:
        """See `platform.source.Sink`."""
        self._reject(Revision(0), violations)

    def position(self) -> Position:
        """See `platform.source.Sink`."""
        return Position(self._replica.revision, self._replica.digest)

    def link_state(self, state: LinkState) -> None:
        """See `platform.source.Sink`."""
        self._on_link(state)

    async def keep_saved(self) -> None:
        """Write the newest accepted state whenever there is one; runs until cancelled."""
        while True:
            await self._unsaved.wait()
            # The whole state takes longer to serialise than one changed peer takes to apply.
            await asyncio.sleep(SAVE_DELAY)
            self._unsaved.clear()
            if not await self._save():
                self._unsaved.set()  # also for `save_now`, should the daemon end while this waits
                await asyncio.sleep(SAVE_RETRY)

    async def save_now(self) -> None:
        """Before the daemon ends: what was accepted and is not on the disk yet."""
        if self._unsaved.is_set():
            self._unsaved.clear()
            await self._save()

    async def stop_saving(self) -> None:
        """Returns when nothing is being written and nothing will be: for a purge, which removes the
        file and must not see it come back."""
        self._saves = False
        async with self._saving:
            pass

    async def _save(self) -> bool:
        async with self._saving:
            if not self._saves:
                return True
            state = self._replica.state
            content = self._replica.to_message().SerializeToString()
            try:
                await asyncio.to_thread(self._store.save, content)
            except AgentError as error:
                self._note_store(error)
                log.warning("last_known_good.not_saved", error=str(error))
                return False
            self._note_store(None)
            if state is not None:
                self._on_saved(state)
            return True

    def _note_store(self, error: AgentError | None) -> None:
        if (error is None) != (self.store_error is None):
            self.store_error_since = self._wall()
        self.store_error = error

    def _stage(self, offer: Offer) -> Staged:
        match offer:
            case Snapshot(chunks=chunks):
                return self._replica.stage_snapshot(chunks)
            case DeltaOffer(delta=delta):
                return self._replica.stage_delta(delta)
            case WholeState(message=message):
                return self._replica.load(message)

    def _reject(self, revision: Revision, violations: tuple[Violation, ...]) -> None:
        self.rejected = RejectedRevision(revision, violations, self._wall())
        log.warning(
            "revision.rejected",
            revision=revision,
            violations=len(violations),
            first=str(violations[0]) if violations else "",
        )
        self._on_reject()


def _revision_of(offer: Offer) -> Revision:
    match offer:
        case Snapshot(chunks=chunks):
            return Revision(chunks[0].part.revision if chunks else 0)
        case DeltaOffer(delta=delta):
            return Revision(delta.upserts.revision)
        case WholeState(message=message):
            return Revision(message.revision)

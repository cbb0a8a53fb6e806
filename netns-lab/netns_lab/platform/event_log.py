"""What happened, in memory: the last events, each with the account whose it is.

An event names its account by what it is about. What is asked of the database is remembered, because an
id never changes hands and its object may be gone by the next event.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Select, select

from netns_lab.platform.database import Sessions
from netns_lab.platform.tables import Network, NodeInstance, Peer

KEPT_EVENTS: Final = 10_000
_KEPT_OWNERS: Final = 50_000
_OWNERS: Final[Mapping[str, Callable[[str], Select[str]]]] = {
    "network_id": lambda id_: select(Network.account_id).where(Network.id == id_),
    "peer_id": lambda id_: select(Network.account_id).join(Peer).where(Peer.id == id_),
    "node_instance_id": lambda id_: select(NodeInstance.account_id).where(NodeInstance.id == id_),
}


@dataclass(slots=True, eq=False)
class EventLog:
    """The events of a process; a restarted platform begins anew."""

    sessions: Sessions
    events: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    _owners: OrderedDict[str, str] = field(default_factory=OrderedDict)

    def record(self, at: float, name: str, details: Mapping[str, object]) -> None:
        """Keeps an event. `at` in seconds since the epoch."""
        self.events.append(
            {"at": at, "event": name, **details, "account_id": self._account_of(details)}
        )

    def _account_of(self, details: Mapping[str, object]) -> str:
        """Empty: nothing that the event is about belongs to an account."""
        said = details.get("account_id")
        if isinstance(said, str) and said:
            for key in _OWNERS:
                if isinstance(id_ := details.get(key), str):
                    self._remember(id_, said)
            return said
        for key, query in _OWNERS.items():
            id_ = details.get(key)
            if not isinstance(id_, str) or not id_:
                continue
            if id_ not in self._owners:
                with self.sessions() as session:
                    owner = session.scalars(query(id_)).first()
                if owner is not None:
                    self._remember(id_, owner)
            if id_ in self._owners:
                return self._owners[id_]
        return ""

    def _remember(self, id_: str, account_id: str) -> None:
        self._owners[id_] = account_id
        if len(self._owners) > _KEPT_OWNERS:
            self._owners.popitem(last=False)

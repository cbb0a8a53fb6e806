"""The SQLite file: private to its owner, written ahead, one transaction for each action.

Synchronous on purpose: a transaction takes a millisecond or two, and running it on the event loop means
that no two actions ever interleave.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from netns_lab.platform.tables import Table

Sessions = sessionmaker[Session]


def open_database(path: Path) -> tuple[Engine, Sessions]:
    """The engine and its sessions; makes file (0600) and tables if they are missing."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _prepare)
    Table.metadata.create_all(engine)
    return engine, sessionmaker(engine)


def _prepare(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    # WAL without an fsync at each commit: a crash of the machine may cost the last actions, a crash
    # of the platform costs nothing, and an operator's action is not held up by the disk.
    for pragma in ("foreign_keys=ON", "journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")

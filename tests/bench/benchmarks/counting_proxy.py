"""Stands before a wireguard-go socket, passes everything on, and counts reads and writes.

wireguard-go watches its socket (inotify), and any event of the inode but a rename ends it, even a
hard link. So the original is renamed away and the proxy's put in its place at once; who asks in the
microseconds between finds no device.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType


class CountingProxy:
    """Counts `get` and `set` messages on the device's socket at `path` for the length of a block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._original = path.with_name(path.name + ".real")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.reads = 0
        self.sets = 0

    def __enter__(self) -> CountingProxy:
        draft = self._path.with_name(f".{self._path.name}.proxy")
        self._listener.bind(str(draft))
        self._listener.listen()
        self._path.rename(self._original)
        draft.rename(self._path)
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._original.rename(self._path)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed: the block has ended
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        """One message is in its first part whole or begun: the verb stands at its start."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with client, server:
            server.connect(str(self._original))
            answers = threading.Thread(target=_copy, args=(server, client), daemon=True)
            answers.start()
            start_of_message = True
            while part := _received(client):
                if start_of_message:
                    self.reads += part.startswith(b"get=1\n")
                    self.sets += part.startswith(b"set=1\n")
                start_of_message = part.endswith(b"\n\n")
                server.sendall(part)
            server.shutdown(socket.SHUT_WR)
            answers.join(1)


def _copy(source: socket.socket, target: socket.socket) -> None:
    while part := _received(source):
        try:
            target.sendall(part)
        except OSError:
            return


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(1 << 18)
    except OSError:
        return b""

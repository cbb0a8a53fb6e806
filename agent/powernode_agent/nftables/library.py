"""libnftables, as much of it as we use: run a script, get its output or its error.

Bound here and not by a package: the one of that name on the index is a copy that installs a bare
`__init__.py` beside everybody's modules. The five calls below are libnftables(3), unchanged since 0.9.

A context belongs to the network namespace of the thread that made it, and two threads in one context
crash (field notes), so one thread makes it, uses it and frees it.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import Final

from powernode_agent.nftables.errors import LibraryMissingError, RefusedError

LIBRARY: Final = "libnftables.so.1"
_STATELESS: Final = 1 << 2
"""NFT_CTX_OUTPUT_STATELESS: listings without counters and timeouts, so that equal content reads
equal."""
_ERROR: Final = re.compile(r":(\d+):\d+(?:-\d+)?: Error: (.*)")


class Library:
    """One context. Raises `LibraryMissingError` when made."""

    def __init__(self, name: str = LIBRARY) -> None:
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            raise LibraryMissingError(name, str(error)) from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        library.nft_ctx_free.restype = None
        for call in ("nft_ctx_buffer_output", "nft_ctx_buffer_error"):
            getattr(library, call).argtypes = [ctypes.c_void_p]
        for call in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, call).argtypes = [ctypes.c_void_p]
            getattr(library, call).restype = ctypes.c_char_p
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_ctx_output_set_flags.restype = None
        library.nft_run_cmd_from_filename.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        self._library = library
        self._context: int | None = library.nft_ctx_new(0)
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_output_set_flags(self._context, _STATELESS)

    def run(self, script: str) -> str:
        """Run a script as one transaction; its output. Raises `RefusedError`."""
        # As a file in memory: of a buffer, libnftables does not say which line was refused.
        file = os.memfd_create("nftables", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(file), "wb") as whole:
                whole.write(script.encode())
            code: int = self._library.nft_run_cmd_from_filename(
                self._context, f"/proc/self/fd/{file}".encode()
            )
        finally:
            os.close(file)
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        # Read in any case: the buffer is emptied by reading, and would answer for the next script.
        said: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if code == 0:
            return output.decode()
        raise refusal(said.decode("utf-8", "replace"))

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None


def refusal(said: str) -> RefusedError:
    """The error that libnftables' words mean; it quotes the script below them, which is left out."""
    found = _ERROR.search(said)
    if found is None:
        return RefusedError(" ".join(said.split())[:300] or "no reason given", 0)
    return RefusedError(found.group(2).strip()[:300], int(found.group(1)))

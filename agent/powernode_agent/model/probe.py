"""What tells our own liveness probes from other echo requests: `paths` writes it, the filter reads it.

Liveness must not depend on an operator's rules about ping, and letting every echo request through for
its sake would go behind their back; so a probe opens with a mark of its own.
"""

from __future__ import annotations

from typing import Final

PROBE_MARK: Final = 0x706E7072
"""First bytes of a probe's data, "pnpr"."""
PROBE_MARK_BITS: Final = 32
PROBE_MARK_OFFSET: Final = 64
"""Bits from the start of the ICMPv6 header, which is 8 bytes long (RFC 4443, section 4.1)."""

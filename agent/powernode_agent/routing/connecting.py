"""Whether a neighbour's BGP port can be reached: evidence for why a session is down. Shell.

A connection is opened and closed again at once, from this node's own overlay address; FRR takes it for
a neighbour that thought better of it. Asked only while a session is down, and seldom.
"""

from __future__ import annotations

import asyncio
import errno
from ipaddress import IPv6Address
from typing import Final

from powernode_agent.routing.sessions import Connecting

PORT: Final = 179
TIMEOUT: Final = 1.0
_NO_ROUTE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL})


async def try_to_connect(own: IPv6Address, neighbor: IPv6Address) -> Connecting | None:
    """How it went; None: in a way that says nothing."""
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(str(neighbor), PORT, local_addr=(str(own), 0))
    except TimeoutError:
        return Connecting.TIMED_OUT
    except ConnectionRefusedError:
        return Connecting.REFUSED
    except OSError as error:
        return Connecting.NO_ROUTE if error.errno in _NO_ROUTE else None
    writer.close()
    return Connecting.ACCEPTED

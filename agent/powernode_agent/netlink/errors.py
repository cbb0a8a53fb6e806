"""What the kernel answers when it refuses, in words an operator can act on.

The number alone ("error 1") helps nobody: each error names the request, the thing it was about, the
errno by name, the kernel's own sentence where it gave one, and what to do.
"""

from __future__ import annotations

import errno
import os
from typing import Final

from powernode_agent.errors import AgentError

_ACTIONS: Final = {
    errno.EPERM: "give the agent CAP_NET_ADMIN (AmbientCapabilities= in its unit)",
    errno.EACCES: "give the agent CAP_NET_ADMIN (AmbientCapabilities= in its unit)",
    errno.ENODEV: "the link is gone; the next reconcile makes it again",
    errno.ENETDOWN: "the link is down; the next reconcile brings it up",
    errno.EEXIST: "something else holds this place; see `ip address` and `ip route`",
    errno.EAFNOSUPPORT: "this kernel lacks the address family; enable IPv6",
    errno.ENOBUFS: "the kernel lacks memory for sockets; look at net.core.rmem_max",
}


class NetlinkError(AgentError):
    """The kernel refused a request. `number` is the errno, 0 where there is none.

    `others` counts further requests of the same batch that failed as well.
    """

    def __init__(
        self, what: str, *, which: str = "", number: int = 0, detail: str = "", others: int = 0
    ) -> None:
        self.number = number
        self.others = others
        value = ""
        if number:
            value = f"{errno.errorcode.get(number, str(number))}: {detail or os.strerror(number)}"
        elif detail:
            value = detail
        if others:
            value += f" (and {others} more of this batch)"
        super().__init__(what, which=which, value=value, action=_ACTIONS.get(number, ""))

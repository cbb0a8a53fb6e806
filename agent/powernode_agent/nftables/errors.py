"""What can go wrong with the table, in words an operator can act on."""

from __future__ import annotations

from powernode_agent.errors import AgentError

_INSTALL = "install Debian's package nftables; until then nothing is filtered or mapped"


class NftablesError(AgentError):
    """Our table could not be read or written."""


class LibraryMissingError(NftablesError):
    """This host has no libnftables."""

    def __init__(self, library: str, detail: str) -> None:
        super().__init__(
            "cannot load the nftables library", which=library, value=detail, action=_INSTALL
        )


class RefusedError(NftablesError):
    """nftables refused a transaction, and nothing of it was applied. `line`: number of the line of the
    script it stumbled over, from 1; 0: it did not say."""

    def __init__(
        self, sentence: str, line: int, *, which: str = "table inet powernode_sdwan"
    ) -> None:
        self.sentence = sentence
        self.line = line
        action = "`nft list table inet powernode_sdwan` shows what stands"
        if "not permitted" in sentence:
            action = "give the agent CAP_NET_ADMIN (AmbientCapabilities= in its unit)"
        super().__init__(
            "nftables refuses a change, which is not made",
            which=which,
            value=sentence,
            action=action,
        )

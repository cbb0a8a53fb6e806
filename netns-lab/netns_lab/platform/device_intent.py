"""What an operator wants of one user device, as a plain frozen value. The compiler works on these."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeviceIntent:
    """An active device. `hub_peer_id` is the hub that its configuration names, which may be gone."""

    id: str
    name: str
    public_key: str
    host_address: str
    host_ipv4: str
    hub_peer_id: str

    @property
    def prefixes(self) -> tuple[str, ...]:
        """All that it may send from."""
        ipv4 = (f"{self.host_ipv4}/32",) if self.host_ipv4 else ()
        return (f"{self.host_address}/128", *ipv4)

    @property
    def lan_subnets(self) -> tuple[str, ...]:
        """A device has nothing behind it; peers do, and selectors take either."""
        return ()

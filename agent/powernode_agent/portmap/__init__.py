"""Port mappings: an external port of this hub leads to a peer or a virtual IP (runbook, phase 4).

Within one family it is nftables alone. IPv4 outside to IPv6 inside goes through tayga, a NAT64 in
userspace that outlives the agent. Either way the target sees the hub's own overlay address as the
source, so that its answers come back through the hub.
"""

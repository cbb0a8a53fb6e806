"""Which WireGuard peer carries which prefix, and the probes that say who is alive.

A WireGuard interface chooses the peer by allowed IPs, not by the kernel's next hop, and a prefix can
belong to one peer only. `decide` owns that choice; `liveness`, `probing` and `prober` supply what it
needs to know. No other room writes allowed IPs or routes that `decide` did not give.
"""

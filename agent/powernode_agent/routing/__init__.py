"""Routing: what FRR should be told, and what its sessions say. Pure; `frr` carries it out.

All iBGP networks of a host share one `router bgp`, because a host has one routing table. They are kept
apart by policy: each network's routes carry a mark (a large community) that is put on where they enter
and demanded where they leave, and no prefix is taken from a network that has the lesser claim to it.
"""

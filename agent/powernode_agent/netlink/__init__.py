"""The floor below the rooms: what the kernel's links, addresses and routes are, and how to change them.

`dispatcher.Netlink` is the only object that others hold; `records` are the values it speaks in.
"""

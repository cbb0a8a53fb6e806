"""WireGuard devices and their peers: the kernel's or wireguard-go's, behind one port.

Guarantees: an unchanged state writes nothing; one changed peer is one small write that no other session
notices; an endpoint that WireGuard learned by itself stays; a device that could not be read is unknown,
never empty. `target`, `difference`, `rotation` and `uapi` are pure; `subsystem` is the shell that holds
what was observed; `userspace` and `kernel` do the I/O.
"""

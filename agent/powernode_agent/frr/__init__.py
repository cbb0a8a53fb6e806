"""How FRR is talked to: its daemons' vty sockets, its files, and one writer of its configuration.

What FRR should say is compiled in `routing`; this floor brings it about and reads it back.
"""

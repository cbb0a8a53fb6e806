"""What the agent keeps on disk: the last-known-good state, its identity, and keys it made itself.

Every file is written atomically, readable by the agent's user only, and carries a checksum. A file that
is not exactly what was written is refused with a reason, never repaired and never taken for "nothing
there": a node that guesses takes tunnels down.
"""

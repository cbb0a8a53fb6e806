"""What a node should be, and the words in which rooms speak of what it is.

Everything here is frozen, validated when it is made, and free of I/O: whoever holds a `DesiredState`
holds a valid one. The words are the runbook's. Imports nothing of ours but `errors`.
"""

"""k3s on this node, as far as its pods go over the overlay: one file that k3s reads when it starts.

The file is there before k3s first starts, because the agent is not ready without it and k3s waits for
the agent; a later change restarts k3s once. Everything else of k3s and of flannel is left alone: the
routes that flannel makes are followed by `paths`.
"""

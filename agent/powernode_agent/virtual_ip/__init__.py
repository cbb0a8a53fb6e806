"""Virtual IPs: a node has the address on its link exactly while it is told to hold it.

On static networks paths lead to whoever holds; on iBGP networks the address is announced because it
is there (`redistribute connected`), and its metric carries the holder's preference. So a move is an
address on two nodes, and nothing else of either changes.
"""

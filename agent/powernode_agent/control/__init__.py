"""The unix socket in the run directory through which the command line talks to the daemon.

`protocol` and `client` use the standard library only: the command line imports them on every call.
`server` and `documents` are the daemon's half.
"""

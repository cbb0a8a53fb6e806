"""The operator's face: run, status, plan, enrol, purge, version.

Answers come from the daemon over its control socket; this side imports typer and the standard library
and nothing else until a verb needs it, because a status that takes a second is not asked for twice.
"""

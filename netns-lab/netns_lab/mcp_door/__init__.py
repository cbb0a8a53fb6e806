"""The MCP server: the platform's actions as tools of the Model Context Protocol, for one account.

It is a door and no more: every tool is an action of the catalogue, called over the control socket, so
that what is checked, logged and answered is the same as by any other door. What it adds is the
runbook's last section: destructive calls are confirmed by a person before they are made.
"""

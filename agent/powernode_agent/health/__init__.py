"""The runbook's troubleshooting table as code: what is wrong with a node, why, and what to do.

`codes` is the table; nothing is reported, shown or documented that has no row in it. `conditions` says
what of it holds at this moment, `evaluate` what of that has lasted long enough and is no mere symptom
of something else. All of it is pure: what has to be remembered between two looks, and the time, are
passed in. The status report, `status`, `doctor`, the metrics and agent/HEALTH.md are fed from here.
"""

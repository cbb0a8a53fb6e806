"""`make lab`: the runbook's phases on a running lab, with evidence for each step.

Each step does what an operator would do, then looks at the result with something other than our own
reports: packets counted by the prober, `wg`, `ip`. A step that fails is told and the others go on, so
that one run shows all that is wrong; the exit code then is not zero.
"""

"""What the node says of itself, built from what was measured.

Everything here is pure: observations in, status out. Unknown stays unknown (None), never zero and
never "ok"; every time comes in from outside.
"""

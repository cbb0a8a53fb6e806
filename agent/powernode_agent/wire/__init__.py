"""Protobuf to model and back: the only room that knows protobuf.

Nothing from the wire is trusted. What comes in becomes a valid model or a `ModelError` that names every
violation; what this version has no room for is refused, never ignored.
"""

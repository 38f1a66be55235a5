"""Memory that received bodies lie in: one fresh buffer for each body, never reused.

A view that a handler keeps is therefore safe for as long as it keeps it.
"""


class FreshBuffers:
    """`triggers.protocols.Buffers` by plain allocation."""

    def allocate(self, size_bytes: int) -> memoryview:
        """A writable buffer of exactly `size_bytes`."""
        return memoryview(bytearray(size_bytes))

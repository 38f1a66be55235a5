"""Run a handler on events in a test: in memory, or on real parts."""

__all__: list[str] = []

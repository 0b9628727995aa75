"""A resolver with a cache: one query at a time for a name."""

__all__: list[str] = []

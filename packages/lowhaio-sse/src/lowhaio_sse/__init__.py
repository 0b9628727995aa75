"""Server-sent events: a body of bytes to events."""

__all__: list[str] = []

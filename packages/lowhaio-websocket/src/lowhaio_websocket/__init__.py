"""The opening handshake of a WebSocket as header lines, and the check of its response."""

__all__: list[str] = []

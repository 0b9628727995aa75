"""One call for one request, from a URL to a status, headers and a body."""

__all__: list[str] = []

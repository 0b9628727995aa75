"""An exchange that follows redirects and keeps credentials with their origin."""

__all__: list[str] = []

"""A download that goes on where it broke off."""

__all__: list[str] = []

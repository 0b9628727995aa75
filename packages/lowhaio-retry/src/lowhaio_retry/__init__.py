"""An exchange tried again where nothing can be done twice."""

__all__: list[str] = []

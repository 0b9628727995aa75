"""AWS Signature Version 4: the header lines that sign a request."""

__all__: list[str] = []

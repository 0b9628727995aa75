"""multipart/form-data as a streamed body whose length is known beforehand."""

__all__: list[str] = []

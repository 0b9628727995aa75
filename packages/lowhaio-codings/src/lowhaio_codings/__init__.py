"""Any decompressor with the interface of the standard library as a body wrapper: zstd, bz2, xz, brotli."""

__all__: list[str] = []

"""Connections through an HTTP proxy (CONNECT) or a SOCKS5 proxy."""

__all__: list[str] = []

"""httpx 0.28 on lowhaio: `AsyncLowhaioTransport` takes the place of `httpx.AsyncHTTPTransport`.

    async with httpx.AsyncClient(transport=AsyncLowhaioTransport()) as client:
        ...

What it does is in `lowhaio_transport`, which is handed the library here.
"""

import httpcore
import httpx

from lowhaio_transport import LowhaioTransport

__all__ = ['AsyncLowhaioTransport']


class AsyncLowhaioTransport(LowhaioTransport, httpx.AsyncBaseTransport, library=httpx, httpcore=httpcore):
    """A transport for `httpx.AsyncClient`, with the arguments of `httpx.AsyncHTTPTransport`."""

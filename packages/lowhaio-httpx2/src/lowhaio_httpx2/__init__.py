"""httpx2 on lowhaio: `AsyncLowhaioTransport` takes the place of `httpx2.AsyncHTTPTransport`.

    async with httpx2.AsyncClient(transport=AsyncLowhaioTransport()) as client:
        ...

What it does is in `lowhaio_transport`, which is handed the library here.
"""

import httpcore2
import httpx2

from lowhaio_transport import LowhaioTransport

__all__ = ['AsyncLowhaioTransport']


class AsyncLowhaioTransport(LowhaioTransport, httpx2.AsyncBaseTransport, library=httpx2, httpcore=httpcore2):
    """A transport for `httpx2.AsyncClient`, with the arguments of `httpx2.AsyncHTTPTransport`."""

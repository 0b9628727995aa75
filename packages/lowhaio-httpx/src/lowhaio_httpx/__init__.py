"""httpx on lowhaio.

async with httpx.AsyncClient(transport=AsyncLowhaioTransport()) as client:
    ...
"""

import httpcore
import httpx

from lowhaio_transport import LowhaioTransport

__all__ = ['AsyncLowhaioTransport']


class AsyncLowhaioTransport(LowhaioTransport, httpx.AsyncBaseTransport, library=httpx, httpcore=httpcore):
    """A transport for `httpx.AsyncClient`, with the arguments of `httpx.AsyncHTTPTransport`."""

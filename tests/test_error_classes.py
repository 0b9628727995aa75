"""The classes of errors: each is public, in its families, and crosses processes."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator

import pytest

import lowhaio


def error_classes(base: type[lowhaio.LowhaioError] = lowhaio.LowhaioError) -> Iterator[type[lowhaio.LowhaioError]]:
    for cls in base.__subclasses__():
        yield cls
        yield from error_classes(cls)


ERRORS: list[type[lowhaio.LowhaioError]] = sorted(
    {lowhaio.LowhaioError, *error_classes()}, key=lambda cls: cls.__name__
)


@pytest.mark.parametrize('cls', ERRORS, ids=[cls.__name__ for cls in ERRORS])
def test_errors_cross_processes(cls: type[lowhaio.LowhaioError]) -> None:
    """Pickled or copied, an error keeps its class, its text and its figures."""
    error = cls('text', bytes_sent=1, bytes_received=2, reused=True)
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is cls
        assert str(again) == 'text'
        assert (again.bytes_sent, again.bytes_received, again.reused) == (1, 2, True)


@pytest.mark.parametrize('cls', ERRORS, ids=[cls.__name__ for cls in ERRORS])
def test_every_error_is_public(cls: type[lowhaio.LowhaioError]) -> None:
    assert getattr(lowhaio, cls.__name__) is cls
    assert cls.__name__ in lowhaio.__all__


FAMILIES = {'Unsent': lowhaio.UnsentError, 'Sent': lowhaio.SentError}
KINDS = {
    'Timeout': (lowhaio.TransferTimeoutError, TimeoutError),
    'Closed': (lowhaio.ClosedError, ConnectionError),
    'TLS': (lowhaio.TLSError, lowhaio.LowhaioError),
    'RemoteProtocol': (lowhaio.RemoteProtocolError, lowhaio.LowhaioError),
    'LocalProtocol': (lowhaio.LocalProtocolError, lowhaio.LowhaioError),
}


@pytest.mark.parametrize('family', FAMILIES)
@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_in_both_families(family: str, kind: str) -> None:
    """Each can be caught by its family, by its kind, and by what Python has for it."""
    cls = getattr(lowhaio, f'{family}{kind}Error')
    assert issubclass(cls, FAMILIES[family])
    assert all(issubclass(cls, base) for base in KINDS[kind])
    assert not issubclass(cls, next(other for name, other in FAMILIES.items() if name != family))

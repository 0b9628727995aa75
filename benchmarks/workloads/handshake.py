"""A new TLS connection for every request: the server closes each after one response, and resumes no session."""

from workloads import Workload

BODY = 'x' * 100


def handshake(connections: int) -> Workload:
    return Workload(
        name=f'handshake_{connections}',
        title=f'A new TLS connection for every GET, {connections} at once',
        operation='get',
        path='/close',
        tls=True,
        connections=connections,
        reuse=False,
        location=lambda megabytes: f"location = /close {{ keepalive_timeout 0; return 200 '{BODY}'; }}",
        body_bytes=lambda megabytes: len(BODY),
    )


WORKLOADS = (handshake(1), handshake(32))

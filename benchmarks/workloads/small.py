"""GETs of 100 bytes over kept connections, with the 5 headers that nginx sends, and with 20; and POSTs of 1 KB."""

from workloads import Workload

BODY = 'x' * 100
LOCATION = f"location = /small {{ return 200 '{BODY}'; }}"
MORE_HEADERS = {
    'Cache-Control': 'public, max-age=3600, stale-while-revalidate=60',
    'ETag': '"5f3a1b2c4d5e6f708192a3b4c5d6e7f8"',
    'Expires': 'Thu, 31 Dec 2099 23:59:59 GMT',
    'Vary': 'Accept-Encoding, Accept-Language',
    'Set-Cookie': 'session=4c6f72656d20697073756d20646f6c6f72; Path=/; HttpOnly; Secure; SameSite=Lax',
    'Strict-Transport-Security': 'max-age=31536000; includeSubDomains',
    'Content-Security-Policy': "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'strict-origin-when-cross-origin',
    'X-Request-Id': '7b1d2f3e-4a5b-4c6d-8e7f-90a1b2c3d4e5',
    'X-RateLimit-Limit': '5000',
    'X-RateLimit-Remaining': '4987',
    'X-RateLimit-Reset': '1893456000',
    'Server-Timing': 'app;dur=12.3, db;dur=4.5',
}
HEADERS_LOCATION = (
    'location = /headers { '
    + ' '.join(
        f"add_header {name} '{value.replace(chr(39), chr(92) + chr(39))}';" for name, value in MORE_HEADERS.items()
    )
    + f" return 200 '{BODY}'; }}"
)


def small(name: str, connections: int, *, tls: bool) -> Workload:
    return Workload(
        name=name,
        title=f'Small GETs, {connections} connection{"s" * (connections > 1)}, {"TLS" if tls else "plain"}',
        operation='get',
        path='/small',
        tls=tls,
        connections=connections,
        location=lambda megabytes: LOCATION,
        body_bytes=lambda megabytes: len(BODY),
    )


WORKLOADS = (
    *(
        small(f'get_{connections}{"_tls" * tls}', connections, tls=tls)
        for connections in (1, 32, 256)
        for tls in (False, True)
    ),
    Workload(
        name='headers_32',
        title='Small GETs with 20 response headers, 32 connections, plain',
        operation='get',
        path='/headers',
        connections=32,
        location=lambda megabytes: HEADERS_LOCATION,
        body_bytes=lambda megabytes: len(BODY),
    ),
    Workload(
        name='post_32',
        title='POSTs of 1 KB of JSON with 10 headers, 32 connections, plain',
        operation='post',
        path='/small',
        connections=32,
        location=lambda megabytes: LOCATION,
        body_bytes=lambda megabytes: len(BODY),
    ),
    small('get_2000', 2000, tls=False),
)

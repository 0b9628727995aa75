"""One large POST after another over one connection, plain and TLS.

nginx must take the whole body before it answers, or clients would stop sending early. It does so for a request that it
passes on, so it is made a proxy of itself: it keeps the body in memory, passes on how long the request was, and
answers 400 to itself when a body was cut short (chunks and headers may add to it, a hundredth at most).
"""

from workloads import MEGABYTE, Workload

ANSWER = 'ok'


def location(megabytes: int) -> str:
    digits = str(megabytes * MEGABYTE)
    return f"""
        location = /upload {{
            client_body_buffer_size 1500m;
            proxy_pass http://itself/received;
            proxy_pass_request_body off;
            proxy_set_header Content-Length '';
            proxy_set_header Received $request_length;
        }}
        location = /received {{
            if ($http_received !~ '^{digits[:2]}[0-9]{{{len(digits) - 2}}}$') {{ return 400; }}
            return 200 '{ANSWER}';
        }}"""


def upload(name: str, *, tls: bool) -> Workload:
    return Workload(
        name=name,
        title=f'Upload, {"TLS" if tls else "plain"}',
        operation='upload',
        path='/upload',
        unit='bytes',
        tls=tls,
        location=location,
        body_bytes=lambda megabytes: len(ANSWER),
        upload_bytes=lambda megabytes: megabytes * MEGABYTE,
    )


WORKLOADS = (upload('upload', tls=False), upload('upload_tls', tls=True))

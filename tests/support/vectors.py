"""Responses, what a client must make of each, and whether its connection may be used again.

A `Vector` is one response to one request. It is accepted with the codes, headers and body that it names, or refused
with its `error`. `section` is where the rule stands: `9112-6.3` is RFC 9112 section 6.3. What the RFCs leave open, the
tables of the project's design decide, and then in favour of refusing or of closing.

`tests/test_wire.py` runs them. `TOPICS` has them all, and no two have the same name.

The server closes the connection after the response where it can end in no other way: `until_close`, or an `error` that
says that the connection was lost. Else it waits for the next request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import lowhaio
from lowhaio_chunked import MalformedError

CHUNK_BYTES = 256
"""The setting to run the vectors with."""
LIMIT = 65536
"""The most bytes of a line, whatever `chunk_bytes` is."""
HEAD_LIMIT = 262144
"""The most bytes of a head, up to the end of its empty line."""

GET = b'GET / HTTP/1.1\r\nhost: example.com\r\n\r\n'
HEAD = b'HEAD / HTTP/1.1\r\nhost: example.com\r\n\r\n'
CONNECT = b'CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n'
POST = b'POST / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 4\r\n\r\nbody'

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, kw_only=True)
class Vector:
    """One response, and what becomes of it.

    codes: of the interim responses, and of the final one.
    headers: of the final response.
    body: as the caller gets it, without the chunks where `chunked`.
    until_close: the end of the connection is the end of the body, so that whatever follows belongs to it.
    surplus: bytes that follow the response at once, and belong to nothing.
    chunked: the caller undoes the chunks of the body.
    reusable: another request may follow on the connection, if no byte follows the response.
    error: the class of the error, where it is refused.
    says: what stands in the error's message, as a regular expression.
    """

    name: str
    section: str
    response: bytes
    request: bytes = GET
    codes: tuple[bytes, ...] = (b'200',)
    headers: Headers = ()
    body: bytes = b''
    until_close: bool = False
    surplus: bytes = b''
    chunked: bool = False
    reusable: bool = True
    error: type[Exception] | None = None
    says: str = ''

    @property
    def server_closes(self) -> bool:
        """Whether the server closes the connection after the response."""
        return self.until_close or self.error is lowhaio.SentClosedError


def refused(name: str, section: str, response: bytes, says: str, request: bytes = GET) -> Vector:
    """A response that breaks the protocol."""
    return Vector(
        name=name,
        section=section,
        response=response,
        request=request,
        reusable=False,
        error=lowhaio.SentRemoteProtocolError,
        says=says,
    )


def cut_short(name: str, section: str, response: bytes, request: bytes = GET) -> Vector:
    """A response that ends before its end."""
    return Vector(
        name=name,
        section=section,
        response=response,
        request=request,
        reusable=False,
        error=lowhaio.SentClosedError,
        says='closed the connection before',
    )


LENGTH_2 = (b'content-length', b'2')
OK = b'HTTP/1.1 200 OK\r\n'
NOT_A_STATUS_LINE = 'not a status line'
NOT_A_HEADER = 'not a header line'
BARE_LF = 'not a header line|ends in LF without CR'
OVER_THE_LIMIT = f'limit of {LIMIT}'


# RFC 9112 section 4: status-line = HTTP-version SP status-code SP [ reason-phrase ]

STATUS_LINES_ACCEPTED = {
    'a reason': b'HTTP/1.1 200 OK',
    'an empty reason': b'HTTP/1.1 200 ',
    'no reason and no space': b'HTTP/1.1 200',
    'a reason that begins with a space': b'HTTP/1.1 200  OK',
    'a reason of spaces': b'HTTP/1.1 200    ',
    'a reason with a tab': b'HTTP/1.1 200 all\tright',
    'a reason in Latin-1': b'HTTP/1.1 200 tr\xe8s bien',
    'a reason in UTF-8': 'HTTP/1.1 200 tr\u00e8s bien'.encode(),
    'a reason with control characters': b'HTTP/1.1 200 \x01\x0b\x0c\x1b\x7f',
    'a reason with what Unicode takes for line ends': b'HTTP/1.1 200 a\x85b\xe2\x80\xa8c',
    'a reason with another code': b'HTTP/1.1 200 404 Not Found',
    'a reason that is a status line': b'HTTP/1.1 200 HTTP/1.1 500 No',
    'a reason that is a header': b'HTTP/1.1 200 content-length: 9',
    'a redirect': b'HTTP/1.1 301 Moved Permanently',
    'a client error': b'HTTP/1.1 404 Not Found',
    'a server error': b'HTTP/1.1 503 Service Unavailable',
    'the smallest code with a body': b'HTTP/1.1 000 Zero',
    'a code below 100': b'HTTP/1.1 099 Nothing',
    'the largest code': b'HTTP/1.1 999 Everything',
    'a code that is not registered': b'HTTP/1.1 299 Own',
    'a code in no class': b'HTTP/1.1 678 Own',
    'a 205, which has a body like any other': b'HTTP/1.1 205 Reset Content',
    'a 206': b'HTTP/1.1 206 Partial Content',
    'a 226': b'HTTP/1.1 226 IM Used',
    'HTTP/1.2, processed as 1.1': b'HTTP/1.2 200 OK',  # RFC 9110 section 2.5
    'HTTP/1.9, processed as 1.1': b'HTTP/1.9 200 OK',
}

STATUS_LINES_REFUSED = {
    'HTTP/0.9': b'HTTP/0.9 200 OK',
    'HTTP/1 with a letter': b'HTTP/1.x 200 OK',
    'HTTP/1 with a digit of another alphabet': 'HTTP/1.\u0661 200 OK'.encode(),
    'HTTP/2': b'HTTP/2 200 OK',
    'HTTP/2.0': b'HTTP/2.0 200 OK',
    'HTTP/3': b'HTTP/3 200 OK',
    'no minor version': b'HTTP/1 200 OK',
    'an empty minor version': b'HTTP/1. 200 OK',
    'no dot in the version': b'HTTP/11 200 OK',
    'two digits of minor version': b'HTTP/1.10 200 OK',
    'a zero before the minor version': b'HTTP/1.01 200 OK',
    'a zero before the major version': b'HTTP/01.1 200 OK',
    'a sign in the version': b'HTTP/+1.1 200 OK',
    'a comma in the version': b'HTTP/1,1 200 OK',
    'a version in lower case': b'http/1.1 200 OK',
    'a version in mixed case': b'Http/1.1 200 OK',
    'HTTPS as the protocol': b'HTTPS/1.1 200 OK',
    'a blank in the version': b'HTTP /1.1 200 OK',
    'a blank in the version number': b'HTTP/1. 1 200 OK',
    'another protocol': b'ICY 200 OK',
    'RTSP': b'RTSP/1.0 200 OK',
    'SIP': b'SIP/2.0 200 OK',
    'the greeting of an SSH server': b'SSH-2.0-OpenSSH_9.6',
    'the greeting of a mail server': b'220 mail.example.com ESMTP',
    'a page without a head, as in HTTP/0.9': b'<html>hello</html>',
    'a request': b'GET / HTTP/1.1',
    'a header line': b'content-length: 2',
    'a space before it': b' HTTP/1.1 200 OK',
    'a tab before it': b'\tHTTP/1.1 200 OK',
    'a NUL before it': b'\0HTTP/1.1 200 OK',
    'a byte order mark before it': b'\xef\xbb\xbfHTTP/1.1 200 OK',
    'an empty line before it': b'\r\nHTTP/1.1 200 OK',
    'a bare LF before it': b'\nHTTP/1.1 200 OK',
    'a bare CR before it': b'\rHTTP/1.1 200 OK',
    'the end of a chunked body before it': b'0\r\n\r\nHTTP/1.1 200 OK',
    'no space before the code': b'HTTP/1.1200 OK',
    'two spaces before the code': b'HTTP/1.1  200 OK',
    'a tab before the code': b'HTTP/1.1\t200 OK',
    'a vertical tab before the code': b'HTTP/1.1\x0b200 OK',
    'a no-break space before the code': b'HTTP/1.1\xa0200 OK',
    'a tab after the code': b'HTTP/1.1 200\tOK',
    'no space after the code': b'HTTP/1.1 200OK',
    'no code': b'HTTP/1.1',
    'no code, but a space': b'HTTP/1.1 ',
    'no code, but a reason': b'HTTP/1.1 OK',
    'a code of one digit': b'HTTP/1.1 2 OK',
    'a code of two digits': b'HTTP/1.1 20 OK',
    'a code of four digits': b'HTTP/1.1 2000 OK',
    'a code with a plus': b'HTTP/1.1 +20 OK',
    'a code with a minus': b'HTTP/1.1 -20 OK',
    'a code with a blank': b'HTTP/1.1 2 0 OK',
    'a code with an underscore': b'HTTP/1.1 2_0 OK',
    'a code with letters': b'HTTP/1.1 2OO OK',
    'a code in hexadecimal': b'HTTP/1.1 0xC OK',
    'a code with a fraction': b'HTTP/1.1 200.1 OK',
    'a code with a NUL': b'HTTP/1.1 2\x000 OK',
    'a code in Arabic digits': 'HTTP/1.1 \u0662\u0660\u0660 OK'.encode(),
    'a code in full-width digits': 'HTTP/1.1 \uff12\uff10\uff10 OK'.encode(),
    'a code with a superscript digit': b'HTTP/1.1 20\xb2 OK',
    'a NUL in the reason': b'HTTP/1.1 200 O\0K',
    'a bare CR in the reason': b'HTTP/1.1 200 O\rK',
    'a bare CR that hides a header': b'HTTP/1.1 200 OK\rcontent-length: 9',
    'a bare LF that hides a header': b'HTTP/1.1 200 OK\ncontent-length: 9',
    'two CRs at its end': b'HTTP/1.1 200 OK\r',
    'LF CR at its end': b'HTTP/1.1 200 OK\n\r',
    'a bare LF at its end': b'HTTP/1.1 200 OK\ncontent-length: 2\n\nok\n',
}


def status_lines() -> Iterator[Vector]:
    """What a response begins with."""
    rest = b'\r\ncontent-length: 2\r\n\r\nok'
    for name, line in STATUS_LINES_ACCEPTED.items():
        yield Vector(
            name=name, section='9112-4', response=line + rest, codes=(line[9:12],), headers=(LENGTH_2,), body=b'ok'
        )
    yield Vector(
        name='HTTP/1.0',
        section='9112-2.3',
        response=b'HTTP/1.0 200 OK' + rest,
        headers=(LENGTH_2,),
        body=b'ok',
        reusable=False,
    )
    for name, line in STATUS_LINES_REFUSED.items():
        # By the byte, a line that ends in a bare LF is refused for that, or for what it is until then.
        yield refused(f'status line: {name}', '9112-4', line + rest, f'{NOT_A_STATUS_LINE}|ends in LF without CR')


# RFC 9112 section 5: field-line = field-name ":" OWS field-value OWS

HEADERS_ACCEPTED: dict[str, tuple[bytes, Headers]] = {
    'every character of a token': (
        b"!#$%&'*+-.^_`|~09AZaz: v",
        ((b"!#$%&'*+-.^_`|~09azaz", b'v'),),
    ),
    'a name of one digit': (b'1: v', ((b'1', b'v'),)),
    'a name of one dash': (b'-: v', ((b'-', b'v'),)),
    'no space after the colon': (b'a:v', ((b'a', b'v'),)),
    'a tab after the colon': (b'a:\tv', ((b'a', b'v'),)),
    'blanks around the value': (b'a: \t  v \t ', ((b'a', b'v'),)),
    'blanks inside the value': (b'a: v  \t w', ((b'a', b'v  \t w'),)),
    'an empty value': (b'a:', ((b'a', b''),)),
    'a value of blanks': (b'a: \t ', ((b'a', b''),)),
    'a value with colons': (b'a: b: c:', ((b'a', b'b: c:'),)),
    'a value that is a colon': (b'a::', ((b'a', b':'),)),
    'a value with commas, not split': (b'a: b, c', ((b'a', b'b, c'),)),
    'a quoted value': (b'a: "b, \\"c"', ((b'a', b'"b, \\"c"'),)),
    'a value that is a status line': (b'a: HTTP/1.1 500 No', ((b'a', b'HTTP/1.1 500 No'),)),
    'a value in Latin-1': (b'a: \xe9\xff', ((b'a', b'\xe9\xff'),)),
    'a value in UTF-8': ('a: \u00e9'.encode(), ((b'a', '\u00e9'.encode()),)),
    'control characters in the value': (b'a: b\x01\x1b\x7fc', ((b'a', b'b\x01\x1b\x7fc'),)),
    'other white space around the value, kept': (b'a: \x0b\xa0b\x85\x0c', ((b'a', b'\x0b\xa0b\x85\x0c'),)),
    'names in lower case, values as they are': (b'X-Name: Value', ((b'x-name', b'Value'),)),
    'two of the same name': (b'a: 1\r\na: 2', ((b'a', b'1'), (b'a', b'2'))),
    'two of the same name, another between': (
        b'a: 1\r\nb: 2\r\nA: 3',
        ((b'a', b'1'), (b'b', b'2'), (b'a', b'3')),
    ),
    'cookies': (
        b'Set-Cookie: a=b; path=/\r\nSet-Cookie: c=d',
        ((b'set-cookie', b'a=b; path=/'), (b'set-cookie', b'c=d')),
    ),
    'underscore for dash in Content-Length': (b'content_length: 1', ((b'content_length', b'1'),)),
    'a dash more in Content-Length': (b'content--length: 1', ((b'content--length', b'1'),)),
    'one letter more than Content-Length': (b'content-lengths: 1', ((b'content-lengths', b'1'),)),
    'a prefix before Content-Length': (b'x-content-length: 1', ((b'x-content-length', b'1'),)),
    'underscore for dash in Transfer-Encoding': (b'transfer_encoding: chunked', ((b'transfer_encoding', b'chunked'),)),
    'no dash in Transfer-Encoding': (b'transferencoding: chunked', ((b'transferencoding', b'chunked'),)),
    'one letter more than Transfer-Encoding': (b'transfer-encodings: chunked', ((b'transfer-encodings', b'chunked'),)),
    'a prefix before Transfer-Encoding': (b'x-transfer-encoding: chunked', ((b'x-transfer-encoding', b'chunked'),)),
    'a quote before Transfer-Encoding': (b"'transfer-encoding: chunked", ((b"'transfer-encoding", b'chunked'),)),
    'TE, which is for requests': (b'te: chunked', ((b'te', b'chunked'),)),
    'Trailer, which promises nothing': (b'trailer: content-length', ((b'trailer', b'content-length'),)),
    'chunked as a content coding': (b'content-encoding: chunked', ((b'content-encoding', b'chunked'),)),
    'a header inside the value of another': (
        b'a: transfer-encoding: chunked',
        ((b'a', b'transfer-encoding: chunked'),),
    ),
}

# RFC 9112 section 5.2: what the recipient makes of a line that goes on in the next, and whether it frames the message

FOLDS_ACCEPTED: dict[str, tuple[bytes, Headers, bool]] = {
    'with a space': (b'a: b\r\n c', ((b'a', b'b c'),), False),
    'with a tab': (b'a: b\r\n\tc', ((b'a', b'b c'),), False),
    'with many blanks': (b'a: b \t \r\n \t c \t', ((b'a', b'b c'),), False),
    'with a colon': (b'a: b\r\n c: d', ((b'a', b'b c: d'),), False),
    'twice': (b'a: b\r\n c\r\n\td', ((b'a', b'b c d'),), False),
    'before another header': (b'a: b\r\n c\r\nd: e', ((b'a', b'b c'), (b'd', b'e')), False),
    'twice, in two headers': (b'a: b\r\n c\r\nd: e\r\n f', ((b'a', b'b c'), (b'd', b'e f')), False),
    'an empty value': (b'a:\r\n b', ((b'a', b'b'),), False),
    'a line of one space': (b'a: b\r\n ', ((b'a', b'b'),), False),
    'a line of blanks between': (b'a: b\r\n \t\r\n c', ((b'a', b'b  c'),), False),
    'what looks like a header that frames': (
        b'a: b\r\n transfer-encoding: chunked',
        ((b'a', b'b transfer-encoding: chunked'),),
        False,
    ),
    'Connection, which is not reused': (b'connection: keep-alive,\r\n a', ((b'connection', b'keep-alive, a'),), True),
    'a Content-Length, which is not reused': (b'content-length:\r\n 2', ((b'content-length', b'2'),), True),
}

# RFC 9110 section 5.6.2: the delimiters, and what else is not in a token
NOT_IN_A_TOKEN = b'"(),/;<=>?@[\\]{} \t\x01\x0b\x0c\x1f\x7f\x80\xa0\xff'

HEADERS_REFUSED: dict[str, tuple[str, bytes]] = {
    'space before the colon': ('9112-5.1', b'a : v'),
    'tab before the colon': ('9112-5.1', b'a\t: v'),
    'no name': ('9112-5', b': v'),
    'no name and no value': ('9112-5', b':'),
    'no colon': ('9112-5', b'name'),
    'a name in UTF-8': ('9112-5', 'na\u00efve: v'.encode()),
    'a Unicode dash in Transfer-Encoding': ('9112-5', 'transfer\u2010encoding: chunked'.encode()),
    'a semicolon for the colon': ('9112-5', b'transfer-encoding; chunked'),
    'an equals sign for the colon': ('9112-5', b'content-length=2'),
    'a status line among the headers': ('9112-5', b'HTTP/1.1 200 OK'),
    'a request line with a colon among the headers': ('9112-5', b'GET http://a/ HTTP/1.1'),
    'a folded first line, with a space': ('9112-2.2', b' a: v'),
    'a folded first line, with a tab': ('9112-2.2', b'\ta: v'),
    'a folded first line that hides Transfer-Encoding': ('9112-2.2', b' transfer-encoding: chunked'),
    'a line break before the colon': ('9112-5', b'transfer-encoding\r\n: chunked'),
    'space before the colon of Content-Length': ('9112-5.1', b'content-length : 2'),
    'tab before the colon of Content-Length': ('9112-5.1', b'content-length\t: 2'),
    'space before the colon of Transfer-Encoding': ('9112-5.1', b'transfer-encoding : chunked'),
    'space in the middle of Transfer-Encoding': ('9112-5.1', b'transfer encoding: chunked'),
    'vertical tab before Transfer-Encoding': ('9112-5', b'\x0btransfer-encoding: chunked'),
    'vertical tab before the colon of Transfer-Encoding': ('9112-5', b'transfer-encoding\x0b: chunked'),
    'no-break space before the colon': ('9112-5', b'transfer-encoding\xa0: chunked'),
    'a backspace in the name': ('9112-5', b'transfer-encodingx\x08: chunked'),
    'NUL before the name': ('9110-5.5', b'\0transfer-encoding: chunked'),
    'NUL in the name': ('9110-5.5', b'transfer-\0encoding: chunked'),
    'NUL before the colon': ('9110-5.5', b'transfer-encoding\0: chunked'),
    'NUL before the value': ('9110-5.5', b'transfer-encoding:\0chunked'),
    'NUL after the value': ('9110-5.5', b'transfer-encoding: chunked\0'),
    'NUL in a value': ('9110-5.5', b'a: b\0c'),
    'NUL after a length': ('9110-5.5', b'content-length: 2\0'),
    'NUL alone': ('9110-5.5', b'\0'),
    'bare CR in a value': ('9112-2.2', b'a: b\rc'),
    'bare CR in a name': ('9112-2.2', b'a\rb: c'),
    'bare CR before a name': ('9112-2.2', b'\ra: b'),
    'bare CR at the end of a value': ('9112-2.2', b'a: b\r'),
    'bare CR alone': ('9112-2.2', b'\r'),
    'bare CR that hides Transfer-Encoding': ('9112-2.2', b'a: b\rtransfer-encoding: chunked'),
    'bare CR and space that hide Transfer-Encoding': ('9112-2.2', b'a: b\r transfer-encoding: chunked'),
    'bare CR that hides Content-Length': ('9112-2.2', b'a: b\rcontent-length: 9'),
    'bare CR after a length': ('9112-2.2', b'content-length: 2\r'),
    'bare CR after a coding': ('9112-2.2', b'transfer-encoding: chunked\r'),
    'bare CR before a coding': ('9112-2.2', b'transfer-encoding:\rchunked'),
    'bare LF in a value': ('9112-2.2', b'a: b\nc'),
    'bare LF before a name': ('9112-2.2', b'\na: b'),
    'bare LF between headers': ('9112-2.2', b'a: b\nc: d'),
    'bare LF that hides Transfer-Encoding': ('9112-2.2', b'a: b\ntransfer-encoding: chunked'),
    'bare LF that hides Content-Length': ('9112-2.2', b'a: b\ncontent-length: 9'),
    'bare LF before a folded line': ('9112-2.2', b'a: b\n c'),
    'LF CR between headers': ('9112-2.2', b'a: b\n\rc: d'),
    'CR LF in the wrong order at the end': ('9112-2.2', b'a: b\n\r'),
    'bare LF as the end of the headers': ('9112-2.2', b'a: b\r\n\nok\r\n'),
    'two bare LFs as the end of the headers': ('9112-2.2', b'a: b\n\nok'),
    'bare CR as the end of the headers': ('9112-2.2', b'a: b\r\n\r\r\nok'),
    'LF before the CRLF that ends the headers': ('9112-2.2', b'a: b\n\r\n'),
}


def header_lines() -> Iterator[Vector]:
    """Every header line stands before a Content-Length that would frame the body."""
    rest = b'\r\ncontent-length: 2\r\n\r\nok'
    for name, (line, headers) in HEADERS_ACCEPTED.items():
        yield Vector(
            name=f'header: {name}',
            section='9112-5',
            response=OK + line + rest,
            headers=(*headers, LENGTH_2),
            body=b'ok',
        )
    for byte in NOT_IN_A_TOKEN:
        line = b'na%cme: v' % byte
        yield refused(f'header: {bytes([byte])!r} in the name', '9110-5.6.2', OK + line + rest, NOT_A_HEADER)
    for name, (section, line) in HEADERS_REFUSED.items():
        yield refused(f'header: {name}', section, OK + line + rest, BARE_LF if b'\n' in line else NOT_A_HEADER)
    for name, (line, headers, frames) in FOLDS_ACCEPTED.items():
        yield Vector(
            name=f'header folded: {name}',
            section='9112-5.2',
            response=OK + line + rest,
            headers=(*headers, LENGTH_2),
            body=b'ok',
            reusable=not frames,
        )
    for name, lines, body in (
        ('with a space', b'transfer-encoding:\r\n chunked', b''),
        ('with a tab', b'transfer-encoding:\r\n\tchunked', b''),
        ('after another coding', b'transfer-encoding: gzip,\r\n chunked', b'gzip, '),
    ):
        yield Vector(
            name=f'header folded: Transfer-Encoding, {name}',
            section='9112-5.2',
            response=OK + lines + b'\r\n\r\n2\r\nok\r\n0\r\n\r\n',
            headers=((b'transfer-encoding', body + b'chunked'),),
            chunked=True,
            body=b'ok',
            reusable=False,
        )
    yield Vector(
        name='header folded: a coding in the middle, which is then another one',
        section='9112-6.3',
        response=OK + b'transfer-encoding: chun\r\n ked\r\n\r\nok',
        headers=((b'transfer-encoding', b'chun ked'),),
        body=b'ok',
        until_close=True,
        reusable=False,
    )
    for name, lines in (
        ('in the middle', b'content-length: 1\r\n 0'),
        ('by a line of its own', b'content-length: 2\r\n 0'),
        ('to a list of two', b'content-length: 2\r\n ,3'),
    ):
        yield refused(f'header folded: a length, {name}', '9112-6.3', OK + lines + b'\r\n\r\nok', 'Content-Length is')
    yield Vector(
        name='header folded: the last line, by a line with a space in it',
        section='9112-5.2',
        response=OK + b'content-length: 2\r\n \r\n\r\nok',
        headers=(LENGTH_2,),
        body=b'ok',
        reusable=False,
    )
    for name, line in (
        ('a name', b'a\r\n b: c'),
        ('before the colon', b'a\r\n : b'),
        ('NUL', b'a: b\r\n \0'),
        ('bare CR', b'a: b\r\n \rc'),
    ):
        yield refused(f'header folded: {name}', '9112-5.2', OK + line + rest, NOT_A_HEADER)
    yield refused(
        'header: bare LFs alone from the first header on', '9112-2.2', OK + b'content-length: 2\n\nok', BARE_LF
    )


# RFC 9110 section 8.6, RFC 9112 section 6.3: Content-Length = 1*DIGIT, or a list of one value repeated

LENGTHS_ACCEPTED: dict[str, bytes] = {
    'one digit': b'2',
    'a zero before it': b'02',
    '19 digits': b'0000000000000000002',
    'blanks around it': b' \t 2 \t ',
    'twice in a list': b'2, 2',
    'twice in a list without a blank': b'2,2',
    'twice in a list with blanks and tabs': b'2 \t,\t 2',
    'three times in a list': b'2, 2, 2',
    'twice, in two headers': b'2\r\ncontent-length: 2',
    'twice, in two headers, another between': b'2\r\na: b\r\ncontent-length: 2',
    'four times, in lists in two headers': b'2, 2\r\ncontent-length: 2, 2',
}

LENGTHS_REFUSED: dict[str, bytes] = {
    'empty': b'',
    'blanks': b' \t ',
    'plus': b'+2',
    'minus': b'-2',
    'minus zero': b'-0',
    'plus zero': b'+0',
    'minus one': b'-1',
    'a fraction': b'2.0',
    'a decimal point': b'2.',
    'an exponent': b'2e0',
    'hexadecimal': b'0x2',
    'hexadecimal in upper case': b'0X2',
    'hexadecimal without a prefix': b'a',
    'octal': b'0o2',
    'binary': b'0b10',
    'a suffix': b'2h',
    'a unit': b'2 bytes',
    'an underscore': b'1_0',
    'an underscore after it': b'2_',
    'a blank inside': b'1 0',
    'a tab inside': b'1\t0',
    'two lengths and a blank': b'2 2',
    'two lengths and a semicolon': b'2;2',
    'a parameter': b'2;a=b',
    'quotes': b'"2"',
    'single quotes': b"'2'",
    'parentheses': b'(2)',
    'a comment': b'2 (two)',
    'a thousands separator': b'2,000',
    'a comma after it': b'2,',
    'a comma before it': b',2',
    'a comma alone': b',',
    'an empty element in a list': b'2,,2',
    'an unequal list': b'2, 3',
    'an unequal list, the larger first': b'3, 2',
    'an unequal list with the last in the middle': b'2, 3, 2',
    'equal but for a zero': b'2, 02',
    'a list with a word': b'2, two',
    'a list with a sign': b'2, +2',
    'a list separated by semicolons': b'2; 2',
    'unequal, in two headers': b'2\r\ncontent-length: 3',
    'unequal, in two headers, zero first': b'0\r\ncontent-length: 2',
    'unequal, in two headers, another between': b'2\r\na: b\r\ncontent-length: 0',
    'equal but for a zero, in two headers': b'2\r\ncontent-length: 02',
    'equal and one invalid, in two headers': b'2\r\ncontent-length: +2',
    'an empty one beside a valid one': b'2\r\ncontent-length:',
    'an empty one before a valid one': b'\r\ncontent-length: 2',
    'a word': b'two',
    'not a number': b'NaN',
    'infinity': b'infinity',
    'a coding': b'chunked',
    'percent-encoding': b'%32',
    'an Arabic digit': '\u0662'.encode(),
    'a full-width digit': '\uff12'.encode(),
    'a superscript digit': b'\xb2',
    'a no-break space after it': b'2\xa0',
    'a no-break space before it': b'\xa02',
    'a vertical tab after it': b'2\x0b',
    'a vertical tab before it': b'\x0b2',
    'a form feed after it': b'2\x0c',
    'an escape after it': b'2\x1b',
    'a DEL after it': b'2\x7f',
    '20 digits': b'10000000000000000000',
    '20 digits, all but one zeros': b'00000000000000000002',
    'two to the 64th and two': b'18446744073709551618',
    '100 digits': b'9' * 100,
}


def content_lengths() -> Iterator[Vector]:
    """Content-Length in every form."""
    for name, form in LENGTHS_ACCEPTED.items():
        lines = b'content-length: ' + form
        headers = tuple((key, value.strip(b' \t')) for key, value in re.findall(rb'(\S+):(.*?)(?:\r\n|$)', lines))
        yield Vector(
            name=f'Content-Length: {name}',
            section='9112-6.3',
            response=OK + lines + b'\r\n\r\nok',
            headers=headers,
            body=b'ok',
        )
    for name, form in LENGTHS_REFUSED.items():
        response = OK + b'content-length: ' + form + b'\r\n\r\nok'
        yield refused(f'Content-Length: {name}', '9112-6.3', response, 'Content-Length is')
    yield Vector(
        name='Content-Length: zero',
        section='9112-6.3',
        response=OK + b'content-length: 0\r\n\r\n',
        headers=((b'content-length', b'0'),),
    )
    yield Vector(
        name='Content-Length: 19 zeros',
        section='9112-6.3',
        response=OK + b'content-length: 0000000000000000000\r\n\r\n',
        headers=((b'content-length', b'0000000000000000000'),),
    )
    yield Vector(
        name='Content-Length: a name in upper case',
        section='9110-5.1',
        response=OK + b'CONTENT-LENGTH: 2\r\n\r\nok',
        headers=(LENGTH_2,),
        body=b'ok',
    )
    yield Vector(
        name='Content-Length: a body that looks like a response',
        section='9112-6.3',
        response=OK + b'content-length: 38\r\n\r\n' + OK + b'content-length: 0\r\n\r\n',
        headers=((b'content-length', b'38'),),
        body=OK + b'content-length: 0\r\n\r\n',
    )
    yield Vector(
        name='Content-Length: a body of every byte',
        section='9112-6.3',
        response=OK + b'content-length: 256\r\n\r\n' + bytes(range(256)),
        headers=((b'content-length', b'256'),),
        body=bytes(range(256)),
    )
    yield Vector(
        name='Content-Length: a body over the limit of a line',
        section='9112-6.3',
        response=OK + b'content-length: 600\r\n\r\n' + b'x' * 600,
        headers=((b'content-length', b'600'),),
        body=b'x' * 600,
    )
    for name, length, body, surplus in (
        ('one byte more than announced', b'2', b'ok', b'!'),
        ('a body where none was announced', b'0', b'', b'ok'),
        ('an empty line more than announced', b'2', b'ok', b'\r\n'),
        ('a whole response more than announced', b'2', b'ok', OK + b'content-length: 0\r\n\r\n'),
    ):
        yield Vector(
            name=f'Content-Length: {name}',
            section='9112-9.2',
            response=OK + b'content-length: ' + length + b'\r\n\r\n' + body,
            headers=((b'content-length', length),),
            body=body,
            surplus=surplus,
            reusable=False,
        )
    for name, body in (('no byte', b''), ('one byte of two', b'o')):
        yield cut_short(f'Content-Length: {name} came', '9112-8', OK + b'content-length: 2\r\n\r\n' + body)
    yield cut_short('Content-Length: the largest', '9112-8', OK + b'content-length: 9999999999999999999\r\n\r\nok')
    yield cut_short('Content-Length: a list, one byte of two came', '9112-8', OK + b'content-length: 2, 2\r\n\r\no')


# RFC 9112 section 6.1: Transfer-Encoding = #transfer-coding

CHUNKS = b'2\r\nok\r\n0\r\n\r\n'
CHUNKED = (b'transfer-encoding', b'chunked')

CODINGS_CHUNKED: dict[str, tuple[bytes, bool]] = {
    'chunked': (b'transfer-encoding: chunked', True),
    'no blank': (b'transfer-encoding:chunked', True),
    'blanks around it': (b'transfer-encoding: \t chunked \t ', True),
    'upper case': (b'TRANSFER-ENCODING: CHUNKED', True),
    'mixed case': (b'Transfer-Encoding: cHuNkEd', True),
    'another coding first': (b'transfer-encoding: gzip, chunked', True),
    'an unknown coding first': (b'transfer-encoding: cow, chunked', True),
    'identity first': (b'transfer-encoding: identity, chunked', True),
    'two other codings first': (b'transfer-encoding: deflate, gzip,chunked', True),
    'another coding first, in a header of its own': (b'transfer-encoding: gzip\r\ntransfer-encoding: chunked', True),
    'an empty element first': (b'transfer-encoding: , chunked', True),
    'twice in a list': (b'transfer-encoding: chunked, chunked', False),
    'twice in a list, another between': (b'transfer-encoding: chunked, gzip, chunked', False),
    'twice, in two headers': (b'transfer-encoding: chunked\r\ntransfer-encoding: chunked', False),
    'twice, once in upper case': (b'transfer-encoding: chunked\r\ntransfer-encoding: CHUNKED', False),
    'an empty element after it': (b'transfer-encoding: chunked,', False),
    'an empty header after it': (b'transfer-encoding: chunked\r\ntransfer-encoding:', False),
    'with a Content-Length after it': (b'transfer-encoding: chunked\r\ncontent-length: 2', False),
    'with a Content-Length before it': (b'content-length: 2\r\ntransfer-encoding: chunked', False),
    'with the Content-Length of the chunks': (b'content-length: 12\r\ntransfer-encoding: chunked', False),
    'with a Content-Length of 0': (b'content-length: 0\r\ntransfer-encoding: chunked', False),
    'with a huge Content-Length': (b'content-length: 9999999999999999999\r\ntransfer-encoding: chunked', False),
    'with a malformed Content-Length': (b'content-length: -1\r\ntransfer-encoding: chunked', False),
    'with an empty Content-Length': (b'content-length:\r\ntransfer-encoding: chunked', False),
    'with unequal Content-Lengths': (b'content-length: 2, 3\r\ntransfer-encoding: chunked', False),
    'with Connection: close': (b'connection: close\r\ntransfer-encoding: chunked', False),
}

CODINGS_TO_THE_END: dict[str, bytes] = {
    'empty': b'',
    'a comma alone': b',',
    'gzip alone': b'gzip',
    'identity alone': b'identity',
    'none': b'none',
    'chunked not last': b'chunked, gzip',
    'identity after chunked': b'chunked, identity',
    'identity around chunked': b'identity, chunked, identity',
    'identity in a header after chunked': b'chunked\r\ntransfer-encoding: identity',
    'one letter before': b'xchunked',
    'a prefix': b'x-chunked',
    'one letter after': b'chunkedx',
    'one letter less': b'chunke',
    'a blank inside': b'chun ked',
    'twice without a comma': b'chunked chunked',
    'a semicolon after it': b'chunked;',
    'a parameter': b'chunked;q=1',
    'a parameter with blanks': b'chunked ; a=b',
    'a weight of 0': b'chunked;q=0',
    'an equals sign before it': b'=chunked',
    'a colon before it': b': chunked',
    'a colon after it': b'chunked:',
    'quotes': b'"chunked"',
    'single quotes': b"'chunked'",
    'brackets': b'[chunked]',
    'a backslash': b'chun\\ked',
    'a slash': b'chunked/1',
    'percent-encoding': b'%63hunked',
    'a vertical tab before it': b'\x0bchunked',
    'a vertical tab after it': b'chunked\x0b',
    'a form feed after it': b'chunked\x0c',
    'a control character before it': b'\x01chunked',
    'a backspace in it': b'chunkeed\x08\x08d',
    'a DEL after it': b'chunked\x7f',
    'a no-break space before it': b'\xa0chunked',
    'a no-break space after it': b'chunked\xa0',
    'a next-line character after it': b'chunked\x85',
    'a byte over 127 after it': b'chunked\xff',
    'a letter of another alphabet': '\u03f2hunked'.encode(),
    'the Kelvin sign for k': 'chun\u212aed'.encode(),
    'full-width letters': '\uff43\uff48\uff55\uff4e\uff4b\uff45\uff44'.encode(),
    'a number': b'2',
}


def transfer_encodings() -> Iterator[Vector]:
    """Transfer-Encoding in every form, alone and beside Content-Length."""
    for name, (lines, reusable) in CODINGS_CHUNKED.items():
        yield Vector(
            name=f'Transfer-Encoding: {name}',
            section='9112-6.3' if b'length' in lines else '9112-6.1',
            response=OK + lines + b'\r\n\r\n' + CHUNKS,
            headers=_pairs(lines),
            chunked=True,
            body=b'ok',
            reusable=reusable,
        )
    for name, form in CODINGS_TO_THE_END.items():
        lines = b'transfer-encoding: ' + form
        yield _to_the_end(f'Transfer-Encoding: {name}', lines)
        if name in ('empty', 'gzip alone', 'identity alone', 'one letter before', 'chunked not last', 'quotes'):
            yield _to_the_end(f'Transfer-Encoding: {name}, with a Content-Length', lines + b'\r\ncontent-length: 2')
    for name, version, option in (
        ('in HTTP/1.0', b'HTTP/1.0', b''),
        ('in HTTP/1.0 with keep-alive', b'HTTP/1.0', b'connection: keep-alive\r\n'),
        ('with keep-alive and a Content-Length', b'HTTP/1.1', b'connection: keep-alive\r\ncontent-length: 2\r\n'),
    ):
        lines = option + b'transfer-encoding: chunked'
        yield Vector(
            name=f'Transfer-Encoding: {name}',
            section='9112-6.1',
            response=version + b' 200 OK\r\n' + lines + b'\r\n\r\n' + CHUNKS,
            headers=_pairs(lines),
            chunked=True,
            body=b'ok',
            reusable=False,
        )


def _pairs(lines: bytes) -> Headers:
    """The headers in lines that are known to be well-formed."""
    halves = (line.split(b':', 1) for line in lines.split(b'\r\n'))
    return tuple((name.lower(), value.strip(b' \t')) for name, value in halves)


def _to_the_end(name: str, lines: bytes) -> Vector:
    return Vector(
        name=name,
        section='9112-6.3',
        response=OK + lines + b'\r\n\r\n' + CHUNKS,
        headers=_pairs(lines),
        body=CHUNKS,
        until_close=True,
        reusable=False,
    )


# RFC 9112 section 6.3, rules 1 and 2: what has no body, and what is no body but a tunnel

NO_BODY: dict[str, tuple[bytes, bytes, bool]] = {
    'HEAD without headers': (HEAD, b'HTTP/1.1 200 OK\r\n', True),
    'HEAD with a length': (HEAD, b'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n', True),
    'HEAD with a huge length': (HEAD, b'HTTP/1.1 200 OK\r\ncontent-length: 9999999999999999999\r\n', True),
    'HEAD with a malformed length': (HEAD, b'HTTP/1.1 200 OK\r\ncontent-length: five\r\n', True),
    'HEAD with unequal lengths': (HEAD, b'HTTP/1.1 200 OK\r\ncontent-length: 5, 6\r\n', True),
    'HEAD with chunked': (HEAD, b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n', True),
    'HEAD with chunked and a length': (
        HEAD,
        b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n',
        False,
    ),
    'HEAD with close': (HEAD, b'HTTP/1.1 200 OK\r\nconnection: close\r\n', False),
    'HEAD in HTTP/1.0': (HEAD, b'HTTP/1.0 200 OK\r\ncontent-length: 5\r\n', False),
    'HEAD in HTTP/1.0 with keep-alive': (HEAD, b'HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n', True),
    'HEAD and 404': (HEAD, b'HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n', True),
    'HEAD and 204': (HEAD, b'HTTP/1.1 204 No Content\r\n', True),
    'HEAD and 304': (HEAD, b'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n', True),
    'HEAD and 500': (HEAD, b'HTTP/1.1 500 No\r\ncontent-length: 5\r\n', True),
    '204 without headers': (GET, b'HTTP/1.1 204 No Content\r\n', True),
    '204 with a length of 0': (GET, b'HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n', True),
    '204 with a length': (GET, b'HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n', True),
    '204 with a malformed length': (GET, b'HTTP/1.1 204 No Content\r\ncontent-length: -5\r\n', True),
    '204 with chunked': (GET, b'HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n', True),
    '204 with close': (GET, b'HTTP/1.1 204 No Content\r\nconnection: close\r\n', False),
    '204 in HTTP/1.0': (GET, b'HTTP/1.0 204 No Content\r\n', False),
    '204 in HTTP/1.0 with keep-alive': (GET, b'HTTP/1.0 204 No Content\r\nconnection: keep-alive\r\n', True),
    '204 to a POST': (POST, b'HTTP/1.1 204 No Content\r\n', True),
    '304 without headers': (GET, b'HTTP/1.1 304 Not Modified\r\n', True),
    '304 with a length': (GET, b'HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\netag: "a"\r\n', True),
    '304 with chunked': (GET, b'HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n', True),
    '304 with chunked and a length': (
        GET,
        b'HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n',
        False,
    ),
    '304 in HTTP/1.0': (GET, b'HTTP/1.0 304 Not Modified\r\n', False),
    'CONNECT refused by a 304': (CONNECT, b'HTTP/1.1 304 Not Modified\r\n', True),
}

TUNNELS: dict[str, tuple[bytes, bytes]] = {
    '101': (GET, b'HTTP/1.1 101 Switching Protocols\r\nupgrade: echo\r\nconnection: upgrade\r\n'),
    '101 with a length': (GET, b'HTTP/1.1 101 Switching Protocols\r\ncontent-length: 2\r\n'),
    '101 with a malformed length': (GET, b'HTTP/1.1 101 Switching Protocols\r\ncontent-length: two\r\n'),
    '101 with chunked': (GET, b'HTTP/1.1 101 Switching Protocols\r\ntransfer-encoding: chunked\r\n'),
    '101 without headers': (GET, b'HTTP/1.1 101 Switching Protocols\r\n'),
    'CONNECT and 200': (CONNECT, b'HTTP/1.1 200 Connection established\r\n'),
    'CONNECT and 200 with a length': (CONNECT, b'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n'),
    'CONNECT and 200 with a length of 0': (CONNECT, b'HTTP/1.1 200 OK\r\ncontent-length: 0\r\n'),
    'CONNECT and 200 with a malformed length': (CONNECT, b'HTTP/1.1 200 OK\r\ncontent-length: +2\r\n'),
    'CONNECT and 200 with chunked': (CONNECT, b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n'),
    'CONNECT and 200 with keep-alive': (CONNECT, b'HTTP/1.1 200 OK\r\nconnection: keep-alive\r\n'),
    'CONNECT and 200 in HTTP/1.0': (CONNECT, b'HTTP/1.0 200 OK\r\n'),
    'CONNECT and 201': (CONNECT, b'HTTP/1.1 201 Created\r\n'),
    'CONNECT and 204': (CONNECT, b'HTTP/1.1 204 No Content\r\n'),
    'CONNECT and 299': (CONNECT, b'HTTP/1.1 299 Own\r\n'),
}


def no_body_and_tunnels() -> Iterator[Vector]:
    """HEAD, 204, 304, 101 and CONNECT: the headers say nothing of what follows."""
    for name, (request, head, reusable) in NO_BODY.items():
        lines = head[:-2].split(b'\r\n', 1)[1:]
        vector = Vector(
            name=f'no body: {name}',
            section='9112-6.3',
            request=request,
            response=head + b'\r\n',
            codes=(head[9:12],),
            headers=_pairs(lines[0]) if lines else (),
            reusable=reusable,
        )
        yield vector
        if name.endswith(('with a length', 'with chunked', 'without headers')):
            yield Vector(
                name=f'no body: {name}, but one follows',
                section='9112-9.2',
                request=request,
                response=vector.response,
                surplus=CHUNKS if 'chunked' in name else b'hello',
                codes=vector.codes,
                headers=vector.headers,
                reusable=False,
            )
    for name, (request, head) in TUNNELS.items():
        lines = head[:-2].split(b'\r\n', 1)[1:]
        yield Vector(
            name=f'tunnel: {name}',
            section='9110-15.2.2' if b' 101 ' in head else '9112-6.3',
            request=request,
            response=head + b'\r\nraw\0bytes\r\n',
            codes=(head[9:12],),
            headers=_pairs(lines[0]) if lines else (),
            body=b'raw\0bytes\r\n',
            until_close=True,
            reusable=False,
        )
    yield Vector(
        name='tunnel: nothing comes through it',
        section='9112-6.3',
        request=CONNECT,
        response=b'HTTP/1.1 200 OK\r\n\r\n',
        until_close=True,
        reusable=False,
    )
    yield Vector(
        name='CONNECT refused, with a body',
        section='9112-6.3',
        request=CONNECT,
        response=b'HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 2\r\n\r\nno',
        codes=(b'407',),
        headers=(LENGTH_2,),
        body=b'no',
    )
    yield Vector(
        name='CONNECT refused, with a chunked body',
        section='9112-6.3',
        request=CONNECT,
        response=b'HTTP/1.1 502 Bad Gateway\r\ntransfer-encoding: chunked\r\n\r\n' + CHUNKS,
        codes=(b'502',),
        headers=(CHUNKED,),
        chunked=True,
        body=b'ok',
    )
    yield refused(
        'CONNECT refused, with a malformed length',
        '9112-6.3',
        b'HTTP/1.1 407 No\r\ncontent-length: +2\r\n\r\nno',
        'Content-Length is',
        CONNECT,
    )
    for name, request, head in (
        ('CONNECT refused by a 404', CONNECT, b'HTTP/1.1 404 Not Found'),
        ('GET', GET, b'HTTP/1.1 200 OK'),
        ('GET in HTTP/1.0', GET, b'HTTP/1.0 200 OK'),
        ('POST', POST, b'HTTP/1.1 201 Created'),
        ('205', GET, b'HTTP/1.1 205 Reset Content'),
        ('a redirect', GET, b'HTTP/1.1 302 Found'),
    ):
        for body in (b'', b'ok', b'ok\r\n\r\n' + OK):
            yield Vector(
                name=f'until close: {name}, {len(body)} bytes',
                section='9112-6.3',
                request=request,
                response=head + b'\r\n\r\n' + body,
                codes=(head[9:12],),
                body=body,
                until_close=True,
                reusable=False,
            )


# RFC 9112 section 9.3: which connections persist

OPTIONS: dict[str, tuple[bytes, bytes, bool]] = {
    'nothing said': (b'1.1', b'a: b', True),
    'keep-alive': (b'1.1', b'connection: keep-alive', True),
    'another option': (b'1.1', b'connection: upgrade', True),
    'an empty Connection': (b'1.1', b'connection:', True),
    'an option that begins with close': (b'1.1', b'connection: closed', True),
    'an option that ends in close': (b'1.1', b'connection: not-close', True),
    'close in another header': (b'1.1', b'x-connection: close', True),
    'close to a proxy': (b'1.1', b'proxy-connection: close', True),
    'Keep-Alive': (b'1.1', b'keep-alive: timeout=5, max=1', True),
    'close': (b'1.1', b'connection: close', False),
    'close in upper case': (b'1.1', b'CONNECTION: CLOSE', False),
    'close in mixed case': (b'1.1', b'Connection: cLoSe', False),
    'close without a blank': (b'1.1', b'connection:close', False),
    'close with blanks': (b'1.1', b'connection: \t close \t ', False),
    'close first in a list': (b'1.1', b'connection: close, x', False),
    'close last in a list': (b'1.1', b'connection: x,close', False),
    'close in the middle of a list': (b'1.1', b'connection: x ,\tclose\t, y', False),
    'close and an empty element': (b'1.1', b'connection: ,close,', False),
    'close twice': (b'1.1', b'connection: close, close', False),
    'close before keep-alive': (b'1.1', b'connection: close, keep-alive', False),
    'close after keep-alive': (b'1.1', b'connection: keep-alive, close', False),
    'close in the second header': (b'1.1', b'connection: keep-alive\r\nconnection: close', False),
    'close in the first header': (b'1.1', b'connection: close\r\nconnection: keep-alive', False),
    '1.0, nothing said': (b'1.0', b'a: b', False),
    '1.0, keep-alive': (b'1.0', b'connection: keep-alive', True),
    '1.0, keep-alive in mixed case': (b'1.0', b'Connection: Keep-Alive', True),
    '1.0, keep-alive in a list': (b'1.0', b'connection: x, keep-alive', True),
    '1.0, keep-alive in the second header': (b'1.0', b'connection: x\r\nconnection: keep-alive', True),
    '1.0, keep-alive and close': (b'1.0', b'connection: keep-alive, close', False),
    '1.0, close': (b'1.0', b'connection: close', False),
    '1.0, another option': (b'1.0', b'connection: upgrade', False),
    '1.0, Keep-Alive alone': (b'1.0', b'keep-alive: timeout=5', False),
    '1.0, keep-alive to a proxy': (b'1.0', b'proxy-connection: keep-alive', False),
    '1.0, an option like keep-alive': (b'1.0', b'connection: keepalive', False),
}


def persistence() -> Iterator[Vector]:
    """The options of a connection."""
    for name, (version, lines, reusable) in OPTIONS.items():
        yield Vector(
            name=f'Connection: {name}',
            section='9112-9.3',
            response=b'HTTP/' + version + b' 200 OK\r\n' + lines + b'\r\ncontent-length: 2\r\n\r\nok',
            headers=(*_pairs(lines), LENGTH_2),
            body=b'ok',
            reusable=reusable,
        )


# RFC 9110 section 15.2: interim responses

CONTINUE = b'HTTP/1.1 100 Continue\r\n\r\n'
FINAL = OK + b'content-length: 2\r\n\r\nok'

INTERIM: dict[str, tuple[bytes, tuple[bytes, ...], bool]] = {
    '100': (CONTINUE, (b'100',), True),
    '100 without a reason': (b'HTTP/1.1 100\r\n\r\n', (b'100',), True),
    '102': (b'HTTP/1.1 102 Processing\r\n\r\n', (b'102',), True),
    '103 with headers': (b'HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n', (b'103',), True),
    '104, not registered': (b'HTTP/1.1 104 Own\r\n\r\n', (b'104',), True),
    '199, not registered': (b'HTTP/1.1 199 Own\r\n\r\n', (b'199',), True),
    'two': (CONTINUE * 2, (b'100', b'100'), True),
    '100 and 103': (CONTINUE + b'HTTP/1.1 103 Early Hints\r\na: b\r\n\r\n', (b'100', b'103'), True),
    'a flood of them': (CONTINUE * 30, (b'100',) * 30, True),
    'in HTTP/1.0, which knows none': (b'HTTP/1.0 100 Continue\r\n\r\n', (b'100',), False),
    'with a length of 0': (b'HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n', (b'100',), True),
    'with a length, and no body': (b'HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\n', (b'100',), True),
    'with a malformed length': (b'HTTP/1.1 100 Continue\r\ncontent-length: -5\r\n\r\n', (b'100',), True),
    'with chunked, and no body': (b'HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n', (b'100',), True),
    'with keep-alive': (b'HTTP/1.1 100 Continue\r\nconnection: keep-alive\r\n\r\n', (b'100',), True),
    'with close': (b'HTTP/1.1 103 Early Hints\r\nconnection: close\r\n\r\n', (b'103',), False),
    'with a folded header': (b'HTTP/1.1 103 No\r\na: b\r\n c\r\n\r\n', (b'103',), True),
    'with a folded header that would frame it': (b'HTTP/1.1 103 No\r\nconnection:\r\n a\r\n\r\n', (b'103',), False),
    'in HTTP/1.2': (b'HTTP/1.2 100 Continue\r\n\r\n', (b'100',), True),
}


def interim_responses() -> Iterator[Vector]:
    """Interim responses, and what may follow them."""
    for name, (interim, codes, reusable) in INTERIM.items():
        yield Vector(
            name=f'interim: {name}',
            section='9112-9.6' if name == 'with close' else '9110-15.2',
            response=interim + FINAL,
            codes=(*codes, b'200'),
            headers=(LENGTH_2,),
            body=b'ok',
            reusable=reusable,
        )
    yield Vector(
        name='interim: before the response to HEAD',
        section='9110-15.2',
        request=HEAD,
        response=CONTINUE + OK + b'content-length: 2\r\n\r\n',
        codes=(b'100', b'200'),
        headers=(LENGTH_2,),
    )
    yield Vector(
        name='interim: before the response to POST',
        section='9110-10.1.1',
        request=POST,
        response=CONTINUE + FINAL,
        codes=(b'100', b'200'),
        headers=(LENGTH_2,),
        body=b'ok',
    )
    yield Vector(
        name='interim: before a chunked response',
        section='9110-15.2',
        response=CONTINUE + OK + b'transfer-encoding: chunked\r\n\r\n' + CHUNKS,
        codes=(b'100', b'200'),
        headers=(CHUNKED,),
        chunked=True,
        body=b'ok',
    )
    yield Vector(
        name='interim: the length of the first is not that of the last',
        section='9112-6.3',
        response=b'HTTP/1.1 103 Early Hints\r\ncontent-length: 9\r\n\r\n' + FINAL,
        codes=(b'103', b'200'),
        headers=(LENGTH_2,),
        body=b'ok',
    )
    yield Vector(
        name='interim: the coding of the first is not that of the last',
        section='9112-6.3',
        response=b'HTTP/1.1 103 Early Hints\r\ntransfer-encoding: gzip\r\n\r\n' + FINAL,
        codes=(b'103', b'200'),
        headers=(LENGTH_2,),
        body=b'ok',
        reusable=False,
    )
    for name, request, head in (
        ('before a tunnel', CONNECT, b'HTTP/1.1 200 OK'),
        ('before a 101', GET, b'HTTP/1.1 101 Switching Protocols'),
        ('before a body until close', GET, b'HTTP/1.1 200 OK'),
    ):
        yield Vector(
            name=f'interim: {name}',
            section='9110-15.2',
            request=request,
            response=CONTINUE + head + b'\r\n\r\nraw',
            codes=(b'100', head[9:12]),
            body=b'raw',
            until_close=True,
            reusable=False,
        )
    with_length = b'HTTP/1.1 100 Continue\r\ncontent-length: 5\r\n\r\nhello'
    yield refused('interim: with a length and a body', '9112-6.3', with_length + FINAL, NOT_A_STATUS_LINE)
    with_chunks = b'HTTP/1.1 100 Continue\r\ntransfer-encoding: chunked\r\n\r\n' + CHUNKS
    yield refused('interim: with chunks', '9112-6.3', with_chunks + FINAL, NOT_A_STATUS_LINE)
    yield refused('interim: an empty line after it', '9112-4', CONTINUE + b'\r\n' + FINAL, NOT_A_STATUS_LINE)
    yield refused('interim: a malformed header', '9112-5.1', b'HTTP/1.1 100 No\r\na : b\r\n\r\n' + FINAL, NOT_A_HEADER)
    yield refused(
        'interim: bare LFs',
        '9112-2.2',
        b'HTTP/1.1 100 Continue\n\n' + FINAL,
        f'{NOT_A_STATUS_LINE}|ends in LF without CR',
    )
    yield refused('interim: another version after it', '9112-4', CONTINUE + b'HTTP/2 200\r\n\r\n', NOT_A_STATUS_LINE)
    yield refused(
        'interim: a malformed length after it',
        '9112-6.3',
        CONTINUE + OK + b'content-length: +2\r\n\r\nok',
        'Content-Length is',
    )
    yield cut_short('interim: nothing after it', '9112-8', CONTINUE)
    yield cut_short('interim: only an interim response to HEAD', '9112-8', CONTINUE, HEAD)
    yield cut_short('interim: without its empty line', '9112-8', b'HTTP/1.1 100 Continue\r\n')


# RFC 9112 section 7.1: chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF

CHUNKS_ACCEPTED: dict[str, tuple[bytes, bytes]] = {
    'none': (b'0\r\n\r\n', b''),
    'one': (CHUNKS, b'ok'),
    'two': (b'2\r\nok\r\n3\r\nfoo\r\n0\r\n\r\n', b'okfoo'),
    'many of one byte': (b'1\r\nx\r\n' * 20 + b'0\r\n\r\n', b'x' * 20),
    'a size in lower case': (b'a\r\n0123456789\r\n0\r\n\r\n', b'0123456789'),
    'a size in upper case': (b'A\r\n0123456789\r\n0\r\n\r\n', b'0123456789'),
    'a size of two digits': (b'10\r\n0123456789abcdef\r\n0\r\n\r\n', b'0123456789abcdef'),
    'zeros before the size': (b'0002\r\nok\r\n0\r\n\r\n', b'ok'),
    'a size of 16 digits': (b'0000000000000002\r\nok\r\n0\r\n\r\n', b'ok'),
    'a last size of two zeros': (b'2\r\nok\r\n00\r\n\r\n', b'ok'),
    'a last size of 16 zeros': (b'2\r\nok\r\n0000000000000000\r\n\r\n', b'ok'),
    'a blank after the size': (b'2 \r\nok\r\n0 \r\n\r\n', b'ok'),
    'blanks and tabs after the size': (b'2 \t  \r\nok\r\n0\t\r\n\r\n', b'ok'),
    'a larger chunk than a receive': (b'12c\r\n' + b'x' * 300 + b'\r\n0\r\n\r\n', b'x' * 300),
    'CRLF in the data': (b'4\r\n\r\n\r\n\r\n0\r\n\r\n', b'\r\n\r\n'),
    'the last chunk in the data': (b'5\r\n0\r\n\r\n\r\n0\r\n\r\n', b'0\r\n\r\n'),
    'a response in the data': (b'13\r\nHTTP/1.1 200 OK\r\n\r\n\r\n0\r\n\r\n', b'HTTP/1.1 200 OK\r\n\r\n'),
    'NULs in the data': (b'2\r\n\0\0\r\n0\r\n\r\n', b'\0\0'),
    'an extension': (b'2;a\r\nok\r\n0\r\n\r\n', b'ok'),
    'an extension with a value': (b'2;a=b\r\nok\r\n0\r\n\r\n', b'ok'),
    'an extension in quotes': (b'2;a="b;c\\"d"\r\nok\r\n0\r\n\r\n', b'ok'),
    'an extension with blanks': (b'2 ; a = b\r\nok\r\n0\r\n\r\n', b'ok'),
    'two extensions': (b'2;a;b=c\r\nok\r\n0\r\n\r\n', b'ok'),
    'an empty extension': (b'2;\r\nok\r\n0\r\n\r\n', b'ok'),
    'an extension that looks like a size': (b'2;5\r\nok\r\n0;5\r\n\r\n', b'ok'),
    'an extension in Latin-1': (b'2;\xe9\r\nok\r\n0\r\n\r\n', b'ok'),
    'an extension on the last chunk': (b'2\r\nok\r\n0;a=b\r\n\r\n', b'ok'),
    'a long extension': (b'2;' + b'x' * 200 + b'\r\nok\r\n0\r\n\r\n', b'ok'),
    'a trailer': (b'2\r\nok\r\n0\r\na: b\r\n\r\n', b'ok'),
    'two trailers': (b'2\r\nok\r\n0\r\na: b\r\nc:\r\n\r\n', b'ok'),
    'a trailer with a folded value': (b'2\r\nok\r\n0\r\na: b\r\n c\r\n\r\n', b'ok'),
    'a trailer named Content-Length': (b'2\r\nok\r\n0\r\ncontent-length: 9\r\n\r\n', b'ok'),
    'a trailer named Transfer-Encoding': (b'2\r\nok\r\n0\r\ntransfer-encoding: gzip\r\n\r\n', b'ok'),
    'a trailer that looks like a chunk': (b'2\r\nok\r\n0\r\n2: ok\r\n\r\n', b'ok'),
}

CHUNKS_REFUSED: dict[str, bytes] = {
    'a prefix 0x': b'0x2\r\nok\r\n0\r\n\r\n',
    'a prefix 0X': b'0X2\r\nok\r\n0\r\n\r\n',
    'a prefix x': b'x2\r\nok\r\n0\r\n\r\n',
    'a prefix $': b'$2\r\nok\r\n0\r\n\r\n',
    'a suffix h': b'2h\r\nok\r\n0\r\n\r\n',
    'plus': b'+2\r\nok\r\n0\r\n\r\n',
    'minus': b'-2\r\nok\r\n0\r\n\r\n',
    'minus zero at the end': b'2\r\nok\r\n-0\r\n\r\n',
    'an underscore': b'0_2\r\nok\r\n0\r\n\r\n',
    'an underscore before it': b'_2\r\nok\r\n0\r\n\r\n',
    'a blank before it': b' 2\r\nok\r\n0\r\n\r\n',
    'a tab before it': b'\t2\r\nok\r\n0\r\n\r\n',
    'a blank before the last': b'2\r\nok\r\n 0\r\n\r\n',
    'a blank inside': b'0 2\r\nok\r\n0\r\n\r\n',
    'a vertical tab after it': b'2\x0b\r\nok\r\n0\r\n\r\n',
    'a no-break space after it': b'2\xa0\r\nok\r\n0\r\n\r\n',
    'no size': b'\r\nok\r\n0\r\n\r\n',
    'no size but an extension': b';a\r\nok\r\n0\r\n\r\n',
    'no size but blanks': b'  \r\nok\r\n0\r\n\r\n',
    'not hexadecimal': b'g\r\nok\r\n0\r\n\r\n',
    'a letter after it': b'2z\r\nok\r\n0\r\n\r\n',
    'a comma after it': b'2,\r\nok\r\n0\r\n\r\n',
    'a colon after it': b'2: a\r\nok\r\n0\r\n\r\n',
    'a fraction': b'2.0\r\nok\r\n0\r\n\r\n',
    'an exponent': b'2e+0\r\nok\r\n0\r\n\r\n',
    'quotes': b'"2"\r\nok\r\n0\r\n\r\n',
    'an Arabic digit': '\u0662\r\nok\r\n0\r\n\r\n'.encode(),
    'a full-width digit': '\uff12\r\nok\r\n0\r\n\r\n'.encode(),
    '17 digits': b'00000000000000002\r\nok\r\n0\r\n\r\n',
    '17 digits, two to the 64th and two': b'10000000000000002\r\nok\r\n0\r\n\r\n',
    '32 digits': b'f' * 32 + b'\r\nok\r\n0\r\n\r\n',
    'a NUL after the size': b'2\0\r\nok\r\n0\r\n\r\n',
    'a NUL in an extension': b'2;a\0b\r\nok\r\n0\r\n\r\n',
    'a bare LF after the size': b'2\nok\r\n0\r\n\r\n',
    'a bare CR after the size': b'2\rok\r\n0\r\n\r\n',
    'CR CR LF after the size': b'2\r\r\nok\r\n0\r\n\r\n',
    'a bare CR in an extension': b'2;a\rb\r\nok\r\n0\r\n\r\n',
    'a bare LF in an extension': b'2;a\nb\r\nok\r\n0\r\n\r\n',
    'a bare LF after an extension': b'2;a\nok\r\n0\r\n\r\n',
    'an extension without a semicolon': b'2 a=b\r\nok\r\n0\r\n\r\n',
    'nothing after the data': b'2\r\nok0\r\n\r\n',
    'a bare LF after the data': b'2\r\nok\n0\r\n\r\n',
    'a bare CR after the data': b'2\r\nok\r0\r\n\r\n',
    'CR CR LF after the data': b'2\r\nok\r\r\n0\r\n\r\n',
    'LF CR after the data': b'2\r\nok\n\r0\r\n\r\n',
    'two other bytes after the data': b'2\r\nokXX0\r\n\r\n',
    'an empty line after the data': b'2\r\nok\r\n\r\n0\r\n\r\n',
    'an empty line first': b'\r\n2\r\nok\r\n0\r\n\r\n',
    'data longer than its size': b'2\r\nokay\r\n0\r\n\r\n',
    'data shorter than its size': b'5\r\nok\r\n0\r\n\r\n',
    'no chunks at all, but text': b'ok\r\n',
    'a response in the place of a chunk': b'2\r\nok\r\nHTTP/1.1 200 OK\r\n\r\n',
    'a bare LF after the last chunk': b'2\r\nok\r\n0\n\r\n',
    'a bare LF at the end': b'2\r\nok\r\n0\r\n\n',
    'a bare CR at the end': b'2\r\nok\r\n0\r\n\r\r\n',
    'data in the last chunk': b'2\r\nok\r\n0\r\nok\r\n\r\n',
    'a trailer with a space before its colon': b'2\r\nok\r\n0\r\na : b\r\n\r\n',
    'a folded first trailer': b'2\r\nok\r\n0\r\n a: b\r\n\r\n',
    'a trailer without a name': b'2\r\nok\r\n0\r\n: b\r\n\r\n',
    'a trailer without a colon': b'2\r\nok\r\n0\r\na\r\n\r\n',
    'a trailer with a NUL': b'2\r\nok\r\n0\r\na: \0\r\n\r\n',
    'a trailer with a bare CR': b'2\r\nok\r\n0\r\na: b\rc\r\n\r\n',
    'a trailer with a bare LF': b'2\r\nok\r\n0\r\na: b\nc: d\r\n\r\n',
    'a trailer with a name in Latin-1': b'2\r\nok\r\n0\r\n\xe9: b\r\n\r\n',
    'a second response among the trailers': b'2\r\nok\r\n0\r\nHTTP/1.1 200 OK\r\n\r\n',
}

CHUNKS_CUT_SHORT: dict[str, bytes] = {
    'no byte': b'',
    'in a size': b'2',
    'between CR and LF of a size': b'2\r',
    'before the data': b'2\r\n',
    'in the data': b'2\r\no',
    'after the data': b'2\r\nok',
    'between CR and LF after the data': b'2\r\nok\r',
    'before the last chunk': b'2\r\nok\r\n',
    'in the last chunk': b'2\r\nok\r\n0',
    'after the last chunk': b'2\r\nok\r\n0\r\n',
    'between CR and LF at the end': b'2\r\nok\r\n0\r\n\r',
    'in an extension': b'2;a',
    'in a trailer': b'2\r\nok\r\n0\r\na: b',
    'after a trailer': b'2\r\nok\r\n0\r\na: b\r\n',
    'in the data of the largest chunk': b'ffffffffffffffff\r\nok',
}


def chunks() -> Iterator[Vector]:
    """The grammar of a chunked body."""
    head = OK + b'transfer-encoding: chunked\r\n\r\n'
    for name, (form, body) in CHUNKS_ACCEPTED.items():
        yield Vector(
            name=f'chunks: {name}',
            section='9112-7.1',
            response=head + form,
            headers=(CHUNKED,),
            chunked=True,
            body=body,
        )
    for name, form in CHUNKS_REFUSED.items():
        yield Vector(
            name=f'chunks: {name}',
            section='9112-7.1',
            response=head + form,
            chunked=True,
            reusable=False,
            error=MalformedError,
        )
    for name, form in CHUNKS_CUT_SHORT.items():
        yield Vector(
            name=f'chunks: cut short, {name}',
            section='9112-8',
            response=head + form,
            chunked=True,
            reusable=False,
            error=lowhaio.SentClosedError,
            says='closed the connection before the end of the body',
        )
    for name, form, surplus, body in (
        ('a byte after the end', CHUNKS, b'0', b'ok'),
        ('an empty line after the end', CHUNKS, b'\r\n', b'ok'),
        ('a second last chunk', CHUNKS, b'0\r\n\r\n', b'ok'),
        ('a chunk after the end', CHUNKS, CHUNKS, b'ok'),
        ('an empty chunk before the last', b'0\r\n\r\n', CHUNKS, b''),
    ):
        yield Vector(
            name=f'chunks: {name}',
            section='9112-9.2',
            response=head + form,
            surplus=surplus,
            headers=(CHUNKED,),
            chunked=True,
            body=body,
            reusable=False,
        )


# Design section 3, number 8: a line over a constant limit is refused, and so is a head


def limits() -> Iterator[Vector]:
    """Lines of just the limit, which does not count the CRLF, and of one byte more."""
    end = b'\r\ncontent-length: 2\r\n\r\nok'
    for name, start in (('reason', b'HTTP/1.1 200 '), ('reason in HTTP/1.1 without a digit', b'HTTP/1.1 200 OK ')):
        line = start + b'x' * (LIMIT - len(start))
        yield Vector(
            name=f'limit: a status line of {LIMIT} bytes, {name}',
            section='9112-3',
            response=line + end,
            headers=(LENGTH_2,),
            body=b'ok',
        )
        yield refused(f'limit: a status line of {LIMIT + 1} bytes, {name}', '9112-3', line + b'x' + end, OVER_THE_LIMIT)
    key, value = b'n' * (LIMIT - 3), b'v' * (LIMIT - 3)
    for what, line, header in (
        ('value', b'a: ' + value, (b'a', value)),
        ('name', key + b': v', (key, b'v')),
        ('name alone', b'n' + key + b'n:', (b'n' + key + b'n', b'')),
        ('blanks', b'a:' + b' ' * (LIMIT - 3) + b'b', (b'a', b'b')),
    ):
        yield Vector(
            name=f'limit: a header of {LIMIT} bytes, {what}',
            section='9110-5.4',
            response=OK + line + end,
            headers=(header, LENGTH_2),
            body=b'ok',
        )
        longer = line.replace(b':', b'y:', 1)
        yield refused(f'limit: a header of {LIMIT + 1} bytes, {what}', '9110-5.4', OK + longer + end, OVER_THE_LIMIT)
        last = OK + b'content-length: 2\r\n' + longer + b'\r\n\r\nok'
        yield refused(f'limit: a last header of {LIMIT + 1} bytes, {what}', '9110-5.4', last, OVER_THE_LIMIT)
    parts = (b'a: ' + b'v' * 30_000, b' ' + b'w' * (LIMIT - 30_004))
    yield Vector(
        name=f'limit: a folded header of {LIMIT} bytes',
        section='9112-5.2',
        response=OK + b'\r\n'.join(parts) + end,
        headers=((b'a', parts[0][3:] + parts[1]), LENGTH_2),
        body=b'ok',
    )
    yield refused(
        f'limit: a folded header of {LIMIT + 1} bytes',
        '9112-5.2',
        OK + b'\r\n'.join(parts) + b'w' + end,
        OVER_THE_LIMIT,
    )
    many = tuple((b'x-%d' % number, b'v' * 20) for number in range(30))
    yield Vector(
        name='limit: many headers, none of them over it',
        section='9110-5.4',
        response=OK + b''.join(b'%b: %b\r\n' % header for header in many) + end[2:],
        headers=(*many, LENGTH_2),
        body=b'ok',
    )
    large = tuple((b'x-%d' % number, b'v' * 50_000) for number in range(5))
    head = OK + b''.join(b'%b: %b\r\n' % header for header in large)
    fills = HEAD_LIMIT - len(head) - len(b'a: ' + end[:-2])
    yield Vector(
        name=f'limit: a head of {HEAD_LIMIT} bytes',
        section='9110-5.4',
        response=head + b'a: ' + b'v' * fills + end,
        headers=(*large, (b'a', b'v' * fills), LENGTH_2),
        body=b'ok',
    )
    yield refused(
        f'limit: a head of {HEAD_LIMIT + 1} bytes',
        '9110-5.4',
        head + b'a: ' + b'v' * fills + b'v' + end,
        f'head of at least .* limit of {HEAD_LIMIT}',
    )
    yield refused(
        'limit: a head without end',
        '9110-5.4',
        head + b'b: c\r\n' * 10_000,
        f'head of at least .* limit of {HEAD_LIMIT}',
    )
    endless = b'x' * (LIMIT + 50)
    yield refused('limit: a status line without end', '9112-3', b'HTTP/1.1 200 ' + endless, OVER_THE_LIMIT)
    yield refused('limit: no status line, without end', '9112-3', endless, OVER_THE_LIMIT)
    yield refused('limit: zeros without end', '9112-3', bytes(LIMIT + 50), OVER_THE_LIMIT)
    yield refused('limit: CRs without end', '9112-3', b'\r' * (LIMIT + 50), OVER_THE_LIMIT)
    yield refused('limit: a header name without end', '9110-5.4', OK + endless, OVER_THE_LIMIT)
    yield refused('limit: a header value without end', '9110-5.4', OK + b'a: ' + endless, OVER_THE_LIMIT)
    yield refused('limit: a value of CRs without end', '9110-5.4', OK + b'a: ' + b'\r' * (LIMIT + 50), OVER_THE_LIMIT)
    yield refused(
        'limit: a second header without end', '9110-5.4', OK + b'content-length: 2\r\na: ' + endless, OVER_THE_LIMIT
    )
    yield refused(
        'limit: a header without end after an interim response', '9110-5.4', CONTINUE + OK + endless, OVER_THE_LIMIT
    )


def heads_cut_short() -> Iterator[Vector]:
    """A response that ends in its head."""
    for name, response in {
        'nothing': b'',
        'one byte': b'H',
        'in the version': b'HTTP/1',
        'after the code': b'HTTP/1.1 200',
        'in the reason': b'HTTP/1.1 200 O',
        'between CR and LF of the status line': b'HTTP/1.1 200 OK\r',
        'after the status line': OK,
        'in a name': OK + b'conte',
        'in a value': OK + b'content-length: 2',
        'between CR and LF of a header': OK + b'content-length: 2\r',
        'before the empty line': OK + b'content-length: 2\r\n',
        'in the empty line': OK + b'content-length: 2\r\n\r',
        'in the empty line of a 204': b'HTTP/1.1 204 No Content\r\n\r',
        'with CRs alone': b'HTTP/1.1 200 OK\rcontent-length: 0\r\r',
    }.items():
        yield cut_short(f'cut short: {name}', '9112-8', response)
    yield cut_short('cut short: before the empty line, to HEAD', '9112-8', OK + b'content-length: 2\r\n', HEAD)
    yield cut_short('cut short: before the empty line, to CONNECT', '9112-8', OK, CONNECT)


TOPICS = {
    'status lines': [*status_lines()],
    'header lines': [*header_lines()],
    'Content-Length': [*content_lengths()],
    'Transfer-Encoding': [*transfer_encodings()],
    'no body, and tunnels': [*no_body_and_tunnels()],
    'persistence': [*persistence()],
    'interim responses': [*interim_responses()],
    'chunks': [*chunks()],
    'limits': [*limits()],
    'heads cut short': [*heads_cut_short()],
}

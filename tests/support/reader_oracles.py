"""What the recipes must make of bytes, found in another way than they find it: all at once, with slices and no state.

For each reader of `support.readers` there is one function here: the bytes in, what must come out. An error stands for
itself by its name. `ANYTHING` is the answer where the rules leave open what is read, and only an exception is wrong.
"""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from .oracle import content

ANYTHING: Final = 'anything'

TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b'0123456789')


# The tunnels


def connect(data: bytes) -> tuple[object, ...]:
    """The outcome, the status, the headers, and how many bytes are the proxy's."""
    at = 0
    while True:
        end = data.find(b'\r\n\r\n', at)
        if end < 0:
            return 'TunnelError', None, (), len(data)
        lines = data[at:end].split(b'\r\n')
        at = end + 4
        code = _status(lines[0])
        pairs = _pairs(lines[1:])
        if code is None or pairs is None:
            return 'TunnelError', None, (), at
        if code.startswith(b'2'):
            return 'open', None, (), at
        if code == b'101' or not code.startswith(b'1'):
            return ('CredentialsError' if code in (b'401', b'407') else 'RefusedError'), code, pairs, at


def _status(line: bytes) -> bytes | None:
    version, code, reason = line[:9], line[9:12], line[12:]
    well = version[:7] == b'HTTP/1.' and version[7:8].isdigit() and version[8:] == b' '
    well = well and len(code) == 3 and code.isdigit() and (not reason or reason[:1] == b' ')
    return code if well and not set(reason) & set(b'\0\r\n') else None


def _pairs(lines: Iterable[bytes]) -> tuple[tuple[bytes, bytes], ...] | None:
    found: list[tuple[bytes, bytes]] = []
    for line in lines:
        if set(line) & set(b'\0\r\n'):
            return None
        if line[:1] in (b' ', b'\t'):
            if not found:
                return None
            name, value = found.pop()
            found.append((name, value + b' ' + line.lstrip(b' \t')))
            continue
        name, colon, value = line.partition(b':')
        if not name or not colon or set(name) - TOKEN:
            return None
        found.append((name.lower(), value))
    return tuple((name, value.strip(b' \t')) for name, value in found)


def socks5(data: bytes, *, login: bool) -> tuple[object, ...]:
    """The outcome, the reply, how many bytes are the proxy's, and how many messages it was sent."""
    at, sent = 0, 1
    if len(data) < 2:
        return 'TunnelError', None, len(data), sent
    at = 2
    if data[0] != 5:
        return 'TunnelError', None, at, sent
    if data[1] == 255:
        return 'CredentialsError', b'\xff', at, sent
    if data[1] not in ((0, 2) if login else (0,)):
        return 'TunnelError', None, at, sent
    if data[1] == 2:
        answer = data[2:4]
        at, sent = 2 + len(answer), 2
        if len(answer) < 2 or answer[0] != 1:
            return 'TunnelError', None, at, sent
        if answer[1]:
            return 'CredentialsError', answer[1:], at, sent
    sent += 1
    reply = data[at : at + 4]
    if len(reply) < 2 or reply[0] != 5:
        return 'TunnelError', None, at + min(2, len(reply)), sent
    if reply[1]:
        return 'RefusedError', reply[1:2], at + 2, sent
    if len(reply) < 4 or reply[3] not in (1, 3, 4):
        return 'TunnelError', None, at + len(reply), sent
    at += 4
    size = {1: 4, 4: 16}.get(reply[3]) or 1 + sum(data[at : at + 1])
    if len(data) < at + size + 2:
        return 'TunnelError', None, len(data), sent
    return 'open', None, at + size + 2, sent


# Events


def sse(data: bytes, max_bytes: int) -> tuple[object, ...]:
    """The events, the last id, the time to wait, and the error."""
    lines, rest = _lines(data)
    found: list[tuple[str, str, str]] = []
    last_id = said_id = ''
    retry: int | None = None
    fields: list[tuple[str, str]] = []
    size = 0
    for number, line in enumerate(lines):
        size += len(line) + 1
        if size > max_bytes:
            return tuple(found), last_id, retry, 'LimitError'
        text = line.decode('utf-8', 'replace')
        if number == 0 and text[:1] == '\ufeff':
            text = text[1:]
        if text:
            name, _, value = text.partition(':')
            value = value[1:] if value[:1] == ' ' else value
            fields.append((name, value))
            if name == 'id' and '\0' not in value:
                said_id = value
            if name == 'retry' and re.fullmatch('0*[0-9]{1,15}', value):
                retry = int(value)
        else:
            size = 0
            last_id = said_id
            if any(name == 'data' for name, _ in fields):
                kind = [value for name, value in fields if name == 'event'][-1:] or ['']
                text = '\n'.join(value for name, value in fields if name == 'data')
                found.append((kind[0] or 'message', text, last_id))
            fields = []
    return tuple(found), last_id, retry, 'LimitError' if size + len(rest) > max_bytes else None


def _lines(data: bytes) -> tuple[list[bytes], bytes]:
    """The lines that have an end, and what follows the last of them."""
    lines = re.split(rb'\r\n|\r|\n', data)
    return lines[:-1], lines[-1]


# Content codings


def codings(value: bytes, body: bytes, new: Mapping[bytes, Callable[[], Any]], most: int) -> object:
    """The content, or the error."""
    names = [name for name in (part.strip(b' \t').lower() for part in value.split(b',')) if name != b'identity']
    names = [name for name in names if name]
    if not body:
        return b''
    if len(names) > 5:
        return 'LimitError'
    if any(name not in new for name in names):
        return 'UnknownCodingError'
    whole = body
    for left in range(len(names) - 1, -1, -1):
        limit = 2 * most + 65536 if left else most
        name = names[left]
        is_gzip = name in (b'gzip', b'x-gzip', b'deflate')
        undone = content(name, whole, limit) if is_gzip else _streams(new[name], whole, limit)
        if undone is None:
            return 'error'
        whole = undone
    return whole if len(whole) <= most else 'error'


def _streams(new: Callable[[], Any], body: bytes, most: int) -> bytes | None:
    found = b''
    while body:
        stream = new()
        try:
            found += stream.decompress(body, most + 1)
            while len(found) <= most and not (stream.eof or stream.needs_input):
                found += stream.decompress(b'', most + 1)
        except Exception:  # each coding has errors of its own
            return None
        if len(found) > most or not stream.eof:
            return None
        body = stream.unused_data
    return found


# Going on with a download

_OFFSET = rb'([0-9]{1,19})'


def resume(
    start: tuple[int, int | None, bytes | None],
    code: bytes,
    headers: Mapping[bytes, bytes],
    body: bytes,
    *,
    breaks: bool,
) -> tuple[object, ...]:
    """How it ends, and where if it ends well, when every request is answered in this way."""
    offset, total, validator = start
    while total is None or offset < total:
        strong = _validator(headers)
        if not offset and code == b'200':
            said = headers.get(b'content-length', b'')
            known = 0 < len(said) <= 19 and said.isdigit() and b'transfer-encoding' not in headers
            end = total = int(said) if known else None
            validator = strong
        elif not offset:
            return 'RangeError' if code == b'206' else 'StatusError', None
        elif code == b'200':
            return 'RangeError' if strong == validator else 'ChangedError', None
        elif code == b'416':
            said = headers.get(b'content-range', b'').lower()
            is_all = total is None and re.fullmatch(rb'bytes \*/' + _OFFSET, said) and int(said[8:]) == offset
            return ('ends', offset) if is_all else ('ChangedError', None)
        elif code == b'206':
            match = re.fullmatch(
                rb'bytes %b-%b/(?:%b|\*)' % ((_OFFSET,) * 3), headers.get(b'content-range', b'').lower()
            )
            if not match or int(match[1]) != offset or int(match[2]) < offset:
                return 'RangeError', None
            end = int(match[2]) + 1
            if match[3]:
                if total not in (None, int(match[3])):
                    return 'ChangedError', None
                total = int(match[3])
            if total is not None and end > total:
                return 'RangeError', None
            name = b'etag' if validator and validator[:1] == b'"' else b'last-modified'
            if name in headers and headers[name] != validator:
                return 'ChangedError', None
        else:
            return 'StatusError', None
        if end is not None and offset + len(body) > end:
            return 'RangeError', None
        offset += len(body)
        if breaks:
            if not body or validator is None:
                return 'BrokenOffError', None
        elif end is not None and offset < end:
            return 'RangeError', None
        elif total is None:
            return 'ends', offset
    return 'ends', offset


def _validator(headers: Mapping[bytes, bytes]) -> bytes | None:
    tag = headers.get(b'etag')
    if tag is not None:
        inside = tag[1:-1]
        quoted = len(tag) >= 2 and tag[:1] == tag[-1:] == b'"'
        return tag if quoted and not any(byte in b'"\x7f' or byte <= 0x20 for byte in inside) else None
    modified, date = (headers.get(name, b'') for name in (b'last-modified', b'date'))
    then, now = _time(modified), _time(date)
    return modified if then is not None and now is not None and now - then >= 1 else None


def _time(date: bytes) -> float | None:
    try:
        parsed = email.utils.parsedate_tz(date.decode('ascii'))
        return parsed and email.utils.mktime_tz(parsed)
    except (ValueError, OverflowError):
        return None


# The opening handshake of a WebSocket


def websocket(
    key: bytes, protocols: Sequence[bytes], extensions: Sequence[bytes], code: bytes, headers: Mapping[bytes, bytes]
) -> object:
    """The subprotocol, or the error. Of the extensions, the names are compared."""
    if code != b'101':
        return 'RefusedError'
    accept = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
    tokens = [part.strip(b' \t') for part in headers.get(b'connection', b'').lower().split(b',')]
    well = headers.get(b'upgrade', b'').lower() == b'websocket' and b'upgrade' in tokens
    well = well and headers.get(b'sec-websocket-accept', b'').strip(b' \t') == accept
    offered = list(extensions)
    for part in headers.get(b'sec-websocket-extensions', b'').split(b','):
        if part.strip(b' \t'):
            name = _extension(part.strip(b' \t'))
            if name is None or name not in offered:
                return 'InvalidResponseError'
            offered.remove(name)
    protocol = headers.get(b'sec-websocket-protocol')
    return protocol if well and protocol in (None, *protocols) else 'InvalidResponseError'


def _extension(text: bytes) -> bytes | None:
    name, *parameters = (part.strip(b' \t') for part in text.split(b';'))
    if not _is_token(name):
        return None
    for parameter in parameters:
        key, equals, value = parameter.partition(b'=')
        value = value.lstrip(b' \t') if equals else value
        if len(value) > 1 and value[:1] == value[-1:] == b'"':
            value = value[1:-1]
        if not _is_token(key.rstrip(b' \t')) or (equals and not _is_token(value)):
            return None
    return name


def _is_token(value: bytes) -> bool:
    return bool(value) and not set(value) - TOKEN


# Locations: RFC 3986 sections 5.2 and 5.3

_REFERENCE = re.compile(r'(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?')
_ALLOWED = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/?#[]@!$&'()*+,;=%"
) | frozenset(range(128, 256))


def redirect(base: str, location: bytes) -> tuple[object, ...]:
    """The URL to go to, and whether it is of the same origin; or the error."""
    if set(location) - _ALLOWED:
        return ('LocationError',)
    text = ''.join(chr(byte) if byte < 128 else f'%{byte:02X}' for byte in location)
    base_scheme, base_authority, base_path, base_query, base_fragment = _split(base)
    scheme, authority, path, query, fragment = _split(text)
    if scheme is not None:
        scheme = scheme.lower()
        if scheme not in ('http', 'https') or authority is None:
            return ('LocationError',)
    if authority is None:
        authority = base_authority
        if not path:
            path, query = base_path, base_query if query is None else query
        elif path.startswith('/'):
            path = _without_dots(path)
        else:
            path = _without_dots(base_path[: base_path.rfind('/') + 1] + path if base_path else '/' + path)
    elif not _is_authority(authority):
        return ('LocationError',)
    else:
        path = _without_dots(path)
    scheme = scheme or base_scheme
    if base_scheme == 'https' and scheme == 'http':
        return ('InsecureError',)
    assert scheme is not None
    assert authority is not None
    fragment = base_fragment if fragment is None else fragment
    url = f'{scheme}://{authority}{path}{"" if query is None else "?" + query}'
    url += f'#{fragment}' if fragment else ''
    assert base_scheme is not None
    assert base_authority is not None
    return 'to', url, _origin(scheme, authority) == _origin(base_scheme, base_authority)


def _split(text: str) -> tuple[str | None, str | None, str, str | None, str | None]:
    match = _REFERENCE.fullmatch(text)
    assert match is not None
    return match[1], match[2], match[3], match[4], match[5]


def _without_dots(path: str) -> str:
    """RFC 3986 section 5.2.4, to the letter."""
    output = ''
    while path:
        if path.startswith(('../', './')):
            path = path[path.index('/') + 1 :]
        elif path.startswith('/./'):
            path = path[2:]
        elif path == '/.':
            path = '/'
        elif path.startswith('/../'):
            path, output = path[3:], output[: max(0, output.rfind('/'))]
        elif path == '/..':
            path, output = '/', output[: max(0, output.rfind('/'))]
        elif path in ('.', '..'):
            path = ''
        else:
            end = path.find('/', 1)
            end = len(path) if end < 0 else end
            output, path = output + path[:end], path[end:]
    return output


def _is_authority(authority: str) -> bool:
    if authority.startswith('['):
        host, bracket, port = authority[1:].partition(']')
        well = bool(bracket) and bool(host) and not set(host) - set('0123456789abcdefABCDEF:.')
    else:
        host, colon, port = authority.partition(':')
        well = bool(host) and re.fullmatch('[0-9A-Za-z._-]+', host) is not None
        port = colon + port
    return well and re.fullmatch('(:[0-9]*)?', port) is not None


def _origin(scheme: str, authority: str) -> tuple[str, str, str]:
    host, _, port = authority.lower().rpartition(':')
    if not host or (authority.startswith('[') and authority.endswith(']')):
        host, port = authority.lower(), ''
    return scheme, host, port or ('443' if scheme == 'https' else '80')


# URLs


def request(method: bytes, url: str) -> tuple[object, ...]:
    """Whether it is https, the host, the port, and the request line and the host line; or the error."""
    refused = ('ValueError',)
    secure = url[:8].lower() == 'https://'
    if not secure and url[:7].lower() != 'http://':
        return refused
    rest = url[8:] if secure else url[7:]
    rest, _, fragment = rest.partition('#')
    rest, mark, query = rest.partition('?')
    authority, slash, path = rest.partition('/')
    if any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in path + query + fragment) or '@' in authority:
        return refused
    if authority.startswith('['):
        host, _, port = authority[1:].partition(']')
        if ']' not in authority or (port and port[0] != ':'):
            return refused
        port = port[1:]
    else:
        host, _, port = authority.partition(':')
    if (port and not re.fullmatch('[0-9]{1,5}', port)) or (port and not 0 < int(port) < 65536):
        return refused
    number = int(port or (443 if secure else 80))
    try:
        if authority.startswith('['):
            if set(host) - set('0123456789abcdefABCDEF:.'):
                return refused
            host = str(ipaddress.IPv6Address(host))
        else:
            if set(host) & set('\u00df\u03c2\u200c\u200d'):
                return refused
            host = host.lower().encode('idna').decode()
            if not host or set(host) - set('0123456789abcdefghijklmnopqrstuvwxyz._-'):
                return refused
        target = _escaped((('/' + path) + mark + query).encode())
    except ValueError:
        return refused
    if method == b'OPTIONS' and not slash and not mark:
        target = b'*'
    shown = (f'[{host}]' if ':' in host else host) + ('' if number == (443 if secure else 80) else f':{number}')
    return secure, host, number, b'%b %b HTTP/1.1\r\nhost: %b\r\n' % (method, target, shown.encode())


def _escaped(target: bytes) -> bytes:
    safe = TOKEN - set(b'#^`|%"') | set(b"/?:@!$&'()*+,;=-._~")
    hexadecimal = set(b'0123456789abcdefABCDEF')
    done = b''
    for at, byte in enumerate(target):
        is_escape = byte == 0x25 and len(target) > at + 2 and set(target[at + 1 : at + 3]) <= hexadecimal
        done += bytes([byte]) if byte in safe or is_escape else b'%%%02X' % byte
    return done


# When to try again

_DATES = ('%a, %d %b %Y %H:%M:%S GMT', '%A, %d-%b-%y %H:%M:%S GMT', '%a %b %d %H:%M:%S %Y')


def retry_after(value: bytes, now: float, most: float) -> object:
    """The seconds that are waited; `None` if the response is handed out."""
    seconds: float
    if value and not set(value) - DIGITS:
        seconds = float(value)
    elif not value:
        seconds = 0.0
    elif set(value) - _PRINTABLE or b'\t' in value:
        return ANYTHING  # which of them are white space, the standard library says
    else:
        for form in _DATES:
            try:
                date = dt.datetime.strptime(value.decode(), form).replace(tzinfo=dt.UTC)
            except ValueError:
                continue
            if date.year < 100:  # which the standard library takes for one of this or the last century
                return ANYTHING
            seconds = max(0.0, date.timestamp() - now)
            break
        else:
            return ANYTHING
    return seconds if seconds <= most else None


# Forms


def multipart(parts: Sequence[tuple[str, bytes, str | None, bytes | None]], boundary: bytes, *, made: bool) -> object:
    """The parts as they are read on the other side, or the error."""
    found: list[tuple[bytes, bytes, bytes | None, bytes | None]] = []
    broken = False
    for name, held, filename, kind in parts:
        if kind is not None and (not kind or set(kind[:1] + kind[-1:]) & set(b' \t') or set(kind) - _PRINTABLE):
            return 'ValueError'
        if b'\r\n--' + boundary in b'\r\n' + held:
            broken = True
        shown = name.replace('\r\n', '\n').replace('\r', '\n').replace('\n', '%0D%0A').replace('"', '%22')
        file = None if filename is None else filename.replace('\n', '%0A').replace('\r', '%0D').replace('"', '%22')
        default = None if file is None else b'application/octet-stream'
        found.append((shown.encode(), held, None if file is None else file.encode(), default if kind is None else kind))
    if broken:
        return 'BoundaryError' if made else 'ValueError'
    return tuple(found)


_PRINTABLE = frozenset([9, *range(0x20, 0x7F)])

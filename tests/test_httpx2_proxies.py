"""The transport through proxies: our own, and those that nobody here wrote."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

import lowhaio_tunnel
from support import programs
from support.bridges import Bridge, answering, every_bridge, in_pieces, with_length
from support.certificates import Authority
from support.pools import answer
from support.real import HOST, free_ports, running
from support.scripted import Peer, refusing, scripted
from support.sockets import clients_of
from support.stepping import sweep
from support.tunnels import connect_proxy, socks5_proxy

BASIC = 'Basic ' + base64.b64encode(b'user:secret').decode()


@every_bridge
@pytest.mark.parametrize('encrypted', [False, True], ids=['http', 'https'])
async def test_plain_http_is_forwarded(bridge: Bridge, authority: Authority, encrypted: bool) -> None:
    """In the absolute form, with the headers for the proxy; one connection serves all hosts."""
    heads = []

    def forward(peer: Peer) -> None:
        for head in peer.heads():
            heads.append(head)
            peer.send(with_length())

    async with scripted(forward, tls=authority.server() if encrypted else None) as server:
        proxy = bridge.library.Proxy(
            f'{"https" if encrypted else "http"}://user:secret@localhost:{server.port}',
            headers={'X-Proxy': 'yes', 'Accept': 'not this'},
            ssl_context=authority.client() if encrypted else None,
        )
        async with bridge.client(proxy=proxy) as client:
            for url in ('http://example.com/a?b=c', 'http://example.com:81/', 'http://[::2]:81/', 'http://[::2]/'):
                await client.get(url)
            await client.request('OPTIONS', 'http://example.com/', extensions={'target': b'*'})
    targets = [head.partition(b' HTTP/1.1\r\n')[0] for head in heads]
    assert targets == [
        b'GET http://example.com/a?b=c',
        b'GET http://example.com:81/',
        b'GET http://[::2]:81/',
        b'GET http://[::2]/',
        b'OPTIONS *',
    ]
    assert all(b'\r\nProxy-Authorization: %b\r\n' % BASIC.encode() in head for head in heads)
    assert all(b'\r\nX-Proxy: yes\r\n' in head and b'\r\nAccept: */*\r\n' in head for head in heads)
    assert not any(b'not this' in head for head in heads)
    assert server.accepted == 1


@every_bridge
@pytest.mark.parametrize('scheme', ['http', 'https', 'socks5', 'socks5h'])
@pytest.mark.parametrize('credentials', [None, (b'user', b'secret')], ids=['open', 'with credentials'])
async def test_tunnel(bridge: Bridge, authority: Authority, scheme: str, credentials: Any) -> None:
    """To an origin with TLS, whose name the proxy resolves; its certificate is checked, and connections are reused."""
    async with scripted(answering(with_length()), tls=authority.server('example.com', 'other.example')) as origin:
        routes = {'example.com:443': origin.address[0], 'example.com:8443': origin.address[0]}
        kind = socks5_proxy if scheme.startswith('socks') else connect_proxy
        tls = authority.server() if scheme == 'https' else None
        async with scripted(kind(routes, credentials=credentials), tls=tls) as proxy:
            login = 'user:secret@' if credentials else ''
            options: dict[str, Any] = {'ssl_context': authority.client()} if scheme == 'https' else {}
            through = bridge.library.Proxy(f'{scheme}://{login}localhost:{proxy.port}', **options)
            async with bridge.client(proxy=through, verify=authority.client()) as client:
                for _ in range(2):
                    assert (await client.get('https://example.com/')).text == 'hello'
                assert proxy.accepted == 1
                assert (await client.get('https://example.com:8443/')).text == 'hello'
                sni = {'sni_hostname': 'other.example'}
                assert (await client.get('https://example.com/', extensions=sni)).text == 'hello'
                assert proxy.accepted == 3
                with pytest.raises(bridge.library.ProxyError) as caught:
                    await client.get('https://nowhere.example/')
                assert isinstance(caught.value.__cause__.__cause__, lowhaio_tunnel.RefusedError)
                with pytest.raises(bridge.library.ConnectError, match='certificate'):
                    await client.get('https://example.com/', extensions={'sni_hostname': 'wrong.example'})


@every_bridge
@pytest.mark.parametrize(('scheme', 'url'), [('socks5', 'http'), ('https', 'ws'), ('http', 'ws')])
async def test_tunnel_without_encryption(bridge: Bridge, authority: Authority, scheme: str, url: str) -> None:
    """Plain HTTP through SOCKS5, and what is not HTTP in the end through CONNECT."""
    async with scripted(answer) as origin:
        kind = socks5_proxy if scheme == 'socks5' else connect_proxy
        tls = authority.server() if scheme == 'https' else None
        async with scripted(kind({'example.com:80': origin.address[0]}), tls=tls) as proxy:
            options: dict[str, Any] = {'ssl_context': authority.client()} if scheme == 'https' else {}
            through = bridge.library.Proxy(f'{scheme}://localhost:{proxy.port}', **options)
            async with bridge.client(proxy=through) as client:
                for _ in range(2):
                    assert (await client.get(f'{url}://example.com/')).text == 'hello'
            assert proxy.accepted == 1


@every_bridge
@pytest.mark.parametrize('scheme', ['http', 'socks5'])
async def test_proxy_wants_credentials(bridge: Bridge, authority: Authority, scheme: str) -> None:
    kind = socks5_proxy if scheme == 'socks5' else connect_proxy
    async with scripted(kind({}, credentials=(b'user', b'secret'))) as proxy:
        for login in ('', 'user:wrong@'):
            async with bridge.client(proxy=f'{scheme}://{login}localhost:{proxy.port}', retries=3) as client:
                with pytest.raises(bridge.library.ProxyError) as caught:
                    await client.get('https://example.com/')
                assert isinstance(caught.value.__cause__.__cause__, lowhaio_tunnel.CredentialsError)
    assert proxy.accepted == 2  # what was refused is not tried again


@every_bridge
async def test_proxy_that_is_not_there(bridge: Bridge) -> None:
    with refusing() as address:
        async with bridge.client(proxy=f'http://127.0.0.1:{address[4][1]}') as client:
            for url in ('http://example.com/', 'https://example.com/'):
                with pytest.raises(bridge.library.ConnectError):
                    await client.get(url)


@every_bridge
async def test_settings_of_the_socket_are_those_to_the_proxy(bridge: Bridge, authority: Authority) -> None:
    async with scripted(answering(with_length()), tls=authority.server('example.com')) as origin:
        async with scripted(connect_proxy({'example.com:443': origin.address[0]})) as proxy:
            through = f'http://localhost:{proxy.port}'
            async with bridge.client(verify=authority.client(), proxy=through, local_address='127.0.0.3') as client:
                async with client.stream('GET', 'https://example.com/') as response:
                    address = response.extensions['network_stream'].get_extra_info('client_addr')
                    assert address[0] == '127.0.0.3'
                    await response.aread()


@every_bridge
@pytest.mark.parametrize('scheme', ['http', 'socks5'])
async def test_cancelled_anywhere(bridge: Bridge, authority: Authority, scheme: str) -> None:
    """A tunnel that is being opened leaves nothing behind either."""
    kind = socks5_proxy if scheme == 'socks5' else connect_proxy
    limits = bridge.library.Limits(max_connections=1, max_keepalive_connections=0)
    async with scripted(answering(with_length()), tls=authority.server('example.com')) as origin:
        async with scripted(kind({'example.com:443': origin.address[0]})) as proxy:
            options = {'proxy': f'{scheme}://127.0.0.1:{proxy.port}', 'verify': authority.client(), 'limits': limits}
            async with bridge.client(**options) as client:

                async def exchange() -> None:
                    assert (await client.get('https://example.com/')).text == 'hello'

                async def afterwards() -> None:
                    assert clients_of(proxy.port) == 0

                assert await sweep(exchange, afterwards) >= 2


@every_bridge
@pytest.mark.parametrize('name', ['tinyproxy', 'microsocks'])
async def test_real_proxy(bridge: Bridge, authority: Authority, tmp_path: Path, name: str) -> None:
    """Plain and encrypted, with credentials, up and down."""
    (port,) = free_ports(1)
    if name == 'tinyproxy':
        configuration = f'Port {port}\nListen {HOST}\nTimeout 20\nBasicAuth user secret\n'
        (tmp_path / 'tinyproxy.conf').write_text(configuration)
        command = [programs.needed('tinyproxy'), '-d', '-c', str(tmp_path / 'tinyproxy.conf')]
    else:
        command = [programs.needed('microsocks'), '-i', HOST, '-p', str(port), '-u', 'user', '-P', 'secret']

    def echo(peer: Peer) -> None:
        peer.until(b'\r\n\r\n')
        size = int(peer.until(b'\r\n'), 16)
        peer.send(with_length(peer.recv_exactly(size)))
        peer.until_closed()

    scheme = 'http' if name == 'tinyproxy' else 'socks5h'
    with running(command, tmp_path / 'log', port):
        async with scripted(echo) as plain, scripted(echo, tls=authority.server()) as encrypted:
            proxy = f'{scheme}://user:secret@{HOST}:{port}'
            async with bridge.client(proxy=proxy, verify=authority.client()) as client:
                for url in (f'http://localhost:{plain.port}/', f'https://localhost:{encrypted.port}/'):
                    body = bytes(range(256)) * 400
                    assert (await client.post(url, content=in_pieces([body]))).content == body
            async with bridge.client(proxy=f'{scheme}://user:wrong@{HOST}:{port}') as client:
                with pytest.raises(bridge.library.ProxyError):
                    await client.get(f'https://localhost:{encrypted.port}/')

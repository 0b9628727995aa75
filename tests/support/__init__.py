"""Helpers for the tests. Every module says at its head what it is for and how to use it.

| module           | what it gives                                                                     |
|------------------|-----------------------------------------------------------------------------------|
| `loops`          | event loops that tell what they hold, and one whose clock the test moves          |
| `leaks`          | what a test has left behind: tasks, timers, watched descriptors, sockets, threads |
| `programs`       | the programs of Debian that are there; with LOWHAIO_TESTS_BARE=1 none is          |
| `sockets`        | what this process holds open towards a server, as the kernel sees it              |
| `stepping`       | cancels a coroutine at its first suspension, its second, and so on                |
| `certificates`   | throw-away certificate authorities and the TLS contexts made from them            |
| `pools`          | pools for tests, whole exchanges in one call, sockets that keep a record          |
| `one_exchange`   | a pool and a server for one exchange at a time, and the steps of a client         |
| `scripted`       | servers that do exactly what a test tells them, byte by byte if need be           |
| `puppets`        | a server that takes orders from the test, one at a time                           |
| `addresses`      | several addresses with one port: some answer and some do not                      |
| `vectors`        | responses, and what a client must make of each                                    |
| `oracle`         | the same verdicts, found in another way than the core finds them                  |
| `proxy`          | does harm at one byte of its choice, between the client and a real server         |
| `retry`          | the rule for trying a request again, in ten lines                                 |
| `calls`          | how much work something is, as the number of functions that it calls              |
| `fuzzing`        | the response path under bytes that nobody chose                                   |
| `readers`        | what the recipes read, made ready for the same fuzzer                             |
| `reader_oracles` | what must come out of it, found in another way                                    |
| `workers`        | how the tests are shared out between processes that run at the same time          |
| `load`           | many tasks, many connections, many requests, a server that goes away              |
| `moody`          | a server of moods, in a process of its own, for the load                          |
| `costs`          | counts what a request costs                                                       |
| `figures`        | counts what `docs/reliability.md` tells                                           |
| `real`           | servers that nobody here wrote, with the smallest set of paths                    |
| `interop`        | granian, hypercorn and nginx, with all that the tests of behaviour ask for        |
| `debian_servers` | Apache httpd, HAProxy, lighttpd, Caddy and Node, with the same                    |
| `s3`             | moto: S3 and other services of AWS, which check signatures                        |
| `app`            | the small ASGI application that granian and hypercorn serve                       |
| `conformance`    | the contract of a body wrapper, as a check that takes any wrapper                 |
| `context_conformance` | the contract of a context, as a check that takes any context                 |
| `tunnels`        | proxies of our own, for CONNECT and for SOCKS5                                    |
| `exchanges`      | exchanges in one call: of `lowhaio_request`, and ones that a test writes as a list |
| `exchange_conformance` | the contract of an exchange, as a check that takes any wrapper of one       |
| `bridges`        | the transports for httpx2 and httpx, as one parameter of a test                   |
| `models`         | a server with the endpoints that the SDKs of openai and anthropic call            |
| `fences`         | the fences of the Markdown files, and how their Python is run                     |
| `example_com`    | the servers that the documentation talks to                                       |

The fixtures made from these are in `tests/conftest.py`.
"""

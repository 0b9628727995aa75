"""Helpers for the tests. Every module says at its head what it is for and how to use it.

| module         | what it gives                                                                    |
|----------------|----------------------------------------------------------------------------------|
| `loops`        | event loops that tell what they hold, and one whose clock the test moves          |
| `leaks`        | what a test has left behind: tasks, timers, watched descriptors, sockets, threads |
| `stepping`     | cancels a coroutine at its first suspension, its second, and so on                |
| `scripted`     | servers that do exactly what a test tells them, byte by byte if need be           |
| `certificates` | throw-away certificate authorities and the TLS contexts made from them            |
| `real`         | servers that nobody here wrote: granian, hypercorn and nginx                      |
| `app`          | the small ASGI application that granian and hypercorn serve                       |
| `conformance`  | the contract of a body wrapper, as a check that takes any wrapper                 |

The fixtures made from these are in `tests/conftest.py`.
"""

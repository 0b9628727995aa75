"""Install with uv where that works, which takes seconds where pip takes a minute, and with pip where it does not.

`python tools/install.py --requirement requirements-dev.txt` does what `python -m pip install` does with the same
arguments, in the environment of the Python that runs it, which has uv. uv does not read pip's settings, so those that
say where packages come from are handed to it: who has pip installed from a mirror gets everything from there.
"""

import ast
import os
import subprocess
import sys

SETTINGS = {
    'index-url': 'UV_DEFAULT_INDEX',
    'extra-index-url': 'UV_INDEX',
    'find-links': 'UV_FIND_LINKS',
    'no-index': 'UV_NO_INDEX',
    'trusted-host': 'UV_INSECURE_HOST',
    'cert': 'SSL_CERT_FILE',
    'client-cert': 'SSL_CLIENT_CERT',
    'proxy': 'ALL_PROXY',
}
"""What pip calls it, and uv."""

PIP = [sys.executable, '-m', 'pip']
UV = [sys.executable, '-m', 'uv', 'pip', 'install', '--quiet', '--python', sys.executable]


def settings() -> dict[str, str]:
    """The environment that tells uv what pip is told. pip takes the best version of all its indexes, and so does uv."""
    listed = subprocess.run([*PIP, 'config', 'list'], check=True, capture_output=True, text=True).stdout
    found = {'UV_INDEX_STRATEGY': 'unsafe-best-match'}
    # What the environment says counts more than what the files say for `install`, and that more than `global`.
    for section in ('global.', 'install.', ':env:.'):
        for line in listed.splitlines():
            key, _, value = line.removeprefix(section).partition('=')
            if line.startswith(section) and key in SETTINGS:
                separator = ',' if key == 'find-links' else ' '
                found[SETTINGS[key]] = separator.join(ast.literal_eval(value).split())
    return found


def main(arguments: list[str]) -> int:
    """Install; the exit code is that of whoever came last."""
    if not subprocess.run([*UV, *arguments], env=settings() | os.environ, check=False).returncode:
        return 0
    sys.stderr.write('uv could not do it, now pip tries\n')
    return subprocess.run([*PIP, 'install', '--quiet', *arguments], check=False).returncode


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

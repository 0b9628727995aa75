"""Give all packages a version: `make version VERSION=0.2.0`."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
VERSION = re.compile(r"(?m)^version = '(.+)'$")


def main(version: str) -> None:
    """Write it into every pyproject.toml, and over what is unreleased in the changelog; or say what is wrong."""
    if not re.fullmatch(r'[0-9]+\.[0-9]+\.[0-9]+', version):
        sys.exit(f'VERSION is {version!r}: three numbers with dots, such as 0.2.0')
    projects = sorted(ROOT.glob('packages/*/pyproject.toml'))
    before = {VERSION.findall(project.read_text())[0] for project in projects}
    if version in before:
        sys.exit(f'{version} is the version already')
    changelog = ROOT / 'CHANGELOG.md'
    told = changelog.read_text()
    if '## Unreleased\n' not in told:
        sys.exit('CHANGELOG.md has nothing under "Unreleased"')
    for project in projects:
        project.write_text(VERSION.sub(f"version = '{version}'", project.read_text()))
    changelog.write_text(told.replace('## Unreleased\n', f'## {version}\n', 1))


if __name__ == '__main__':
    main(sys.argv[1])

"""A virtual environment for each file of requirements, made when it is first needed."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE / '.venvs'


def python_of(requirements: Path) -> Path:
    """The Python of an environment that meets the requirements. It is made anew when they or this Python change."""
    folder = ENVIRONMENTS / requirements.stem
    made_for = folder / 'made-for.txt'
    wanted = f'{sys.version}\n{requirements.read_text()}'
    if not made_for.exists() or made_for.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / 'bin' / 'python'), '-m', 'pip', '--disable-pip-version-check', '--quiet']
        run = subprocess.run(
            [*pip, 'install', '--requirement', str(requirements)],
            check=False,
            cwd=HERE.parent,
            capture_output=True,
            text=True,
        )
        if run.returncode:
            raise RuntimeError(f'its environment could not be made: {run.stderr.strip()}')
        made_for.write_text(wanted)
    return folder / 'bin' / 'python'

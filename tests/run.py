"""Install what the tests need into a virtual environment, and run them there.

    python3 tests/run.py [--venv FOLDER] [options of pytest …]

Needs Python ≥ 3.11 with pip, and nothing else. Tests marked `alone` start many processes, or
kill servers under load: they come last, one at a time. With a path or `-m` among the
options, it is one run of what they choose.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Return pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-test")
    options, arguments = parser.parse_known_args()
    folder: Path = options.venv
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    requirements = str(ROOT / "tests" / "requirements.txt")
    for what in (["--require-hashes", "-r", requirements], ["--no-deps", "-e", str(ROOT)]):
        installed = subprocess.run([*install, *what], check=False)
        if installed.returncode:
            print(f"pip could not install: {' '.join(what)}", file=sys.stderr)
            return installed.returncode
    command = [str(python), "-m", "pytest", *(arguments or ["-n", "auto"])]
    if "-m" in arguments or any((ROOT / one.partition("::")[0]).exists() for one in arguments):
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    phases = (["-m", "not alone"], ["-m", "alone", "-n", "0"])
    codes = [
        subprocess.run([*command, *phase], cwd=ROOT, check=False).returncode for phase in phases
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())

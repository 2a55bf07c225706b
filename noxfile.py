"""Sessions for developers: `nox` runs the tests on every interpreter that is here."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests"]
# Also where CI is set: a machine has the interpreters that it has.
nox.options.error_on_missing_interpreters = False

REQUIREMENTS = "tests/requirements.txt"


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Run the tests."""
    session.install("--require-hashes", "-r", REQUIREMENTS)
    session.install("--no-deps", ".")
    session.run("pytest", "-n", "auto", *session.posargs)


@nox.session
def checks(session: nox.Session) -> None:
    """Run lint, types and import layers."""
    session.install("--require-hashes", "-r", REQUIREMENTS)
    session.install("--no-deps", "-e", ".")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("pyright")
    session.run("lint-imports")

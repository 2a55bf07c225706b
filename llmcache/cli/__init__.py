"""The `llmcache` command: what a cache holds, why a call misses, upkeep, and a demo.

One module per command or group of them (`inspect`, `show`, `explain`, `maintain`,
`transfer`, `copy`, `up`, `demo` with its `scenes`), and what they share: `opening` (from a folder
to a cache), `places` (other caches), `reading` (entries and their answers), `asking` (requests and
who sends them), `parsing` (sizes, durations, request files), `output` (tables and JSON).
"""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import LLMCacheError
from . import output

__all__ = ["main", "make_app"]

_HELP: Final = """Look into, tend and carry over a cache of LLM answers.

Every command takes --cache-dir (else LLMCACHE_DIR, else ./cache; `demo` uses a
temporary folder; `copy` takes two places; `up` runs servers and takes --data-dir) and --json, which prints one JSON document on standard output and
nothing else there.

\b
Exit codes:
  0  done
  1  the answer is no: `show` and `explain` found nothing stored, `verify` found
     damage, `import` rejected lines, `export` or `copy` left entries out, `demo` saw something else than it claims
  2  it could not be done: a wrong argument, no such folder, a store that failed
"""


class _Commands(TyperGroup):
    """Turns what goes wrong in a command into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was named."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever read our output has enough; the frame around us ends quietly
        except (LLMCacheError, OSError) as error:
            output.fail(error)
            raise typer.Exit(2) from None


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"llmcache {__version__}")
        raise typer.Exit


def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def make_app() -> typer.Typer:
    """Return the command line, to be called or to be tested."""
    # Only what a command needs is imported, and only when there is a command line at all.
    from .copy import copy  # noqa: PLC0415
    from .database import make_db  # noqa: PLC0415
    from .demo import demo  # noqa: PLC0415
    from .explain import explain  # noqa: PLC0415
    from .inspect import list_entries, stats  # noqa: PLC0415
    from .maintain import invalidate, prune, verify  # noqa: PLC0415
    from .show import show  # noqa: PLC0415
    from .transfer import export, import_  # noqa: PLC0415
    from .up import up  # noqa: PLC0415

    app = typer.Typer(
        cls=_Commands,
        help=_HELP,
        callback=_options,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.command("demo")(demo)
    app.command("stats")(stats)
    app.command("ls")(list_entries)
    app.command("show")(show)
    app.command("explain")(explain)
    app.command("prune")(prune)
    app.command("invalidate")(invalidate)
    app.command("verify")(verify)
    app.command("export")(export)
    app.command("import")(import_)
    app.command("copy")(copy)
    app.command("up")(up)
    app.add_typer(make_db(), name="db")
    return app


def main() -> None:
    """Run the command line of this process and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character shows its escape; nothing fails over it.
            stream.reconfigure(errors="backslashreplace")
    make_app()(prog_name="llmcache")

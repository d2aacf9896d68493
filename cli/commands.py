"""The command line: the app and its commands, one file a group of them.

A command parses, calls one function of the package, prints; every import of substance happens inside it.
Results go to stdout, everything else to stderr. Exit codes: 0 done; 1 nothing meets the limits; 2 bad input;
3 the target cannot be used; 4 something regressed (`verify`, `compare`, `nightly`, `drift`); 130 interrupted,
and the same command goes on.
"""

from typing import Annotated

import typer

from .compare import compare
from .front import front, report
from .init import init
from .nightly import gc, nightly, rollback
from .nights import nights
from .pick import pick
from .push import push
from .runs import runs
from .search import search
from .service.mcp import mcp
from .service.serve import serve
from .service.submit import submit
from .service.worker import worker
from .targets import measure, targets_app
from .verify import drift, verify

app = typer.Typer(
    name="autocompress",
    help="Compress a trained PyTorch model for named hardware: search, measure, pick, ship.",
    epilog="First steps: `autocompress search` (a built-in example, 3 minutes), "
    "then `autocompress front runs/digits-cpu`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(targets_app, name="targets", invoke_without_command=True)
for command in (init, search, runs, front, report, compare, pick, push, verify, drift, measure):
    app.command()(command)
for of_service in (serve, submit, worker, mcp):
    app.command()(of_service)
for of_nights in (nightly, nights, rollback, gc):
    app.command()(of_nights)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"autocompress {version('autocompress')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Options of `autocompress` itself; their callbacks have done everything."""

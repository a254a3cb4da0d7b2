"""The program `recourse`: one file for each family of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .check import check
from .demo import demo
from .find import find
from .policy import app as policy_app
from .reporting import ReportingGroup, stdout
from .revalidate import revalidate
from .warmup import warmup

__all__ = ["app"]

app = typer.Typer(
    name="recourse",
    cls=ReportingGroup,
    help="Find the smallest change that turns a model's decision, with its proof.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        stdout().print(f"fairpath {__version__}", highlight=False)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the smallest change that turns a model's decision, with its proof."""
    if context.invoked_subcommand is None:
        stdout().print(context.get_help(), highlight=False, markup=False, end="")


app.command("demo")(demo)
app.command("find")(find)
app.command("check")(check)
app.command("revalidate")(revalidate)
app.add_typer(policy_app, name="policy")
app.command("warmup")(warmup)

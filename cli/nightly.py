"""The commands `nightly`, `rollback` and `gc`: a scheduled run of several models, and what follows it."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from ..text.printable import json_text
from .console.log import LogFormat, LogFormatOption, Quiet, say
from .nights import tell_of
from .support import Json, errors, show

if TYPE_CHECKING:
    from ..nightly.config import NightlyConfig

ConfigFile = Annotated[
    Path, typer.Argument(metavar="[FILE]", help="The nightly.toml that names models, policies and rules.")
]
OnlyModel = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Only this model of the file; repeatable."),
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name in nightly.toml.")]
ToVersion = Annotated[
    str | None,
    typer.Option("--to", metavar="VERSION", help="The version to go back to; the one before if not given."),
]
PlanOnly = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be done, and do and write nothing.")
]


def nightly(
    file: ConfigFile = Path("nightly.toml"),
    *,
    only: OnlyModel = None,
    dry_run: PlanOnly = False,
    as_json: Json = False,
    quiet: Quiet = False,
    log_format: LogFormatOption = LogFormat.text,
) -> None:
    """Search several models, verify and renew what is deployed, and say what got worse.

    The first line says why the exit code is what it is: 0 nothing got worse; 4 something did, twice in a row
    beyond its tolerance; 3 a target could not be used; 1 a search failed; 2 the file is wrong. After a kill,
    a reboot or when a board is back, the same command continues the night.

    Examples:

        autocompress nightly nightly.toml --dry-run

        autocompress nightly nightly.toml

        autocompress nightly nightly.toml --only digits --json
    """
    with errors():
        from ..nightly.config_file import read_config, require_tasks

        config = _only(read_config(file), only or [])
        require_tasks(config)
        if dry_run:
            from ..nightly.plan import plan_of

            plan = plan_of(config)
            print(json_text(plan.to_json(), indent=2)) if as_json else show(*plan.lines)
            return
        _run(config, as_json=as_json)


def _only(config: "NightlyConfig", names: list[str]) -> "NightlyConfig":
    """The configuration with the models of these names alone. InputError for a name that it does not have."""
    known = [model.name for model in config.models]
    for name in names:
        if name not in known:
            raise InputError(f"--only {name!r} is no model of {config.file}: choose {', '.join(known)}.")
    models = tuple(model for model in config.models if model.name in names)
    return replace(config, models=models) if names else config


def _run(config: "NightlyConfig", *, as_json: bool) -> None:
    from ..nightly.commands import Commands
    from ..nightly.night_run import run_night
    from ..nightly.records.event import exit_code
    from ..nightly.summary import night_lines

    try:
        night = run_night(config, commands=Commands(config.place), say=say)
    except KeyboardInterrupt:
        say("Interrupted: the same command continues the night.")
        raise
    tell_of(config, night)
    code = exit_code(night.all_events)
    if as_json:
        value = {"reason": night.reason, "exit_code": code, **night.to_json()}
        print(json_text(value, indent=2))
    else:
        show(*night_lines(night))
    raise typer.Exit(code)


def rollback(
    model: ModelName,
    file: ConfigFile = Path("nightly.toml"),
    *,
    to: ToVersion = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Deploy the version of a model again that was deployed before, at once.

    The artifact that was deployed is not deployed again by a later night.

    Examples:

        autocompress rollback digits

        autocompress rollback digits nightly.toml --to 2026-11-28-trial7
    """
    with errors():
        from ..nightly.config_file import read_config
        from ..nightly.places import Places, working_in
        from ..nightly.steps.deploying import roll_back

        places = Places(folder=read_config(file).folder)
        with working_in(places, command="rollback"):
            before = places.read_deployed(model).current
            after = roll_back(places, model, to)
        if as_json:
            print(json_text({"model": model, "before": before, "deployed": after.current}))
        else:
            show(f"{places.link(model)}: {after.current} is deployed instead of {before}")


def gc(
    file: ConfigFile = Path("nightly.toml"),
    *,
    dry_run: PlanOnly = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Remove old nights and bundles beyond `keep`, caches, and copies of equal artifacts.

    Every night does the same at its end. What is deployed, the version before it, and the night that the next
    one is compared with always stay.

    Examples:

        autocompress gc nightly.toml --dry-run
    """
    with errors():
        from ..nightly.config_file import read_config
        from ..nightly.disk import collect
        from ..nightly.places import Places, working_in
        from ..profiles.units import format_size

        config = read_config(file)
        places = Places(folder=config.folder)
        if not places.nights.is_dir():
            raise InputError(
                f"There are no nights in {config.folder}: `autocompress nightly {file}` makes one."
            )
        with working_in(places, command="gc"):
            done = collect(places, keep=config.keep, dry_run=dry_run)
        if as_json:
            print(json_text(asdict(done), indent=2))
            return
        verb = "would go" if dry_run else "went"
        show(
            f"{format_size(done.freed_bytes)} {verb}: {len(done.nights)} nights, {len(done.bundles)} bundles"
        )
        show(*(f"  night {name}" for name in done.nights), *(f"  bundle {name}" for name in done.bundles))
        if done.joined:
            show(f"  {done.joined} copies of artifacts became links")

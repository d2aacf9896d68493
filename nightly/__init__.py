"""Every night: searches on a schedule, what is deployed looked at again, regressions found and named.

Purpose. `autocompress nightly nightly.toml` goes through models. Each is searched (warm-started from the last
good night), compared with that night, its deployed bundle is verified, and a better one is deployed. A night
that is killed goes on with the same command.

Reading order
    config.py, config_file.py   NightlyConfig, and nightly.toml as one, read strictly
    records/                    what a night writes down; whoever shows nights needs nothing else
    places.py                   the folder: where what is, who may work in it, the records as files
    night_run.py                run_night: models in their order, the window, tries, each step written down
    steps/                      search, compare, verify, in turns, deploy
    work.py, commands.py        what each step needs; autocompress's own commands as child processes
    telling.py                  sentences for what changed; what counts as worse is results/compare/
    search_recipe.py      a name for target, limits and policy, for `search` and the service
    plan.py, summary.py         what `--dry-run` shows; a night for a terminal
    disk.py                     what is kept: `gc`
    pages/                      what people and programs see: a page, JSON, JUnit XML, Markdown, messages

The folder, `nightly/` beside the file unless it says otherwise:
    nights/2026-11-29/night.json       the record, written after every step
    nights/2026-11-29/MODEL/run/       the run directory of the search
    nights/2026-11-29/MODEL/log.txt    what its commands said
    deployed/MODEL                     a link to the bundle that is deployed
    deployed/MODEL.json                its versions
    deployed/.versions/MODEL/          their bundles
    index.html, summary.json, junit.xml, summary.md    all nights and the last one, made of the records

What it does not know: torch, how a latency is taken, what a bundle is made of. It runs the commands that a
user would.
"""

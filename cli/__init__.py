"""The command line: one file for each group of commands. It parses, calls the package and prints.

Flow. `app.main` is the command `autocompress`: it listens for Ctrl-C, then runs the app. A command reads its
options into a record, does all imports of substance inside, and turns the project's errors into one sentence
and an exit code (support.errors).

Reading order
    app.py       `main`
    commands.py  the app, its groups of commands, `--version`
    console/     Ctrl-C, streams, what is said beside the result, what the shell completes
    support.py   what all commands share: exit codes, errors, option types, quantities from text
    init.py      `init`
    search.py    `search`, `search --dry-run`
    runs.py      `runs`
    front.py     `front` and `report`
    compare.py   `compare`
    pick.py      `pick` and `pick --finetune`
    push.py      `push`
    verify.py    `verify`
    nightly.py   `nightly`, `rollback`, `gc`
    nights.py    `nights`, and whom `nightly` tells
    service/     `serve`, `submit`, `worker`, `mcp`
    targets.py   `targets list, show, doctor, calibrate` and `measure`

What it does not know: how anything is computed. Results go to stdout, everything else to stderr.
"""

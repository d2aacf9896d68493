"""The terminal around a command: what is said beside the result, what ends it, what the shell completes.

Purpose. Every command is the same to a terminal, a pipe and a shell. What holds for all of them stands here,
and a command file only asks for it.

Flow. `app.main` opens Interruption and prepares the streams, before anything else is imported. A command
says what it does beside its result by `log.py`. The shell asks `completion.py` while the user types.

Reading order
    interruption.py  Ctrl-C, SIGTERM and SIGHUP from the first moment on
    streams.py       streams that take any text, and warnings as lines
    log.py           what is said beside the result: `--quiet`, `--log-format`
    completion.py    what the shell completes: runs, targets, tasks

What it does not know: which commands there are, and what they do.
"""

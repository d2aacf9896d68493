"""How the tables change from version to version, by Alembic.

Flow. `opened.py` runs `alembic.command.upgrade`, which runs `env.py` here, which runs those files of
`versions/` that the database does not have yet, in one transaction.

A new version is a new file there, `v0002_what.py`, with `revision`, `down_revision` and `upgrade()`. A file
that was released is never changed. The test of the migrations compares what they make with tables.py.
"""

"""The versions of the tables, in their order: one file for each.

    v0001_first.py   users, tokens, sessions, jobs with their events, devices, workers, the audit log
    v0002_deliveries.py   webhooks, deployments, the disk of a search

Each is run once for a database, by Alembic (the folder above says how). What a file once made stays as it
was; a later file changes it. Only the newest may differ from what is released.
They know no other module: a change of tables.py must not change them.
"""

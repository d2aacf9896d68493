"""Where the service keeps what it knows: SQLite below its data folder, or PostgreSQL.

Flow. `opened.open_database` makes the tables or brings them to this version (migrations/), and returns a
`Database`, whose `reading()` and `writing()` are transactions. On SQLite a writing one is immediate: it waits
for its turn at its beginning and never fails in the middle.

Reading order: `tables.py` (what is stored), `opened.py` (transactions), `migrations/` (how tables change).

What it does not know: what a row means to others; the rules are in `queue/` and `access/`.
"""

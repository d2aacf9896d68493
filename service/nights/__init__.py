"""Nightly runs of the service: their files are edited here, their nights are begun here and looked at.

Flow. serve.toml lists files by name (`[nightly.NAME]`). `files.py` reads one with an ETag and replaces it
when what is new is read by nightly's own parser and names only what serve.toml allows. `runner.py` begins
`autocompress nightly FILE` each day at the file's `at`, and goes on with a night that was interrupted.

Reading order: `files.py`, `runner.py`.

What it does not know: what a night does, HTTP.
"""

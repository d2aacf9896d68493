"""Backups of a service, made while it runs, and put back elsewhere.

Flow. `serve backup FILE` copies the database as it is at one moment, and packs it with the files that
`files.py` names; `serve restore FILE` checks the SHA-256 of each before it puts one into an empty folder.

Reading order
    files.py      what of the data folder belongs in a backup: records, uploads, nights
    archive.py    the archive: written, checked, unpacked

What it does not know: what is in a run, a night or an upload. It imports no web server.
"""

"""What people and programs see of nights: a page, JSON, JUnit XML, Markdown, messages.

Purpose. Whoever did not watch the night reads `index.html` in the morning, a CI system reads `junit.xml`, a
script `summary.json`; `summary.md` is for a CI summary. A message goes to whom nightly.toml names. All of it
is made of the records alone (`nightly/records/`), so that `autocompress nights` can make it again.

Flow. `places.Places.read_nights` → `trends.py` (each model's numbers over the nights) → `page.py` with
`chart.py`; `summary_json.py`, `junit.py`, `markdown.py` → `write.py` writes the files. `message.py` says
whether and what somebody is told, `sending.py` sends it.

Reading order: `write.py`, `trends.py`, `page.py`, `chart.py`, `summary_json.py`, `junit.py`,
`markdown.py`, `message.py`, `sending.py`.

Rules: every text of a record is escaped where it is shown. Addresses of messages are in no file and no log.

What it does not know: how a night is run, the environment's variables (the command line reads them).
"""

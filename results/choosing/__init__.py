"""Which point to take: one rule, for `front`, `pick`, the report and the line "Next".

Purpose: a front offers many points, and a user takes one. The star of the table, what `pick` takes by
default, the recommendations of the report and the command that `search` prints are the same, because all of
them ask here.

Flow: a Run and limits → `choose.py` (the best point for an aim; what the measurements do not tell apart goes
by quality, then by size; nothing that `slower.py` does not show to be as fast as the original) →
`recommended.py` (the star with its reason, and the named points) → `words.py` (them as lines and commands).

A `Policy` (`policy.py`) is such a choice in a user's words, for comparing runs and for what is deployed each
night: an aim and limits, parsed from `smallest within 1pp and 2ms`.

Reading order: `slower.py`, `choose.py`, `recommended.py`, `words.py`, `policy.py`.

It does not know the command line, files, or how anything was measured.
"""

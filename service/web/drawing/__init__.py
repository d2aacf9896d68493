"""Fronts as HTML and charts, made in a process of their own and kept on disk.

Purpose. A front of 1,000 points takes seconds to read and to draw. A page must not wait for that, nor must
other requests beside it: they get what is drawn already, and the page asks again.

Flow. `Drawings.of` returns what is kept of a search, and asks for what is newer. One process draws one front
after the other, with less priority than a search has (`drawer.py`), and writes into `DATA/drawn/ID/`. One
of a search that has ended is drawn at once, of one that runs when somebody looks: nothing should disturb it.

Reading order: `drawn.py` (what is kept, who asks), `drawer.py` (how it is made).

What it does not know: jobs, users, HTTP.
"""

"""Text on its way out: nothing that comes from outside acts, and no secret leaves the machine.

Purpose: names of layers, tensors, metrics and tasks, messages of libraries and boards, and whatever is in a
run directory or a bundle may be chosen by somebody else. They are shown as text, wherever they go. A token
that was given to a task is in none of the files that ship.

Reading order
    printable.py   one line for a terminal; the same as HTML, as a cell of CSV, and JSON
    svg.py         texts and round numbers of charts
    secrets.py     what looks like a secret, and the same text without it

Who writes calls it where the text leaves: the print functions of `cli/support.py`, the progress of a search,
the tables, the report's `escape`, the files of a run. Names are not changed when they are read: the records
hold what the file says. But a record of a run holds no secret, even of a file that does.

It does not know what a text means, and needs the standard library alone.
"""

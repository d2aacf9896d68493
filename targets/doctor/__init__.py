"""The doctor: what is missing to use a target, or to trust its measurements, and how to mend it.

Purpose. `targets doctor` looks at a target in the order in which things fail, and says of each what it saw
and which command mends it. A Finding that is `needed` and not ok makes the target unusable; nothing behind it
is looked at.

Flow. A board is looked at first (board.py): connection, architecture, modules, disk, rights, lock. Then a
worker is started there or here, and its environment is judged: by the runtime's own doctor.py, and by what
holds on every machine (examination.py). Then comes the board's condition (condition.py), and last an A/A
control, which measures.

Reading order
    ../on_device/runtimes/finding.py   Finding, and what a runtime's doctor.py is given
    examination.py                     doctor(): all of it, in order
    board.py                           what a board over SSH lacks before a worker can be started
    condition.py                       power mode, clocks, temperature, throttling; notes before a search

What it does not know: models, tasks, recipes; which runtimes there are.
"""

from .examination import doctor

__all__ = ["doctor"]

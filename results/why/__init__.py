"""Why a run came out as it did on one of its targets (a RunOn): pure functions, sentences with numbers.

Purpose: a table of points says what there is, not why. This answers what ends the front, which layers are to
blame, what the nearest misses lacked, which points are the same for all that was measured, where the time
went, and how far the search's own predictions could be trusted.

Reading order
    options.py   a limit as the command line writes it, and the smallest one that admits a point
    space.py     the points that are worth talking about
    limits.py    the limit that binds; what the points just outside the limits lacked
    layers.py    the most sensitive slots
    indistinguishable.py  the points that latency does not tell apart
    spent.py     seconds by activity
    trust.py     predicted against measured latency, rung against rung
    summary.py   Why: all of it, for `front --json` and the report, and as a few lines for a terminal

Every answer is None or empty when the run does not hold what it needs. It knows no model, study or device.
"""

from .indistinguishable import indistinguishable_groups
from .layers import sensitive_layers
from .limits import binding_constraint, miss_reasons
from .spent import time_of, time_spent, time_words
from .summary import Why, why_json, why_lines
from .trust import predicted_latency, rung_correlations

__all__ = [
    "Why",
    "binding_constraint",
    "indistinguishable_groups",
    "miss_reasons",
    "predicted_latency",
    "rung_correlations",
    "sensitive_layers",
    "time_of",
    "time_spent",
    "time_words",
    "why_json",
    "why_lines",
]

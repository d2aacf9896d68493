"""The report of a run: one HTML file that opens anywhere, without a network.

Purpose: what people look at first. It answers, from top to bottom: which model do I get, at what cost (the
chosen point against the original and uniform int8); which others are recommended, with the command for each;
what else could I have (three views of the front, the front as a table); why not a better one; what was done
to it (its layers); what failed; on what was it measured. How the search went (hypervolume, sensitivities,
predictions, space) is closed at the end, for experts.

Flow: a Run → its view on each target (RunOn) → `charts.py` (Plotly figures of the marks in `marks.py`),
`overview.py`, `advice.py`, `why.py` and `sections.py`, `verified.py` (HTML fragments), `layers.py` (what each
layer became, as JSON) → `page.py` puts them, the style sheet, the script and plotly.js into `template.html`.

Reading order: `page.py`, `template.html`, `overview.py`, `advice.py`, `why.py`, `sections.py`, `charts.py`,
`marks.py`, `layers.py`, `script.js`, `style.css`.

Rules: every text that comes from a user goes through `escape`, or is set by the script as text. Colors live
in `style.css` only; a figure names them (`var(--front)`), and the script resolves the names for the light or
dark theme. The page's content security policy forbids every connection.

`compared.py` is a comparison of runs (results/compare/): a section of the report (`report --against`), or a
page of its own (`compare --html`). `resources.py` has the files beside it and the slots of templates.

`study.py` writes the run as an Optuna study for optuna-dashboard (`report --study`).

It does not know models, the search's study or measuring, only the run's numbers.
"""

from .page import write_report

__all__ = ["write_report"]

"""Which point to take: the recommended points with their numbers, each with the command that bundles it."""

from collections.abc import Callable

from ...text.printable import escape
from ..choosing.choose import limits_for
from ..choosing.recommended import NamedPoint, named_points, recommended
from ..formats import Formats, label_of, ratio_of, ratio_text, speed_text
from ..pick import limits_text
from ..placed import common_ratio, place_of, placed
from ..records.point import Point
from ..records.run import Run
from ..view import views_of

Command = Callable[[Point], str]


def advice(run: Run, command: Command) -> str:
    """The section of the page: a card for each named point, the star first; where the star is the original,
    its command; where nothing meets the limits, nothing.
    """
    star, named = recommended(run), named_points(run)
    if not star.meets:
        return ""
    if not named:
        reason = f"The original: {star.reason}."
        return _section(f'<p class="lead">{escape(reason)}</p>{_command(command(star.point))}')
    lead = (
        f"Within {limits_text(run, limits_for(run))}; none is slower than the original (whole interval). "
        "A click on a point shows its layers, a click on a command selects it."
    )
    cards = "".join(_card(run, each, star=each.point is star.point, command=command) for each in named)
    return _section(f'<p class="lead">{escape(lead)}</p><ul class="picks">{cards}</ul>')


def _section(content: str) -> str:
    return f'<section class="advice"><h2>Which one to take</h2>{content}</section>'


def _card(run: Run, named: NamedPoint, *, star: bool, command: Command) -> str:
    point = named.point
    mark = "<b>★</b> " if star else ""
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in _numbers(run, point).items()
    )
    title = f"<h3>{mark}{escape(', '.join(named.names).capitalize())}</h3>"
    button = f'<button type="button">{escape(label_of(point, run))}</button>'
    return (
        f'<li class="card" data-trial="{point.trial}">{title}{button}<dl>{rows}</dl>'
        f"{_command(command(point))}</li>"
    )


def _numbers(run: Run, point: Point) -> dict[str, str]:
    """Latency, size and drop against the original; of several targets the latency on each, the worst of the
    others.
    """
    formats, views, worst = Formats.of(run), views_of(run), run.worst_drop(point)
    drop = formats.drop(worst.drop, worst.drop_interval)
    size = ratio_text(run.vector(point)[1])
    if run.device is not None:
        there = placed(run, point)
        latency = f"{common_ratio(run, point)}, {formats.seconds_of(there)}, {place_of(run, point)}"
        return {"latency": latency, "size": f"{size}, {formats.size_of(there)}", "drop": drop}
    if len(views) > 1:
        latency = ", ".join(f"{speed_text(view.on(point).latency)} {view.target.name}" for view in views)
        return {"latency": latency, "size": size, "drop": drop}
    there = views[0].on(point)
    latency = f"{ratio_of(there)}, {formats.seconds_of(there)}"
    return {"latency": latency, "size": f"{size}, {formats.size_of(there)}", "drop": drop}


def _command(text: str) -> str:
    return f'<code class="command">{escape(text)}</code>'

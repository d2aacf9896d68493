"""The report: one file that says the truth about a run, whatever the run looks like."""

import json
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import pytest
from autocompress.profiles.units import parse_drop
from autocompress.results.choosing.recommended import named_points, recommended
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import ExclusionFacts
from autocompress.results.records.latency import Latency
from autocompress.results.records.point import Quality
from autocompress.results.records.progress import Rungs, SearchFacts
from autocompress.results.report import write_report
from autocompress.results.report.charts import plane, quality_range, space
from autocompress.results.report.marks import drawn_interval
from autocompress.results.report.page import render
from autocompress.results.view import RunOn
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import (
    UNCHANGED,
    environment,
    point,
    sample_run,
    sample_run_of_two,
    sample_view,
    slot,
    with_constraints,
    with_facts,
    with_latency,
    with_layer,
    with_measured,
    with_metric,
    with_points,
    with_search,
)
from plotly.offline import get_plotlyjs

NASTY = "<img src=x onerror=alert(1)></script>&\"'"


class Addresses(HTMLParser):
    """Collects everything that an element refers to, and its inline event handlers."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [
            value for name, value in attrs if name in ("src", "href", "action", "data") or name[:2] == "on"
        ]


def without_plotly(page):
    return page.replace(get_plotlyjs(), "")


def embedded(page):
    pattern = r'<script id="data" type="application/json">(.*?)</script>'
    return json.loads(present(re.search(pattern, page, re.DOTALL))[1])


def test_the_report_refers_to_nothing_outside_itself():
    page = render(sample_run())
    addresses = Addresses()
    addresses.feed(without_plotly(page))
    assert addresses.found == ["data:,"]
    assert "default-src 'none'" in page and "unsafe-eval" not in page
    assert not re.search(r"https?:|url\(|@import", without_plotly(page))


def test_plotly_is_inlined_once():
    assert render(sample_run()).count(get_plotlyjs()) == 1


def nasty_run():
    """A run in which every text that a user or a machine gave is markup."""
    run = sample_run()
    facts, (target,) = run.facts, run.facts.targets
    metric = replace(facts.task.metric, name=NASTY)
    task = replace(facts.task, name=NASTY, spec=NASTY, arguments={NASTY: NASTY}, metric=metric)
    groups = tuple(replace(group, name=NASTY, layers=(NASTY,)) for group in facts.groups)
    nowhere = replace(environment(), cpu_model=NASTY, flags=(NASTY,), os=NASTY, device=NASTY)
    run = with_facts(
        run,
        task=task,
        targets=(replace(target, environment=nowhere, runtime=NASTY),),
        command=NASTY,
        excluded=(ExclusionFacts(name=NASTY, reason=NASTY),),
        groups=groups,
    )
    for member in run.front:
        run = with_layer(run, member.trial, 0, name=NASTY, kind=NASTY)
    slots = {f"precision/{NASTY}": slot((9.0, 9.0, 0.0), (NASTY, f"x{NASTY}", "int2"))}
    slots[f"keep/{NASTY}"] = slot((9.0, 9.0, 0.0), (NASTY, "8", "16"))
    rungs = Rungs(counts={}, correlation={f"{NASTY}-{NASTY}": 0.5})
    run = with_search(
        run,
        sensitivity={**run.search.sensitivity, **slots},
        rungs=rungs,
        time={**run.search.time, NASTY: 1e4},
    )
    failures = (replace(run.failures[0], message=NASTY), *run.failures[1:])
    return replace(run, failures=failures)


def test_text_of_the_user_is_never_markup():
    page = without_plotly(render(nasty_run()))
    assert "<img" not in page
    assert page.count("</script>") == 3
    assert "<img" not in embedded(page)["figures"]["latency"]["data"][3]["hovertext"][0]


def why_of(run):
    """The page's section "Why" as HTML; None without one."""
    found = re.search(r'<section class="why".*?</section>', without_plotly(render(run)), re.DOTALL)
    return found[0] if found else None


def experts_of(run):
    """The section for experts as HTML."""
    return present(
        re.search(r'<section class="experts".*?</section>\s*</main>', without_plotly(render(run)), re.DOTALL)
    )[0]


def titles(section):
    return re.findall(r"<h3>(.*?)</h3>", section)


def test_the_page_says_why_in_a_card_per_answer():
    section, experts = why_of(sample_run()), experts_of(sample_run())
    assert titles(section) == ["What limits the result", "Cannot be told apart"]
    assert titles(experts)[:4] == [
        *("Progress of the search", "The most sensitive layers", "Where the time went"),
        "How good the predictions were",
    ]
    assert "<code>--max-drop 1pp</code> binds: without it trial 25" in section and "with it</span>" in section
    assert "80 % of 19 min 47 s" in experts and "Kendall&#x27;s τ = 0.94" in experts


def test_what_decides_comes_first_and_what_experts_read_is_closed_at_the_end():
    page = without_plotly(render(sample_run()))
    marks = ['class="chosen"', 'class="advice"', 'id="chart-latency"', 'id="front"', 'class="why"']
    marks += [
        'id="layers"',
        "<h2>Failures",
        'class="experts">\n<details>',
        'id="chart-history"',
        "KL divergence",
    ]
    places = [page.index(mark) for mark in marks]
    assert places == sorted(places)
    first_screen = page[page.index("<main>") : places[2]]
    assert not re.search(r"hypervolume|rung|screened|p99|KL", first_screen)


def test_each_point_has_the_command_that_takes_it():
    run = sample_run()
    page = without_plotly(render(run, "runs/my run"))
    commands = re.findall(r'<code class="command">(.*?)</code>', page)
    trials = [each.point.trial for each in named_points(run)]
    assert [unescape(text) for text in commands] == [
        f"autocompress pick 'runs/my run' --trial {trial} --out bundle" for trial in trials
    ]
    layers = embedded(page)["layers"]["points"]
    assert all(f" --trial {each['trial']} " in each["command"] for each in layers) and len(layers) > 5


def test_each_target_and_all_together_have_recommendations():
    page = without_plotly(render(sample_run_of_two(), "RUN"))
    assert page.count("<h2>Which one to take</h2>") == 3
    assert page.count("autocompress pick RUN --target edge --trial") == len(
        named_points(sample_run_of_two().only("edge"))
    ) + len(embedded(page)["others"][0]["layers"]["points"])


def test_an_original_that_nothing_beats_is_said_with_its_command():
    page = without_plotly(render(with_latency(sample_run(), 4, ratio_interval=(0.2, 1.01))))
    assert "★</b> Fastest" in page
    run = with_points(sample_run(), [sample_run().baseline])
    assert "The original: nothing but the original was measured." in render(run)


def test_sizes_are_drawn_on_a_logarithmic_axis_with_plain_numbers():
    run = sample_view(max_drop="1pp")
    limited = RunOn.of(
        with_constraints(run.run, Constraints(max_drop=parse_drop("1pp"), max_size_bytes=512 * 1024)), "cpu"
    )
    layout = plane(limited, "size", chosen=chosen_of(limited))["layout"]
    axis = layout["xaxis"]
    assert axis["type"] == "log" and list(axis["ticktext"]) == ["200", "500", "1,000"]
    low, high = (10**end for end in axis["range"])
    assert low < min(point.size_bytes for point in run.points) / 1024 and high > 1067
    (note,) = [each for each in layout["annotations"] if each["text"] == "limit"]
    assert note["x"] == pytest.approx(math.log10(512))
    assert "type" not in plane(limited, "latency", chosen=chosen_of(limited))["layout"]["xaxis"]


def test_the_front_tells_what_else_used_the_machine_while_a_noisy_point_was_measured():
    run = with_latency(sample_run(), 19, noisy=True, cores=2, others_cores=1.4)
    page = without_plotly(render(run))
    assert "Noisy: trial 19 ±0.81 %: other processes used 1.4 of 2 cores while it was measured." in page
    assert "Noisy: " not in without_plotly(render(sample_run()))


def test_the_drop_stands_with_its_interval_at_the_top():
    page = without_plotly(render(sample_run()))
    assert '<p class="figure">0.84 <small>±0.41 pp</small></p>' in page


def test_an_answer_that_the_run_cannot_give_has_no_card():
    run = replace(sample_run(), search=SearchFacts())
    for member in run.front:
        ratio = member.measured["cpu"].latency.ratio
        run = with_latency(run, member.trial, ratio_interval=(ratio, ratio))
    assert titles(why_of(run)) == ["What limits the result"]
    assert titles(experts_of(run))[0] == "Progress of the search" and "KL" not in experts_of(run)


def test_the_stack_of_the_time_is_full_and_begins_with_what_judges_candidates():
    stack = present(re.search(r'<div class="stack">(.*?)</div>', experts_of(sample_run())))[1]
    assert sum(map(float, re.findall(r"width:([\d.]+)%", stack))) == pytest.approx(100, abs=0.1)
    assert re.findall(r'class="(\w+)"', stack)[:4] == ["work1", "work2", "work3", "rest1"]


def test_the_longest_bar_of_each_kind_of_sensitivity_is_full():
    bars = re.findall(r'<ul class="bars sensitive">.*?width:([\d.]+)%', experts_of(sample_run()), re.DOTALL)
    assert bars == ["100.0", "100.0", "100.0"]


def chosen_of(run):
    return run.on(recommended(run.run).point)


def test_every_measured_point_is_drawn_once():
    run = sample_view()
    figure = plane(run, "latency", chosen=chosen_of(run))
    drawn = [
        t
        for trace in figure["data"]
        if trace.get("name") not in (None, "selected")
        for t in trace["customdata"]
    ]
    assert sorted(drawn) == sorted(p.trial for p in run.points)


def test_the_front_is_drawn_where_it_was_measured_with_its_spread():
    run = sample_view()
    figure = plane(run, "latency", chosen=chosen_of(run))
    trace = next(trace for trace in figure["data"] if trace.get("name") == "front")
    member = next(p for p in run.front if p.trial == trace["customdata"][0])
    assert isinstance(member.latency, Latency)
    low, high = member.latency.interval_s
    assert trace["x"][0] == pytest.approx(1000 * member.latency.seconds)
    assert trace["y"][0] == pytest.approx(100 * member.quality.validation)
    assert trace["error_x"]["array"][0] + trace["error_x"]["arrayminus"][0] == pytest.approx(
        1000 * (high - low)
    )
    assert member.drop_interval is not None
    below = member.drop_interval[1] - member.drop  # a larger drop is a lower metric
    assert trace["error_y"]["arrayminus"][0] == pytest.approx(100 * below)


@pytest.mark.parametrize(
    ("direction", "unit", "drawn"),
    [
        ("higher", "fraction", (0.96, 1.0)),
        ("lower", "fraction", (0.97, 1.0)),
        ("higher", "", (0.96, 1.01)),
        ("lower", "", (0.97, 1.02)),
    ],
)
def test_a_metric_is_drawn_with_the_interval_of_its_drop_and_a_fraction_inside_0_and_1(
    direction, unit, drawn
):
    run = with_metric(sample_run(), "metric", direction=direction, unit=unit)
    quality = Quality(validation=0.99, interval=(0.9, 1.0))
    run = with_measured(run, 4, quality=quality, drop=0.01, drop_interval=(-0.01, 0.04))
    assert drawn_interval(RunOn.of(run, "cpu").on(run.point(4))) == pytest.approx(drawn)


def test_the_staircase_never_gets_worse_as_the_cost_grows():
    run = sample_view()
    stairs = plane(run, "size", chosen=chosen_of(run))["data"][0]
    assert list(stairs["x"]) == sorted(stairs["x"])
    assert list(stairs["y"]) == sorted(stairs["y"])


def test_the_hover_says_the_recipe():
    run = sample_view()
    figure = plane(run, "latency", chosen=chosen_of(run))
    text = next(trace for trace in figure["data"] if trace.get("name") == "front")["hovertext"][0]
    assert "channels:" in text and "int8:" in text and "distill" in text


def test_a_broken_candidate_does_not_squash_the_charts_but_is_counted():
    run = sample_run()
    broken = with_points(run, [*run.points, point(99, UNCHANGED)], uniform_trial=1)
    quality = replace(broken.point(99).measured["cpu"].quality, validation=0.1, interval=(0.09, 0.11))
    broken = with_measured(broken, 99, quality=quality, drop=0.8)
    assert quality_range(RunOn.of(broken, "cpu")) == quality_range(RunOn.of(run, "cpu"))
    assert "2 points lie below the charts" in render(broken)


def test_better_is_up_for_a_metric_that_is_better_when_lower():
    run = with_metric(sample_run(), "MSE")
    for each in run.points:
        quality = each.measured["cpu"].quality
        lower = replace(quality, validation=1 - quality.validation, interval=None)
        run = with_measured(run, each.trial, quality=lower)
    view = RunOn.of(run, "cpu")
    bottom, top = quality_range(view)
    best = view.front[0]
    assert bottom > best.quality.validation > view.baseline.quality.validation > top > 0
    floor = space(view, chosen=best)["layout"]["scene"]["zaxis"]["range"][0]
    assert floor == pytest.approx(bottom)


@pytest.mark.parametrize("drop", [0.0, -0.01])
def test_a_run_with_nothing_but_the_original_still_has_a_report(drop):
    run = with_points(with_metric(sample_run(max_drop=None), "error"), [point(0, UNCHANGED)])
    quality = replace(run.baseline.measured["cpu"].quality, validation=0.0, interval=None)
    run = with_measured(run, 0, quality=quality, drop=drop)
    run = with_facts(replace(run, search=SearchFacts(), failures=(), status="running"), groups=(), layers=())
    page = without_plotly(render(with_facts(run, excluded=())))
    assert 'class="why"' not in page
    assert "No candidate failed." in page and "★</b> Original" in page


def test_an_empty_front_shows_the_nearest_miss_as_one():
    constraints = Constraints(max_drop=parse_drop("1pp"), max_latency_s=1e-6)
    page = without_plotly(render(with_constraints(sample_run(), constraints)))
    assert "nothing meets drop ≤ 1.00 pp and latency ≤ 0.001 ms; this is the nearest miss" in page
    first = embedded(page)["layers"]["first"]
    assert first in [each["trial"] for each in embedded(page)["layers"]["points"]]


def shown_first(run):
    """The layer view's entry of the first front member."""
    first = sample_run().front[0].trial
    return next(p for p in embedded(render(run))["layers"]["points"] if p["trial"] == first)


def first_layers(run):
    return run.point(sample_run().front[0].trial).measured["cpu"].layers


def test_the_layers_say_what_was_asked_and_what_ran():
    run = sample_run()
    first, layer = shown_first(run)["layers"][0], first_layers(run)[0]
    assert (first["chip"], first["ran"], first["warned"]) == ("asked int8, ran float32", "float32", True)
    assert first["channels"] == f"{layer.channels_out}/{layer.channels_out_original}"
    assert first["kept"] == layer.channels_out / layer.channels_out_original


def test_the_legend_has_the_precisions_that_ran():
    run = sample_run()
    assert "ran in int8" in render(run) and "ran in float16" not in render(run)
    run = with_layer(run, run.front[0].trial, 0, precision_executed="float16")
    assert "ran in float16" in render(run) and "ran in fp8" not in render(run)


def test_a_layer_whose_execution_was_not_seen_is_shown_as_asked_only():
    run = sample_run()
    run = with_layer(run, run.front[0].trial, 1, precision_executed=None)
    layer = shown_first(run)["layers"][1]
    assert layer["checked"] is False and layer["chip"] == "int8"


def test_the_layers_show_times_before_and_after_and_whose_they_are():
    run = sample_run()
    layer, view = first_layers(run)[3], shown_first(run)
    scales, longest = [], 0.0
    for one in (run.front[0], run.baseline):
        measured = one.measured["cpu"]
        times = [present(row.time_s) for row in measured.layers]
        scales.append(measured.latency.seconds / (sum(times) + present(measured.other_time_s)))
        longest = max(longest, scales[-1] * max(times))
    shown, (now, before) = view["layers"][3], scales
    assert shown["time_share"] == pytest.approx(now * present(layer.time_s) / longest)
    assert shown["time_before"] == pytest.approx(before * present(layer.time_original_s) / longest)
    assert "in the original" in shown["time_title"]
    assert view["other"]["time"] == f"{1e6 * now * 150e-6:.0f} µs" and "profiler" in view["note"]


def test_the_times_of_layers_add_up_to_the_measured_latency():
    run = sample_run()
    view = shown_first(run)
    shown = [row["time"] for row in [*view["layers"], view["other"]] if row["time"] != "–"]
    total_us = sum(float(text.removesuffix(" µs")) for text in shown)
    latency_us = 1e6 * run.front[0].measured["cpu"].latency.seconds
    assert total_us == pytest.approx(latency_us, abs=0.6 * len(shown))


def test_a_point_that_was_not_profiled_has_no_times():
    run = sample_run()
    layers = tuple(replace(layer, time_s=None) for layer in first_layers(run))
    run = with_measured(run, run.front[0].trial, other_time_s=None, layers=layers)
    view = shown_first(run)
    assert view["other"] is None and view["note"] == "" and view["layers"][0]["time"] == "–"


@pytest.mark.parametrize(
    ("changes", "chip"),
    [
        ({"precision_asked": "int4", "precision_executed": "int8", "bits": 4}, "4 bits, ran int8"),
        ({"precision_asked": "w8", "precision_executed": "float32", "bits": 8}, "8 bits, ran float32"),
        (
            {"precision_asked": "int4", "precision_executed": "float32", "bits": 4},
            "asked int4, ran float32",
        ),
        ({"precision_asked": "int8", "precision_executed": "int8", "bits": 8}, "int8"),
        ({"channels_out": 0, "channels_in": 0, "macs": 0, "bytes": 0, "precision_executed": None}, "removed"),
    ],
)
def test_a_layer_says_what_is_stored_and_what_ran(changes, chip):
    run = sample_run()
    shown = shown_first(with_layer(run, run.front[0].trial, 2, **changes))["layers"][2]
    assert shown["chip"] == chip and shown["removed"] == (chip == "removed")
    assert shown["bits_share"] == (0 if chip == "removed" else changes["bits"] / 32)


def test_smaller_but_not_faster_is_seen_in_the_front_and_in_the_layers():
    run = sample_run()
    trial = run.front[0].trial
    run = with_measured(run, trial, latency=run.baseline.measured["cpu"].latency, drop=-0.01)
    assert "not faster</em>" in render(run)
    assert any("smaller, but not faster than" in warning for warning in shown_first(run)["warnings"])


def test_the_report_is_written_whole_to_the_path(tmp_path):
    write_report(sample_run(), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_a_report_on_several_targets_shows_the_joint_front_and_each_target():
    run = sample_run_of_two()
    page = without_plotly(render(run))
    assert "All targets" in page and '<option value="1">edge</option>' in page
    assert page.count("<h1>") == 2 and '<div data-target="1" hidden>' in page
    views = [embedded(page), *embedded(page)["others"]]
    original = [view["layers"]["points"][-1]["label"] for view in views]
    assert len(views) == 2 and original[0] != original[1]


def test_a_report_on_one_target_has_no_chooser():
    page = without_plotly(render(sample_run()))
    assert 'id="target"' not in page.split("<script")[0] and "data-target" not in page.split("<script")[0]

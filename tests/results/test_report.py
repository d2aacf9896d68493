"""The report: one file that says the truth about a run, whatever the run looks like."""

import json
import re
from html.parser import HTMLParser

import pytest
from autocompress.errors import RunDirectoryError
from autocompress.results.pick import measured_points, recommended
from autocompress.results.report import write_report
from autocompress.results.report.charts import plane, quality_range, space
from autocompress.results.report.page import render
from autocompress.tests.results.sample_run import point, sample_run, sample_run_of_two
from plotly.offline import get_plotlyjs

UNCHANGED = {"keep": {}, "precision": {}, "recovery": None}
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
    return json.loads(
        re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)[1]
    )


def test_the_report_refers_to_nothing_outside_itself():
    page = render(sample_run())
    addresses = Addresses()
    addresses.feed(without_plotly(page))
    assert addresses.found == ["data:,"]
    assert "default-src 'none'" in page and "unsafe-eval" not in page
    assert not re.search(r"https?:|url\(|@import", without_plotly(page))


def test_plotly_is_inlined_once():
    assert render(sample_run()).count(get_plotlyjs()) == 1


def test_text_of_the_user_is_never_markup():
    run = sample_run()
    run["task"] |= {"name": NASTY, "spec": NASTY, "arguments": {NASTY: NASTY}}
    run["task"]["metric"]["name"] = run["target"]["name"] = run["command"] = run["status"] = NASTY
    run["environment"][NASTY] = NASTY
    run["failures"][0] |= {"message": NASTY, "kind": NASTY}
    run["excluded"][0] |= {"name": NASTY, "reason": NASTY}
    for group in run["groups"]:
        group |= {"name": NASTY, "layers": [NASTY]}
    for member in run["front"]:
        member["warnings"] = [NASTY]
        member["layers"][0]["name"] = NASTY
    run["constraints"]["max_drop"] = "1pp"
    sensitivity = run["sensitivity"]
    sensitivity["losses"][f"precision/{NASTY}"] = sensitivity["losses"][f"keep/{NASTY}"] = [9.0, 9.0, 0.0]
    sensitivity["labels"] |= {
        f"precision/{NASTY}": [NASTY, f"x{NASTY}", "int2"],
        f"keep/{NASTY}": [NASTY, "8", "16"],
    }
    run["time"][NASTY] = 1e4
    run["rungs"]["correlation"][f"{NASTY}-{NASTY}"] = 0.5
    page = without_plotly(render(run))
    assert "<img" not in page
    assert page.count("</script>") == 3
    assert "<img" not in embedded(page)["figures"]["latency"]["data"][3]["hovertext"][0]


def why_of(run):
    """The page's section "Why" as HTML; None without one."""
    found = re.search(r'<section class="why".*?</section>', without_plotly(render(run)), re.DOTALL)
    return found[0] if found else None


def titles(section):
    return re.findall(r"<h3>(.*?)</h3>", section)


def test_the_page_says_why_in_a_card_per_answer():
    section = why_of(sample_run())
    assert titles(section) == [
        *(
            "What limits the result",
            "The most sensitive layers",
            "Cannot be told apart",
            "Where the time went",
        ),
        "How good the predictions were",
    ]
    assert "<code>--max-drop 1pp</code> binds: without it trial 25" in section and "with it</span>" in section
    assert "80 % of 19 min 47 s" in section and "Kendall&#x27;s τ = 0.94" in section


def test_an_answer_that_the_run_cannot_give_has_no_card():
    run = sample_run()
    for name in ("sensitivity", "time", "latency_table", "rungs"):
        del run[name]
    for member in run["front"]:
        member["latency"]["ratio_interval"] = [member["latency"]["ratio"]] * 2
    assert titles(why_of(run)) == ["What limits the result"]


def test_the_stack_of_the_time_is_full_and_begins_with_what_judges_candidates():
    stack = re.search(r'<div class="stack">(.*?)</div>', why_of(sample_run()))[1]
    assert sum(map(float, re.findall(r"width:([\d.]+)%", stack))) == pytest.approx(100, abs=0.1)
    assert re.findall(r'class="(\w+)"', stack)[:4] == ["work1", "work2", "work3", "rest1"]


def test_the_longest_bar_of_each_kind_of_sensitivity_is_full():
    bars = re.findall(r'<ul class="bars sensitive">.*?width:([\d.]+)%', why_of(sample_run()), re.DOTALL)
    assert bars == ["100.0", "100.0", "100.0"]


def test_every_measured_point_is_drawn_once():
    run = sample_run()
    figure = plane(run, "latency", chosen=recommended(run)[0])
    drawn = [
        t
        for trace in figure["data"]
        if trace.get("name") not in (None, "selected")
        for t in trace["customdata"]
    ]
    assert sorted(drawn) == sorted(p["trial"] for p in measured_points(run))


def test_the_front_is_drawn_where_it_was_measured_with_its_spread():
    run = sample_run()
    figure = plane(run, "latency", chosen=recommended(run)[0])
    trace = next(trace for trace in figure["data"] if trace.get("name") == "front")
    member = next(p for p in run["front"] if p["trial"] == trace["customdata"][0])
    low, high = member["latency"]["interval_s"]
    assert trace["x"][0] == pytest.approx(1000 * member["latency"]["latency_s"])
    assert trace["y"][0] == pytest.approx(100 * member["quality"]["validation"])
    assert trace["error_x"]["array"][0] + trace["error_x"]["arrayminus"][0] == pytest.approx(
        1000 * (high - low)
    )


def test_the_staircase_never_gets_worse_as_the_cost_grows():
    run = sample_run()
    stairs = plane(run, "size", chosen=recommended(run)[0])["data"][0]
    assert list(stairs["x"]) == sorted(stairs["x"])
    assert list(stairs["y"]) == sorted(stairs["y"])


def test_the_hover_says_the_recipe():
    run = sample_run()
    figure = plane(run, "latency", chosen=recommended(run)[0])
    text = next(trace for trace in figure["data"] if trace.get("name") == "front")["hovertext"][0]
    assert "channels:" in text and "int8:" in text and "distill" in text


def test_a_broken_candidate_does_not_squash_the_charts_but_is_counted():
    run = sample_run()
    usual = quality_range(run)
    broken = point(99, UNCHANGED)
    broken["quality"] |= {"validation": 0.1, "interval": [0.09, 0.11]}
    broken |= {"drop": 0.8, "feasible": False}
    run["dominated"].append(broken)
    assert quality_range(run) == usual
    assert "2 points lie below the charts" in render(run)


def test_better_is_up_for_a_metric_that_is_better_when_lower():
    run = sample_run()
    run["task"]["metric"] = {"name": "MSE", "direction": "lower", "unit": ""}
    for each in measured_points(run):
        each["quality"] |= {"validation": 1 - each["quality"]["validation"], "interval": None}
    bottom, top = quality_range(run)
    assert (
        bottom > run["front"][0]["quality"]["validation"] > run["baseline"]["quality"]["validation"] > top > 0
    )
    assert space(run, chosen=run["front"][0])["layout"]["scene"]["zaxis"]["range"][0] == pytest.approx(bottom)


@pytest.mark.parametrize("drop", [0.0, -0.01])
def test_a_run_with_nothing_but_the_original_still_has_a_report(drop):
    run, original = sample_run(), point(0, UNCHANGED)
    original["drop"] = drop
    original["quality"] |= {"validation": 0.0, "interval": None}
    run["task"]["metric"] = {"name": "error", "direction": "lower", "unit": ""}
    run |= {
        "baseline": original,
        "uniform_int8": None,
        "front": [original],
        "dominated": [],
        "status": "running",
    }
    run |= {"history": [], "failures": [], "groups": [], "excluded": [], "layers": []}
    for name in ("sensitivity", "time", "latency_table", "rungs"):
        del run[name]
    page = without_plotly(render(run))
    assert 'class="why"' not in page
    assert "No candidate failed." in page and "★</b> Original" in page


def test_an_empty_front_shows_the_nearest_miss_as_one():
    run = sample_run()
    run["constraints"]["max_latency_s"] = 1e-6
    run |= {"front": [], "dominated": [*run["dominated"], *run["front"]]}
    page = without_plotly(render(run))
    assert "nothing meets drop ≤ 1.00 pp and latency ≤ 0.001 ms; this is the nearest miss" in page
    first = embedded(page)["layers"]["first"]
    assert first in [each["trial"] for each in embedded(page)["layers"]["points"]]


def test_the_layers_say_what_was_asked_and_what_ran():
    run = sample_run()
    view = next(
        p for p in embedded(render(run))["layers"]["points"] if p["trial"] == run["front"][0]["trial"]
    )
    first, layer = view["layers"][0], run["front"][0]["layers"][0]
    assert (first["chip"], first["ran"], first["warned"]) == ("asked int8, ran float32", "float32", True)
    assert first["channels"] == f"{layer['channels_out']}/{layer['channels_out_original']}"
    assert first["kept"] == layer["channels_out"] / layer["channels_out_original"]


def test_the_legend_has_the_precisions_that_ran():
    run = sample_run()
    assert "ran in int8" in render(run) and "ran in float16" not in render(run)
    run["front"][0]["layers"][0]["precision_executed"] = "float16"
    assert "ran in float16" in render(run) and "ran in fp8" not in render(run)


def test_a_layer_whose_execution_was_not_seen_is_shown_as_asked_only():
    run = sample_run()
    run["front"][0]["layers"][1]["precision_executed"] = None
    view = next(
        p for p in embedded(render(run))["layers"]["points"] if p["trial"] == run["front"][0]["trial"]
    )
    assert view["layers"][1]["checked"] is False and view["layers"][1]["chip"] == "int8"


def shown_first(run):
    """The layer view's entry of the first front member."""
    return next(
        p for p in embedded(render(run))["layers"]["points"] if p["trial"] == run["front"][0]["trial"]
    )


def test_the_layers_show_times_before_and_after_and_whose_they_are():
    run = sample_run()
    layer, view = run["front"][0]["layers"][3], shown_first(run)
    longest = max(row["time_s"] for p in (run["baseline"], run["front"][0]) for row in p["layers"])
    shown = view["layers"][3]
    assert (
        shown["time"] == f"{1e6 * layer['time_s']:.0f} µs"
        and shown["time_share"] == layer["time_s"] / longest
    )
    assert (
        shown["time_before"] == layer["time_original_s"] / longest
        and "in the original" in shown["time_title"]
    )
    assert view["other"]["time"] == "150 µs" and "profiler" in view["note"]


def test_a_point_that_was_not_profiled_has_no_times():
    run = sample_run()
    run["front"][0]["other_time_s"] = None
    for layer in run["front"][0]["layers"]:
        layer["time_s"] = None
    view = shown_first(run)
    assert view["other"] is None and view["note"] == "" and view["layers"][0]["time"] == "–"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"precision_asked": "int4", "precision_executed": "int8", "bits": 4}, "4 bits, ran int8"),
        ({"precision_asked": "int8", "precision_executed": "int8", "bits": 8}, "int8"),
        ({"channels_out": 0, "channels_in": 0, "macs": 0, "bytes": 0, "precision_executed": None}, "removed"),
    ],
)
def test_a_layer_says_what_is_stored_and_what_ran(changes, told):
    run = sample_run()
    run["front"][0]["layers"][2] |= changes
    shown = shown_first(run)["layers"][2]
    assert shown["chip"] == told and shown["removed"] == (told == "removed")
    assert shown["bits_share"] == (0 if told == "removed" else changes["bits"] / 32)


def test_smaller_but_not_faster_is_seen_in_the_front_and_in_the_layers():
    run = sample_run()
    run["front"][0]["warnings"].append("smaller, but not faster than uniform int8")
    assert "not faster</em>" in render(run)
    assert "smaller, but not faster than uniform int8" in shown_first(run)["warnings"]


def test_a_run_of_another_schema_version_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(RunDirectoryError, match="schema version 1"):
        write_report(sample_run() | {"schema_version": 1}, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


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

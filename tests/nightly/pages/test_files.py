"""The files about nights: what stands in them, and that no text of a record acts in any."""

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from autocompress.nightly.pages.junit import junit_xml
from autocompress.nightly.pages.markdown import markdown, night_markdown
from autocompress.nightly.pages.page import nights_page
from autocompress.nightly.pages.summary_json import summary_json
from autocompress.nightly.pages.trends import trend_of
from autocompress.nightly.pages.write import append_summary, write_pages
from autocompress.nightly.records.night import Night
from autocompress.results.records.facts import MetricFacts
from autocompress.tests.nightly.pages.many import UPGRADED, many_nights
from autocompress.tests.nightly.sample_nights import event, model_night, night, pick
from autocompress.tests.present import present

NIGHTS = many_nights()
ATTACK = "<img src=x onerror=alert(1)></svg></style>\x1b[2J\ufffe `*|[a](javascript:alert(1))@someone"


def hostile() -> Night:
    """A night in which every text that comes from elsewhere tries to act."""
    bad = event(sentence=ATTACK, model="digits", target="cpu", cause=ATTACK)
    picked = replace(pick(), policy=ATTACK, label=ATTACK)
    return night(models=(model_night(picks=(picked,), events=(bad,), reference=ATTACK),))


def test_a_trend_has_the_numbers_of_each_night_and_where_the_environment_changed():
    trend = trend_of(NIGHTS, "digits")
    latency = {series.name: series for series in trend.of("latency")}
    assert set(latency) == {"fastest within 1pp", "deployed"}
    picked = [present(one.model("digits")).picks[0].targets["cpu"].ratio for one in NIGHTS]
    assert [value.value for value in latency["fastest within 1pp"].values] == picked
    assert [(one.night, one.what) for one in trend.changed] == [
        (UPGRADED, ("runtime version 1.23.2 → 1.24.0",))
    ]


def test_a_night_without_a_model_is_a_gap_and_no_zero():
    nights = [NIGHTS[0], night("2026-11-02", models=()), NIGHTS[2]]
    (series,) = trend_of(nights, "digits").of("hypervolume")
    assert [value.night for value in series.values] == [0, 2]


def test_the_page_begins_with_the_reason_and_the_gravest_event():
    page = nights_page(NIGHTS)
    assert page.index("jetson does not answer") < page.index("The night went on") < page.index("<h2>digits")
    assert page.count("<svg viewBox") == 4 and "<script" not in page
    assert page.count('class="changed"') == 4 and "runtime version 1.23.2 → 1.24.0" in page


def test_the_summary_says_the_same_to_programs():
    value = summary_json(NIGHTS)
    assert (value["night"], value["exit_code"]) == ("2026-11-30", 3)
    assert "jetson does not answer" in value["reason"]
    assert [model["state"] for model in value["models"]] == ["done", "away"]
    assert len(value["trends"][0]["nights"]) == 30


def test_junit_has_a_failure_for_a_regression_and_an_error_for_a_target_that_is_away():
    root = ElementTree.fromstring(junit_xml(NIGHTS[UPGRADED]))
    assert (root.get("failures"), root.get("errors")) == ("1", "0")
    failed = root.find("testsuite[@name='digits']/testcase[@name='no regression on cpu']/failure")
    assert failed is not None and "It is slower." in failed.get("message", "")
    last = ElementTree.fromstring(junit_xml(NIGHTS[-1]))
    away = last.find("testsuite[@name='ds_cnn']/testcase[@name='jetson can be used']/error")
    unseen = last.find("testsuite[@name='ds_cnn']/testcase[@name='no regression on jetson']/skipped")
    assert last.get("errors") == "1" and away is not None and unseen is not None


def test_junit_asks_the_same_questions_in_a_good_night_and_in_a_bad_one():
    names = [
        [case.get("name") for case in ElementTree.fromstring(junit_xml(one)).iter("testcase")]
        for one in (NIGHTS[0], NIGHTS[UPGRADED])
    ]
    assert names[0] == names[1] == ["search", "cpu can be used", "no regression on cpu", "no regression"]


def test_a_model_without_a_turn_is_skipped_in_junit():
    waiting = model_night(state="skipped", events=(), picks=(), steps=())
    root = ElementTree.fromstring(junit_xml(night(models=(waiting,))))
    assert root.get("skipped") == root.get("tests")


def test_no_text_of_a_record_acts_in_the_page():
    page = nights_page([hostile()])
    assert "<img" not in page and "\x1b" not in page and page.count("</style>") == 1
    assert "&lt;img src=x" in page


def test_no_text_of_a_record_acts_in_xml_json_or_markdown():
    root = ElementTree.fromstring(junit_xml(hostile()))
    assert root.get("failures") == "1"
    written = night_markdown(hostile())
    assert "<img" not in written and "\x1b" not in written
    assert not re.search(r"(?<!\\)[`\[@]", written.replace("**", ""))
    assert "\x1b" not in json.dumps(summary_json([hostile()]), ensure_ascii=True).encode().decode()


@pytest.mark.parametrize(
    ("text", "written"), [("a|b", r"a\|b"), ("<b>&", "&lt;b&gt;&amp;"), ("x\n# y", r"x\\n\# y")]
)
def test_markdown_of_a_text_is_one_line_without_markup(text: str, written: str):
    assert markdown(text) == written


def test_all_files_are_written_again_without_a_trace_of_the_first_time(tmp_path: Path):
    first = {path.name: path.read_bytes() for path in write_pages(tmp_path, NIGHTS[:-1])}
    again = {path.name: path.read_bytes() for path in write_pages(tmp_path, NIGHTS)}
    assert sorted(again) == ["index.html", "junit.xml", "summary.json", "summary.md"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(again)
    assert all(first[name] != again[name] for name in again)


def test_the_summary_of_a_ci_job_keeps_what_others_wrote(tmp_path: Path):
    path = tmp_path / "summary"
    path.write_text("# Build\n")
    append_summary(path, NIGHTS[-1])
    assert path.read_text().startswith(
        "# Build\n## autocompress nightly 2026\\-11\\-30"
    ) or path.read_text().startswith("# Build\n## autocompress nightly 2026-11-30")


def test_qualities_and_drops_have_the_unit_of_the_metric():
    last = night()
    page = nights_page([last])
    assert "98.00 %" in page and "pp" in page
    other = replace(last.models[0], metric=MetricFacts(name="pixels", direction="lower", unit=""))
    assert "98.00 %" not in nights_page([replace(last, models=(other,))])
    unknown = replace(last.models[0], metric=None)
    assert ">0.98<" in nights_page([replace(last, models=(unknown,))])

"""Policies: what a user's words mean, and which point of a run they take."""

import pytest
from autocompress.errors import InputError
from autocompress.profiles.units import parse_drop
from autocompress.results.choosing.policy import Policy, default_policies
from autocompress.results.limits import Constraints
from autocompress.results.records.facts import MetricFacts
from autocompress.results.records.run import Run
from autocompress.tests.results.records import TARGET, on_two, point, run_of

R2 = MetricFacts(name="R²", direction="higher", unit="")


def taken(policy: str, run: Run) -> int | None:
    choice = Policy.parse(policy).choose(run)
    return None if choice is None else choice.point.trial


@pytest.mark.parametrize(
    ("text", "aim", "constraints"),
    [
        ("fastest within 1pp", "latency", Constraints(max_drop=parse_drop("1pp"))),
        (
            "smallest within 1pp and 2ms",
            "size",
            Constraints(max_drop=parse_drop("1pp"), max_latency_s=2e-3),
        ),
        ("most accurate within 200KB", "drop", Constraints(max_size_bytes=204_800)),
        (
            "  Most  Accurate within 2 ms, 1MB",
            "drop",
            Constraints(max_latency_s=2e-3, max_size_bytes=1 << 20),
        ),
        ("balanced", "balance", Constraints()),
    ],
)
def test_the_words_of_a_policy_are_an_aim_and_limits(text: str, aim: str, constraints: Constraints):
    policy = Policy.parse(text)
    assert (policy.aim, policy.constraints) == (aim, constraints)


@pytest.mark.parametrize("text", ["fastest within 1%", "phone: smallest within 0.1abs and 3MB", "balanced"])
def test_a_printed_policy_reads_back(text: str):
    assert str(Policy.parse(text)) == text
    assert Policy.parse(str(Policy.parse(text))) == Policy.parse(text)


def test_a_policy_is_called_by_its_words_or_by_its_own_name():
    assert Policy.parse("fastest  within 1pp").name == "fastest within 1pp"
    assert Policy.parse("phone: fastest within 1pp").name == "phone"
    assert Policy.parse("fastest within 1pp", name="board").name == "board"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is none: write it like"),
        ("best within 1pp", "is none: write it like"),
        ("fastest within", "is none: write it like"),
        ("fastest", 'write "fastest within 1pp"'),
        ("smallest within 2ms", 'write "smallest within 1pp and 2ms"'),
        ("fastest within 1", "has the limit '1', which is no number with a unit"),
        ("fastest within 1pp and 5kg", "has the limit '5kg'"),
        ("fastest within 1pp and", "has the limit '1pp and'"),
        ("fastest within 1pp and 2%", "two limits of the drop"),
        ("fastest within -1pp", "is negative"),
        ("most accurate within 0ms", "must be greater than 0"),
        (" : fastest within 1pp", "cannot be called so"),
        ("a\x1b[2J: fastest within 1pp", "cannot be called so"),
    ],
)
def test_what_is_no_policy_is_refused_with_the_remedy(text: str, says: str):
    with pytest.raises(InputError, match=says):
        Policy.parse(text)


def test_a_policy_takes_the_best_point_for_its_aim_within_its_own_limits():
    fast, small = point(1, ratio=0.2, drop=0.009, size=60_000), point(2, ratio=0.5, drop=0.004, size=20_000)
    run = run_of(point(), fast, small, constraints={TARGET: Constraints(max_drop=parse_drop("0.1pp"))})
    assert taken("fastest within 1pp", run) == 1
    assert taken("fastest within 0.5pp", run) == 2
    assert taken("most accurate within 0.3ms", run) == 1
    assert taken("fastest within 1pp and 0.01ms", run) is None


def test_a_policy_takes_nothing_that_may_be_slower_than_the_original():
    assert taken("smallest within 1pp", run_of(point(), point(1, ratio=1.2, size=10))) == 0


def test_a_limit_of_a_policy_holds_on_every_target():
    constraints = {"cpu": Constraints(), "edge": Constraints()}
    points = [on_two(), on_two(1, ratio=0.1, edge=0.9), on_two(2, ratio=0.6, edge=0.6)]
    assert taken("smallest within 1pp and 0.7ms", run_of(*points, constraints=constraints)) == 2


def test_percentage_points_of_a_metric_that_is_no_fraction_are_refused():
    with pytest.raises(InputError, match="is no fraction: write 1%"):
        Policy.parse("fastest within 1pp").limits(run_of(point(), metric=R2))


def test_the_default_policies_fit_the_metric():
    assert [str(one) for one in default_policies(run_of(point()))] == [
        "fastest within 1pp",
        "smallest within 0.5pp",
    ]
    fastest, smallest = default_policies(run_of(point(), metric=R2))
    assert (str(fastest), str(smallest)) == ("fastest within 1%", "smallest within 0.5%")
    assert fastest.limits(run_of(point(), metric=R2))[TARGET].drop == pytest.approx(0.009)

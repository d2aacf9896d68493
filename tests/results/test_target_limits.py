"""Several targets and their limits as text."""

import pytest
from autocompress.errors import InputError
from autocompress.profiles import parse_duration
from autocompress.results.target_limits import by_target, require_no_host, target_addresses

TARGETS = ("cpu", "edge")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("cpu, boards/edge.toml", ["cpu", "edge"]),
        ("cpu,jetson@ann@10.0.0.5", ["cpu", "jetson"]),
        ("cpu,cpu@ann@host", ["cpu", "cpu@host"]),
        ("jetson@ann@left,jetson@bob@right:22", ["jetson@left", "jetson@right"]),
        (
            "pi@localhost:2201,pi@ann@localhost:2202,pi@other",
            ["pi@localhost:2201", "pi@localhost:2202", "pi@other"],
        ),
        ("jetson@ann@left+right,cpu,jetson@other", ["jetson@left", "cpu", "jetson@other"]),
        ("jetson@ann@[fe80::1],jetson@ann@[fe80::2]", ["jetson@fe80::1", "jetson@fe80::2"]),
    ],
)
def test_targets_are_separated_by_commas_and_called_by_profile_and_where_it_takes_that_by_host(text, names):
    addresses = target_addresses(text)
    assert list(addresses) == names
    assert [str(address) for address in addresses.values()] == [part.strip() for part in text.split(",")]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cpu,", "has an empty name"),
        ("cpu,cpu", "names 'cpu' twice"),
        ("a/edge.toml,b/edge.toml", "names 'edge' twice"),
        ("jetson@ann@host,jetson@bob@host", "names 'jetson@host' twice"),
        ("cpu,jetson@ann@host:x", "the port 'x'"),
    ],
)
def test_a_list_of_targets_that_cannot_be_is_one_sentence(text, told):
    with pytest.raises(InputError, match=told):
        target_addresses(text)


def test_a_host_after_a_comma_is_answered_with_the_plus():
    with pytest.raises(InputError, match=r"'right' after a comma.* like jetson@ann@left\+right\.$"):
        require_no_host("cpu,jetson@ann@left,right")
    require_no_host("jetson@ann@left,cpu,board.toml,other")


@pytest.mark.parametrize(
    ("texts", "limits"),
    [
        ([], {}),
        (["2ms"], {"cpu": 2e-3, "edge": 2e-3}),
        (["cpu=2ms,edge=1ms"], {"cpu": 2e-3, "edge": 1e-3}),
        (["cpu=2ms", "edge=1ms"], {"cpu": 2e-3, "edge": 1e-3}),
        (["2ms", "edge=1ms"], {"cpu": 2e-3, "edge": 1e-3}),
        (["edge=1ms"], {"edge": 1e-3}),
    ],
)
def test_a_limit_holds_on_every_target_or_on_the_one_that_it_names(texts, limits):
    assert by_target("--max-latency", texts, parse_duration, targets=TARGETS) == pytest.approx(limits)


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (["egde=1ms"], "names the target 'egde': choose 'cpu' or 'edge'"),
        (["1ms,2ms"], "is given twice"),
        (["cpu=1ms", "cpu=2ms"], "has two limits for 'cpu'"),
        (["cpu=1"], "has no unit"),
        (["=1ms"], "names the target ''"),
    ],
)
def test_a_wrong_limit_is_one_sentence(texts, told):
    with pytest.raises(InputError, match=told):
        by_target("--max-latency", texts, parse_duration, targets=TARGETS)

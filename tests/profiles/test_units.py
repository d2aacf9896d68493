"""Quantities are read with their unit or refused by name."""

from datetime import UTC, datetime

import pytest
from autocompress.errors import InputError
from autocompress.profiles.units import (
    Drop,
    format_duration,
    format_latency,
    format_size,
    parse_drop,
    parse_duration,
    parse_since,
    parse_size,
    quantity_kind,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2ms", 0.002),
        ("1.5s", 1.5),
        ("30m", 1800),
        ("2h", 7200),
        (" 3 min", 180),
        ("5us", 5e-6),
        ("7 µs", 7e-6),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("5B", 5), ("200KB", 204_800), ("1.5mb", 1_572_864), ("1GB", 1 << 30)]
)
def test_sizes_are_bytes_with_1024_to_the_kilobyte(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["2", "2 ms later", "ms", "", "-1ms", "0s", "2 parsecs", "1e999s", "nan ms"])
def test_a_bad_duration_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_duration(text)
    assert repr(text) in str(refusal.value)


@pytest.mark.parametrize(
    ("parse", "example"),
    [(parse_duration, "2ms"), (parse_size, "200KB"), (parse_drop, "1pp")],
    ids=["duration", "size", "drop"],
)
def test_a_missing_unit_is_answered_with_an_example(parse: object, example: str) -> None:
    assert callable(parse)
    with pytest.raises(InputError, match=f"'3' has no unit: write it like {example}"):
        parse("3")


@pytest.mark.parametrize(
    ("text", "baseline", "limit"),
    [("1pp", 0.92, 0.01), ("1%", -4.0, 0.04), ("0.1abs", 0.0, 0.1), ("0pp", 0.5, 0.0)],
)
def test_a_drop_becomes_a_limit_in_the_metrics_unit(text: str, baseline: float, limit: float) -> None:
    assert parse_drop(text).limit(baseline) == pytest.approx(limit)


def test_a_percentage_of_a_baseline_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match=r"0\.1abs"):
        parse_drop("1%").limit(0.0)


def test_a_negative_drop_is_refused() -> None:
    with pytest.raises(InputError, match="negative"):
        parse_drop("-1pp")


@pytest.mark.parametrize("text", ["1pp", "2.5%", "0.1abs"])
def test_a_printed_drop_reads_back(text: str) -> None:
    assert str(parse_drop(text)) == text
    assert parse_drop(str(Drop(kind="pp", value=0.1 + 0.2))).value == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0012346, "1.235 ms"), (812.5e-6, "812.5 µs"), (0.0, "0 s"), (3.2e-8, "32.00 ns"), (2, "2.000 s")],
)
def test_latencies_have_four_digits(seconds: float, text: str) -> None:
    assert format_latency(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(45, "45 s"), (200, "3 min 20 s"), (3900, "1 h 5 min"), (7200, "2 h"), (60, "1 min"), (2, "2.000 s")],
)
def test_durations_are_printed_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(87, "87 B"), (1088 * 1024, "1,088.0 KB"), (50 << 20, "50.0 MB")])
def test_sizes_are_printed_for_people(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "kind"),
    [("2ms", "duration"), ("1 h", "duration"), ("200kb", "size"), ("1pp", "drop"), ("0.1abs", "drop")],
)
def test_the_unit_tells_what_a_quantity_is(text: str, kind: str) -> None:
    assert quantity_kind(text) == kind


@pytest.mark.parametrize("text", ["", "2", "5kg", "ms", "one pp"])
def test_a_text_without_a_known_unit_is_no_quantity(text: str) -> None:
    assert quantity_kind(text) is None


def test_a_time_is_a_date_or_how_long_ago():
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert parse_since("24h", now=now) == now.timestamp() - 86400
    assert parse_since("2026-11-28T06:30+00:00") == datetime(2026, 11, 28, 6, 30, tzinfo=UTC).timestamp()
    with pytest.raises(InputError, match="such as 24h"):
        parse_since("1pp")

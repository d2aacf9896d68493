"""A damaged run is one sentence that names the file, never a traceback and never another run."""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from autocompress.errors import RunDirectoryError
from autocompress.results.records.point import FineTuned
from autocompress.results.run_directory import read_json, read_run, write_finetuned, write_run
from autocompress.results.run_files import FRONT
from autocompress.tests.results.sample_run import point, sample_run, sample_run_of_two

DATA = Path(__file__).parent / "data"
COUNT = 100
HUGE = 10**400
DERIVED = ("why", "nearest_misses", "history", "fronts", "queued", "warnings", "indistinguishable_from")
FREE = (
    "arguments",
    "preprocessing",
    "runtime_options",
    "seconds",
    "time",
    "keep",
    "precision",
    "rank",
    "correlation",
)


def places(value, path=()):
    """The path of each value below the root."""
    if isinstance(value, dict):
        entries = list(value.items())
    else:
        entries = list(enumerate(value)) if isinstance(value, list) else []
    for key, entry in entries:
        yield (*path, key)
        yield from places(entry, (*path, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def put(value, path, new):
    at(value, path[:-1])[path[-1]] = new


def is_named(path):
    """Whether version 2 must have the value: it is no entry of free text, nothing derived, and no row that
    may be left out because it is that of another target.
    """
    optional = "targets" in path and path[-1] == "layers"
    return not optional and not any(key in (*DERIVED, *FREE) for key in path)


def delete(value, draw):
    """A key that is gone."""
    path = draw.choice([p for p in places(value) if isinstance(p[-1], str) and is_named(p)])
    del at(value, path[:-1])[path[-1]]


def retype(value, draw):
    """A value of a type that no place has."""
    path = draw.choice([p for p in places(value) if is_named(p)])
    put(value, path, {"what": [["is", {"this": True}]]})


def not_a_number(value, draw):
    """NaN or infinity in place of a number."""
    put(value, draw.choice(numbers(value)), draw.choice([float("nan"), float("inf"), -float("inf")]))


def huge(value, draw):
    """A number that no float holds."""
    put(value, draw.choice(numbers(value)), HUGE)


def negative(value, draw):
    """A size or a latency below zero."""
    names = ("size_bytes", "latency_s", "ratio", "threads", "batch", "elapsed_s", "macs", "parameters")
    put(value, draw.choice([p for p in numbers(value) if p[-1] in names]), -5)


def swap(value, draw):
    """An interval with its ends swapped."""
    names = ("interval_s", "ratio_interval", "interval", "test_interval")
    paths = [p for p in places(value) if p[-1] in names and at(value, p)]
    path = draw.choice([p for p in paths if at(value, p)[0] != at(value, p)[1]])
    put(value, path, at(value, path)[::-1])


def unknown(value, draw):
    """A key that no version has."""
    records = [p for p in places(value) if isinstance(at(value, p), dict) and "trial" in at(value, p)]
    at(value, draw.choice([(), *[p for p in records if is_named(p)]]))["surprise"] = 1


def duplicate(value, draw):
    """A trial that is there twice."""
    lists = [value[name] for name in ("points", "front", "dominated") if value.get(name)]
    points = draw.choice(lists)
    points.append(draw.choice(points))


def version(value, draw):
    """Another schema version."""
    value["schema_version"] = draw.choice([0, 1, 4, 99, "3", 3.5, None, True])


def numbers(value):
    """The paths of the numbers."""
    return [p for p in places(value) if type(at(value, p)) in (int, float) and is_named(p)]


MUTATIONS = (delete, retype, not_a_number, huge, negative, swap, unknown, duplicate, version)


def deep(text, draw):
    return text.replace(": ", ": " + "[" * 100_000, 1) if draw.random() < 0.5 else "[" * 100_000


def truncated(text, draw):
    return text[: draw.randrange(len(text))]


def bytes_of(text, draw):
    """Bytes of a file that is damaged as a whole; of version 3 also a bit that is turned over."""
    kind = draw.choice(["deep", "truncated", "empty", "latin", "flip", "null", "list"])
    if kind == "deep":
        return deep(text, draw).encode()
    if kind == "truncated":
        return truncated(text, draw).encode(errors="ignore")
    if kind == "empty":
        return b""
    if kind == "latin":
        return text.encode() + b"\xe4"
    if kind == "flip":
        data, place = bytearray(text.encode()), draw.randrange(len(text.encode()))
        data[place] ^= 1 << draw.randrange(8)
        return bytes(data)
    return b"null" if kind == "null" else b"[]"


def mutated(text, seed):
    """The bytes of the file with one mutation, and what it is."""
    draw = random.Random(seed)
    mutation = draw.choice([*MUTATIONS, None, None])
    if mutation is None:
        return bytes_of(text, draw), "bytes"
    value = json.loads(text)
    mutation(value, draw)
    return json.dumps(value).encode(), mutation.__name__


def refused_or_equal(folder, run):
    """Whether the run was refused; else it must be the same."""
    try:
        again = read_run(folder)
    except RunDirectoryError as error:
        assert str(folder / FRONT) in str(error) and "\n" not in str(error)
        return True
    assert again == run
    return False


@pytest.mark.parametrize("several", [False, True], ids=["one", "two"])
def test_a_damaged_front_of_version_3_is_refused_or_the_same_run(tmp_path, several):
    run = sample_run_of_two(missing=4) if several else sample_run(candidates=6)
    write_run(tmp_path, run)
    text = (tmp_path / FRONT).read_text(encoding="utf-8")
    assert read_run(tmp_path) == run
    for seed in range(COUNT):
        data, kind = mutated(text, seed)
        (tmp_path / FRONT).write_bytes(data)
        assert refused_or_equal(tmp_path, run) or kind == "bytes", (seed, kind)


@pytest.mark.parametrize("name", ["front-version-2.json", "front-version-2-of-two.json"])
def test_a_damaged_front_of_version_2_is_refused(tmp_path, name):
    text = (DATA / name).read_text(encoding="utf-8")
    shutil.copy(DATA / name, tmp_path / FRONT)
    run = read_run(tmp_path)
    for seed in range(COUNT):
        data, kind = mutated(text, seed)
        (tmp_path / FRONT).write_bytes(data)
        if kind != "bytes":
            assert refused_or_equal(tmp_path, run), (seed, kind)
            continue
        try:  # a bit that turns one number into another cannot be seen without a digest
            read_run(tmp_path)
        except RunDirectoryError as error:
            assert FRONT in str(error)


def test_any_changed_number_of_version_3_is_noticed(tmp_path):
    write_run(tmp_path, sample_run())
    text = (tmp_path / FRONT).read_text(encoding="utf-8")
    (tmp_path / FRONT).write_text(text.replace("0.9172", "0.9173", 1))
    with pytest.raises(RunDirectoryError, match="its digest does not match its content: restore it"):
        read_run(tmp_path)


def test_a_fine_tuned_point_is_read_as_strictly(tmp_path):
    run = sample_run()
    write_run(tmp_path, run)
    tuned = point(4, run.point(4).recipe)
    tuned = type(tuned)(
        trial=-1, recipe=tuned.recipe, outcomes=tuned.outcomes, finetuned=FineTuned(of=4, seconds=60.0)
    )
    write_finetuned(tmp_path, tuned)
    assert read_run(tmp_path).points == (*run.points, tuned)
    file = tmp_path / "finetuned" / "1.json"
    file.write_text(file.read_text().replace('"of": 4', '"of": 400'))
    with pytest.raises(RunDirectoryError, match=r"finetuned.1\.json: is damaged"):
        read_run(tmp_path)
    file.write_text("{}")
    with pytest.raises(RunDirectoryError, match=r"finetuned.1\.json: schema_version is missing"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "[1]", "null", "{", "", '{"a": NaN}', '{"a": 1, "a": 2}', "7"]
)
def test_another_json_file_that_is_damaged_is_one_sentence(tmp_path, content):
    (tmp_path / "task.json").write_text(content)
    with pytest.raises(RunDirectoryError, match=r"task\.json: .*: restore it, or search again with --fresh"):
        read_json(tmp_path / "task.json")


@pytest.mark.parametrize("command", ["front", "pick", "report"])
@pytest.mark.parametrize(
    "content", [b'{"schema_version": 3}', b"\xff", b"[" * 100_000], ids=["empty", "bytes", "deep"]
)
def test_a_command_on_a_damaged_run_ends_with_exit_code_2_and_one_line(tmp_path, command, content):
    (tmp_path / FRONT).write_bytes(content)
    arguments = [sys.executable, "-m", "autocompress", command, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"Error: {tmp_path / FRONT}: ")

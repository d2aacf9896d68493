"""How much memory a search may take, will take and took."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from autocompress.compress.compressor import Compressor
from autocompress.compress.graph.network import Network
from autocompress.compress.levels.moments import moments_bytes
from autocompress.compress.options import CompressorOptions
from autocompress.errors import InputError
from autocompress.explore.preparation.checked_request import CheckedRequest
from autocompress.explore.preparation.memory import memory_plan
from autocompress.explore.preparation.request import SearchRequest
from autocompress.explore.session.memory import SHARE, MemoryPeak, free_bytes, limit_of, resident_bytes
from autocompress.profiles import format_size
from autocompress.results.records.progress import SearchFacts
from autocompress.results.records.reading import Fields
from autocompress.results.report.why import expert_cards
from autocompress.results.table_files import front_value
from autocompress.results.view import views_of
from autocompress.tests.compress.tasks import tiny_task
from autocompress.tests.present import present
from autocompress.tests.results.sample_run import sample_run

GB = 1 << 30


def checked(name="depthwise", *, memory_bytes, recovery=True):
    task = tiny_task(name)
    network = Network.trace(task.model, task.example_inputs)
    request = SearchRequest(task="digits", recovery=recovery)
    made = SimpleNamespace(network=network, request=request, memory_bytes=memory_bytes)
    return cast(CheckedRequest, made)


def test_a_search_takes_60_percent_of_what_is_free_unless_it_is_told():
    assert limit_of(5 * GB) == 5 * GB
    assert abs(limit_of(None) / (SHARE * free_bytes()) - 1) < 0.2
    assert 0 < free_bytes() <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_peak_is_what_was_taken_together_when_it_was_looked_at():
    memory = MemoryPeak()
    memory.look()
    before = memory.bytes
    assert 0.4 * resident_bytes() < before  # other tests beside this one share the libraries' pages
    code = "block = bytearray(b'1' * (200 << 20)); print(len(block), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        present(child.stdout).readline()
        memory.look()
        child.communicate("\n")
    assert 200 << 20 < memory.bytes - before < 500 << 20
    memory.look()
    assert memory.bytes - before > 200 << 20  # also when the child is gone


def test_pages_that_processes_share_count_once():
    code = "import os; block = bytearray(b'1' * (200 << 20)); child = os.fork(); print(child, flush=True); "
    code += "input() if child else os.read(0, 1)"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as both:
        for _ in range(2):
            present(both.stdout).readline()
        memory = MemoryPeak(both.pid)
        memory.look()
        present(both.stdin).write("\n\n")
    assert 200 << 20 < memory.bytes < 300 << 20


def test_recovery_needs_more_than_a_search_without_it_and_never_more_than_half_of_the_limit():
    plans = [memory_plan(checked(memory_bytes=8 * GB, recovery=recovery)) for recovery in (True, False)]
    assert plans[0].needed > plans[1].needed > resident_bytes() / 2
    assert plans[0].training <= 4 * GB + (1 << 20) and plans[1].training == 0


def test_a_limit_below_what_cannot_be_divided_is_refused_with_one_that_suffices():
    with pytest.raises(
        InputError, match=r"1,024\.0 KB of memory are too little .*: give --memory \d\S*GB or more"
    ):
        memory_plan(checked(memory_bytes=1 << 20))


def test_moments_are_collected_in_as_many_passes_as_the_limit_asks_for_and_are_the_same(tmp_path):
    task = tiny_task("depthwise")
    network = Network.trace(task.model, task.example_inputs)
    made = []
    for memory_bytes in (None, 8 * max(map(moments_bytes, network.layers))):
        options = CompressorOptions(memory_bytes=memory_bytes)
        folder = tmp_path / str(memory_bytes)
        database = Compressor(task, network, options, levels_dir=folder).students.database
        made.append(dict(database.moments))
    assert made[0].keys() == made[1].keys()
    for name, moments in made[0].items():
        assert torch.equal(moments.second, made[1][name].second)


def test_front_and_report_tell_the_peak():
    run = sample_run()
    facts = replace(run.search, peak_memory_bytes=3 * GB, memory_limit_bytes=8 * GB, time={"build": 5.0})
    told = replace(run, search=facts)
    assert front_value(told)["memory"] == {"peak_bytes": 3 * GB, "limit_bytes": 8 * GB}
    assert f"It took {format_size(3 * GB)} of memory of at most {format_size(8 * GB)}." in expert_cards(
        views_of(told)[0]
    )
    assert SearchFacts.from_json(Fields(json.loads(json.dumps(facts.to_json())))) == facts

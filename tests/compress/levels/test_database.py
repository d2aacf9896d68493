"""The level database: kept by content, resumed, bounded; stitching and refitting bring outputs nearer to the
original's.
"""

import pytest
import torch
from autocompress.compress.graph.network import Network
from autocompress.compress.levels.database import LevelDatabase
from autocompress.compress.levels.statistics import _Collector
from autocompress.compress.levels.stitch import stitch
from autocompress.compress.student.prune import prune
from autocompress.compress.student.refit import refit
from autocompress.errors import OutOfTime, StageError
from autocompress.tests.models import tiny_model


def correlated(count, seed, shape=(3, 8, 8)):
    """Smooth random inputs: neighbouring pixels and channels are alike, as in images."""
    x = torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.avg_pool2d(x, 3, 1, 1) * 3 + x.mean(1, keepdim=True)


@pytest.fixture(scope="module")
def network():
    row = tiny_model("residual")
    return Network.trace(row.build(), row.example_inputs())


@pytest.fixture(scope="module")
def inputs():
    return correlated(256, 0)


def database(network, inputs, directory=None, **options):
    return LevelDatabase(network, lambda: [(x,) for x in inputs.split(64)], directory=directory, **options)


def removed_units(network, levels_, share=2):
    removed = set()
    for group in network.groups:
        removal = levels_.removal(group)
        removed |= {group.units[unit].number for unit in removal.order[: group.channels // share]}
    return frozenset(removed)


def distance(module, network, x):
    with torch.inference_mode():
        expected = network.module(x)
        return float((module(x) - expected).square().mean() / expected.square().mean())


def test_stitched_weights_answer_more_like_the_original_than_sliced_ones(network, inputs):
    levels = database(network, inputs)
    removed = removed_units(network, levels)
    sliced, stitched = (prune(network.module, network.channels, removed) for _ in range(2))
    stitch(stitched, levels, removed, {})
    fresh = correlated(128, 1)
    assert distance(stitched, network, fresh) < 0.9 * distance(sliced, network, fresh)


def test_what_is_made_can_be_ended_between_two_batches_and_taken_up_again(network, inputs):
    calls = []

    def between():
        calls.append(1)
        if len(calls) == 2:
            raise OutOfTime("The time is over.")

    levels = database(network, inputs, between=between)
    with pytest.raises(OutOfTime):
        levels.removal(network.groups[0])
    whole = database(network, inputs)
    assert levels.removal(network.groups[0]) == whole.removal(network.groups[0])


def test_moments_that_were_interrupted_go_on_with_the_next_batch(network, inputs, monkeypatch):
    whole = dict(database(network, inputs).moments)
    ran, run, errors = [], _Collector.run, [OutOfTime("The time is over.")]

    def counted(self, *x):
        ran.append(1)
        return run(self, *x)

    monkeypatch.setattr(_Collector, "run", counted)

    def between():
        if len(ran) == 2 and errors:
            raise errors.pop()

    levels = database(network, inputs, between=between)
    with pytest.raises(OutOfTime):
        len(levels.moments)
    assert all(torch.equal(levels.moments[name].second, whole[name].second) for name in whole)
    assert len(ran) == 4  # batches, none of them twice


def test_moments_beyond_what_stays_in_memory_are_read_from_disk_again(network, inputs, tmp_path, monkeypatch):
    monkeypatch.setattr("autocompress.compress.levels.moments.IN_MEMORY_BYTES", 1)
    first, *others = database(network, inputs, tmp_path).moments.items()
    levels = database(network, inputs, tmp_path)
    for name, moments in (first, *others, first):
        assert torch.equal(levels.moments[name].second, moments.second)
    for file in tmp_path.rglob("moments/*.safetensors"):
        file.unlink()
    again = [levels.moments[name].second for name, _ in others]  # made again
    assert all(torch.equal(one, moments.second) for one, (_, moments) in zip(again, others, strict=True))


def test_refitted_weights_answer_more_like_the_original_than_stitched_ones(network, inputs):
    levels = database(network, inputs)
    removed = removed_units(network, levels)
    stitched, refitted = (prune(network.module, network.channels, removed) for _ in range(2))
    for module in (stitched, refitted):
        stitch(module, levels, removed, {})
    channels = {layer.name: network.kept_outputs(layer.name, removed) for layer in network.layers}
    refit(refitted, network.module, [(inputs,)], channels, {})
    fresh = correlated(128, 1)
    assert distance(refitted, network, fresh) < 0.9 * distance(stitched, network, fresh)


def test_refitting_an_unchanged_model_changes_nothing(network, inputs):
    module = prune(network.module, network.channels, frozenset())
    channels = {layer.name: network.kept_outputs(layer.name, frozenset()) for layer in network.layers}
    refit(module, network.module, [(inputs[:32],)], channels, {})
    assert all(
        torch.equal(value, network.module.state_dict()[name]) for name, value in module.state_dict().items()
    )


def test_fewer_bits_and_fewer_channels_have_larger_errors(network, inputs):
    levels = database(network, inputs)
    layer = "body.1.0"
    assert (
        0
        < levels.level(layer, bits=6).error
        < levels.level(layer, bits=4).error
        < levels.level(layer, bits=2).error
        < 1
    )
    some, more = (levels.level(layer, channels=torch.arange(count)).error for count in (14, 8))
    assert 0 < some < more


def test_entries_are_read_from_disk_by_the_next_run(network, inputs, tmp_path, monkeypatch):
    first = database(network, inputs, tmp_path)
    made = {layer.name: first.level(layer.name, bits=4) for layer in network.layers}
    orders = [first.removal(group) for group in network.groups]
    assert first.size_bytes > 0
    second = database(network, inputs, tmp_path)
    monkeypatch.setattr(LevelDatabase, "_make", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(
        "autocompress.compress.levels.moments.Collecting", lambda *_, **__: pytest.fail("collected again")
    )
    for layer in network.layers:
        ours, theirs = made[layer.name], second.level(layer.name, bits=4)
        assert torch.equal(ours.weight(), theirs.weight()) and ours.error == theirs.error
    assert [second.removal(group) for group in network.groups] == orders


def test_other_data_make_another_database(network, inputs, tmp_path):
    keys = {database(network, x, tmp_path).key for x in (inputs, inputs + 1e-3)}
    assert len(keys) == 2


def test_the_database_stays_within_its_limit(network, inputs, tmp_path):
    levels = database(network, inputs, tmp_path)
    for layer in network.layers:
        for bits in (2, 3, 4, 6):
            levels.level(layer.name, bits=bits)
    limit = levels.size_bytes - 1
    smaller = database(network, inputs, tmp_path, limit_bytes=limit)
    smaller.level(network.layers[0].name, bits=8)
    assert smaller.size_bytes <= limit


def test_a_damaged_entry_is_made_again(network, inputs, tmp_path):
    first = database(network, inputs, tmp_path)
    weight = first.level("body.0.0", bits=4).weight()
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:20])
    assert torch.equal(database(network, inputs, tmp_path).level("body.0.0", bits=4).weight(), weight)


def test_a_flipped_bit_in_an_entry_is_noticed(network, inputs, tmp_path, caplog):
    first = database(network, inputs, tmp_path)
    weight = first.level("body.0.0", bits=4).weight()
    for path in tmp_path.rglob("*.safetensors"):
        data = path.read_bytes()
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 64]) + data[-8:])
    assert torch.equal(database(network, inputs, tmp_path).level("body.0.0", bits=4).weight(), weight)
    assert "its digest does not match its content" in caplog.text


def test_the_entry_of_another_layer_is_not_taken(network, inputs, tmp_path):
    first, second = (layer.name for layer in network.layers[1:3])
    levels = database(network, inputs, tmp_path)
    expected = [levels.level(name, bits=4).weight() for name in (first, second)]
    files = sorted(tmp_path.rglob("levels/*.safetensors"))
    contents = [file.read_bytes() for file in files]
    for file, content in zip(files, reversed(contents), strict=True):
        file.write_bytes(content)
    again = database(network, inputs, tmp_path)
    for name, weight in zip((first, second), expected, strict=True):
        assert torch.equal(again.level(name, bits=4).weight(), weight)


def test_a_folder_that_cannot_be_written_is_done_without(network, inputs, tmp_path, caplog):
    (tmp_path / "levels").write_text("a file in the way")
    levels = database(network, inputs, tmp_path / "levels")
    assert levels.level("body.0.0", bits=4).error > 0
    assert levels.describe() == "in memory only" and "cannot be kept" in caplog.text


def test_inputs_that_are_not_finite_are_named(network, inputs):
    with pytest.raises(StageError, match="layer stem"):
        database(network, inputs * torch.inf).level("body.0.0", bits=4)


def test_moments_that_exceed_the_memory_are_collected_in_several_passes(network, inputs, monkeypatch):
    whole = database(network, inputs).moments
    monkeypatch.setattr("autocompress.compress.levels.moments.IN_PASS_BYTES", 1)
    parts = database(network, inputs).moments
    assert whole.keys() == parts.keys()
    assert all(torch.allclose(whole[name].second, parts[name].second, rtol=1e-3, atol=1e-4) for name in whole)

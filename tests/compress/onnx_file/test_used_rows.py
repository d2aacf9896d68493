"""Rows of tables that no input reads: what can go, what stays and why, and a file that answers the same."""

import importlib
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from autocompress.compress import Compressor, Network, Recipe, check_outputs
from autocompress.compress.options import CompressorOptions, FileFormat
from autocompress.tests.compress.artifacts import run
from autocompress.tests.compress.kinds import kind_task
from torch import nn

USED = (7, *range(100, 140), 3)  # the first one stands for all that are not listed


class Words(nn.Module):
    """Two calls of one table, a table of positions and one of kinds, and a second input."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.kinds = nn.Embedding(200, 24), nn.Embedding(8, 24), nn.Embedding(5, 24)
        self.out = nn.Linear(24, 5)

    def forward(self, tokens, kinds):
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[1])) + self.words(tokens[:, :1])
        return self.out((x + self.kinds(kinds).unsqueeze(1)).mean(1))


class Tied(nn.Module):
    """A language model whose table is also its last layer."""

    def __init__(self):
        super().__init__()
        self.words, self.hidden = nn.Embedding(200, 24), nn.Linear(24, 24)

    def forward(self, tokens):
        return nn.functional.linear(self.hidden(self.words(tokens)), self.words.weight)


class Shifted(nn.Module):
    """A table that is read at sums of tokens."""

    def __init__(self):
        super().__init__()
        self.words, self.out = nn.Embedding(200, 24), nn.Linear(24, 5)

    def forward(self, tokens):
        return self.out(self.words(tokens[:, 1:] + tokens[:, :-1]).mean(1))


def words_and_kinds():
    draw = torch.Generator().manual_seed(0)
    tokens = torch.tensor(USED)[torch.randint(len(USED), (8, 8), generator=draw)]
    return tokens, torch.randint(5, (8,), generator=draw)


@pytest.mark.parametrize("precision", [None, "w8", "w4", "w3"])
def test_a_file_with_used_rows_alone_answers_the_same(precision, tmp_path):
    inputs = words_and_kinds()
    model = Words().eval()
    network = Network.trace(model, tuple(x[:2] for x in inputs), used_tokens={0: USED, 1: range(5)})
    assert [*network.used_rows] == ["words"]  # of kinds each row is read
    compressor = Compressor(kind_task(model, inputs), network)
    stored = {} if precision is None else {"words": precision}
    whole = Recipe(keep={"words": 12}, precision=stored)
    cut = Recipe(keep={"words": 12}, precision=stored, used_rows=True)
    files = [compressor.build(recipe, tmp_path).only for recipe in (whole, cut)]
    check_outputs(run(files[1].artifact.path, files[1].check.inputs), files[1].check)
    answers = [run(built.artifact.path, files[0].check.inputs) for built in files]
    assert (answers[0][0] == answers[1][0]).all()
    saved = files[0].artifact.size_bytes - files[1].artifact.size_bytes
    predicted = network.cost(whole).weight_bytes - network.cost(cut).weight_bytes
    assert saved == pytest.approx(predicted, abs=400)  # of nodes and names
    assert files[1].artifact.size_bytes >= network.cost(cut).weight_bytes
    assert files[0].artifact.parameters - files[1].artifact.parameters == (200 - len(USED)) * 12


def test_other_values_are_read_as_the_first_one(tmp_path):
    inputs = (torch.randint(200, (8, 8), generator=torch.Generator().manual_seed(1)), words_and_kinds()[1])
    model = Words().eval()
    task = replace(kind_task(model, inputs), used_tokens={0: USED})
    network = Network.trace(model, tuple(x[:2] for x in inputs), used_tokens=task.used_tokens)
    built = Compressor(task, network).build(Recipe(used_rows=True), tmp_path).only
    check_outputs(run(built.artifact.path, built.check.inputs), built.check)
    session = onnxruntime.InferenceSession(built.artifact.path)
    names = [one.name for one in session.get_inputs()]
    tokens, kinds = np.full((2, 8), 7), np.zeros(2, np.int64)
    expected = model(torch.tensor(tokens), torch.tensor(kinds)).detach().numpy()
    for value in (0, 199, 7):
        answers = session.run(None, dict(zip(names, (0 * tokens + value, kinds), strict=True)))
        np.testing.assert_allclose(answers[0], expected, rtol=1e-4, atol=1e-5)


def test_a_table_that_is_also_a_layer_stays_whole_and_says_why():
    network = Network.trace(Tied().eval(), (torch.tensor([USED[:8]] * 2),), used_tokens={0: USED})
    (reason,) = (one.reason for one in network.excluded if one.name == "rows of words")
    assert not network.used_rows and "a layer multiplies with all of them" in reason


def test_a_table_that_is_read_at_sums_of_tokens_stays_whole():
    network = Network.trace(Shifted().eval(), (torch.arange(8).repeat(2, 1),), used_tokens={0: range(8)})
    assert not network.used_rows


def test_tokens_beyond_the_table_leave_it_whole():
    inputs = tuple(x[:2] for x in words_and_kinds())
    network = Network.trace(Words().eval(), inputs, used_tokens={0: (*USED, 200)})
    (reason,) = (one.reason for one in network.excluded if one.name == "rows of words")
    assert not network.used_rows and "lists 200, and it has 200 rows" in reason


def test_a_file_of_litert_has_the_used_rows_alone_too(tmp_path):
    pytest.importorskip("ai_edge_litert")
    interpreter_of = importlib.import_module("ai_edge_litert.interpreter").Interpreter
    inputs, model = words_and_kinds(), Words().eval()
    network = Network.trace(model, tuple(x[:2] for x in inputs), used_tokens={0: USED})
    form = FileFormat(container="tflite", activations="int8-asymmetric")
    compressor = Compressor(kind_task(model, inputs), network, CompressorOptions(formats=(form,)))
    sizes = []
    for recipe in (Recipe(), Recipe(used_rows=True)):
        built = compressor.build(recipe, tmp_path).only
        interpreter = interpreter_of(str(built.artifact.path))
        for details, x in zip(interpreter.get_input_details(), built.check.inputs, strict=True):
            interpreter.resize_tensor_input(details["index"], x.shape)
        interpreter.allocate_tensors()
        for details, x in zip(interpreter.get_input_details(), built.check.inputs, strict=True):
            interpreter.set_tensor(details["index"], x)
        interpreter.invoke()
        answers = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        np.testing.assert_allclose(answers, built.check.expected[0], rtol=1e-4, atol=1e-5)
        sizes.append(built.artifact.size_bytes)
    assert sizes[1] < sizes[0] / 2

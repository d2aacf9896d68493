"""Wrappers and computed weights are taken off a copy of the model; the user's own stays as it is."""

import copy
from dataclasses import replace
from typing import cast

import pytest
import torch
from autocompress.errors import TaskError
from autocompress.tasks import check_task
from autocompress.tasks.identity import model_digest
from autocompress.tasks.plain.model import plain_model
from torch import Tensor, nn
from torch.ao.quantization import FakeQuantize, QuantStub
from torch.nn.utils import parametrizations, parametrize, prune
from torch.optim.swa_utils import AveragedModel


class Old(nn.Module):
    """Weights of hooks: norms of the older kind, also of a recurrent layer, and a pruning mask."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.utils.weight_norm(nn.Conv1d(3, 8, 3))
        self.b = nn.utils.spectral_norm(nn.Linear(6, 6))
        self.c = nn.utils.weight_norm(nn.GRU(6, 4), "weight_hh_l0")
        self.d = nn.Linear(4, 4)
        prune.l1_unstructured(self.d, "weight", 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """N × 3 × 8 to 8 × N × 4."""
        result: Tensor = self.d(self.c(self.b(self.a(x)).transpose(0, 1))[0])
        return result


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        """The upper triangle on both sides."""
        return weight.triu() + weight.triu(1).T


def new() -> nn.Module:
    """Parametrizations: torch's three and one of the user's."""
    last = nn.Linear(6, 6)
    parametrize.register_parametrization(last, "weight", Symmetric())
    return nn.Sequential(
        parametrizations.weight_norm(nn.Conv1d(3, 8, 3)),
        parametrizations.spectral_norm(nn.Linear(6, 6)),
        parametrizations.orthogonal(nn.Linear(6, 6)),
        last,
    )


MODELS = {
    "hooks": (Old, {"a.weight", "b.weight", "c.weight_hh_l0", "d.weight"}),
    "parametrizations": (new, {"0.weight", "1.weight", "2.weight", "3.weight"}),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
@pytest.mark.parametrize("trained", [False, True], ids=["fresh", "after a call with gradients"])
@pytest.mark.parametrize(("make", "names"), MODELS.values(), ids=MODELS.keys())
def test_computed_weights_become_parameters_of_a_copy(make, names, trained):
    torch.manual_seed(0)
    model, x = make(), torch.randn(2, 3, 8)
    if trained:
        model(x)
    model.eval()
    expected = model(x)
    model.train()
    state = copy.deepcopy({name: tensor.detach() for name, tensor in model.state_dict().items()})
    plain = plain_model(model)
    assert names <= dict(plain.named_parameters()).keys()
    assert not any("original" in name or name.endswith(("_g", "_u", "_mask")) for name in plain.state_dict())
    torch.testing.assert_close(plain(x), expected)
    after = model.state_dict()
    assert after.keys() == state.keys() and all(torch.equal(after[name], state[name]) for name in state)
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(model.eval()(x), expected)


class Adapter(nn.Module):
    """What peft makes of a linear layer: its own weight, and two factors beside it."""

    def __init__(self, base: nn.Linear):
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(base.in_features, 2), nn.Linear(2, base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        result: Tensor = self.base(x).add(self.up(self.down(x)))
        return result


class WithAdapters(nn.Module):
    """A stand-in for peft.PeftModel, which has the same method."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(Adapter(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        """N × 4 to N × 2."""
        result: Tensor = self.model(x)
        return result

    def merge_and_unload(self) -> nn.Module:
        """The base model, with the products of the factors added to its weights."""
        adapter = self.model[0]
        assert isinstance(adapter, Adapter)
        with torch.no_grad():
            adapter.base.weight += adapter.up.weight @ adapter.down.weight
            adapter.base.bias.add_(adapter.up(adapter.down.bias))
        self.model[0] = adapter.base
        return self.model


def network() -> nn.Module:
    """N × 4 to N × 2."""
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))


WRAPPED = {
    "DataParallel": lambda: nn.DataParallel(network()),
    "torch.compile": lambda: torch.compile(network(), backend="eager"),
    "both": lambda: nn.DataParallel(cast(nn.Module, torch.compile(network(), backend="eager"))),
    "average of weights": lambda: AveragedModel(network()),
    "adapters": WithAdapters,
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED.keys())
def test_wrappers_are_taken_off(make):
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(3, 4)
    plain = plain_model(model)
    assert list(plain.state_dict()) == list(network().state_dict())
    if not isinstance(model, nn.DataParallel) and "OptimizedModule" not in type(model).__name__:
        torch.testing.assert_close(plain(x), model(x))


def test_wrappers_around_parts_are_taken_off():
    model = nn.Sequential(nn.DataParallel(nn.Linear(4, 4)), nn.ReLU())
    assert list(plain_model(model).state_dict()) == ["0.weight", "0.bias"]
    assert list(model.state_dict()) == ["0.module.weight", "0.module.bias"]


def test_the_wrapped_model_is_the_same_task_as_the_plain_one():
    model = network()
    assert model_digest(plain_model(nn.DataParallel(model))) == model_digest(plain_model(model))


def traced() -> nn.Module:
    return torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2))


REFUSED = {
    "fake quantization": (lambda: nn.Sequential(nn.Linear(2, 2), FakeQuantize()), "Give the float32 model"),
    "scripted": (lambda: torch.jit.script(nn.Linear(2, 2)), "give the Python module"),
    "a part is traced": (
        lambda: nn.Sequential(traced(), nn.ReLU()),
        "TopLevelTracedModule at '0', a program of",
    ),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(2)), "run the model once"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Lazy modules")
@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_trained_float_model_is_refused_with_its_remedy(make, message):
    with pytest.raises(TaskError, match=message):
        plain_model(make())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_frozen_program_of_torch_jit_is_called_one_though_it_has_no_parameters(task):
    frozen = torch.jit.freeze(torch.jit.script(nn.Linear(2, 2).eval()))
    with pytest.raises(TaskError, match=r"a program of torch\.jit, which cannot be changed"):
        check_task(replace(task, model=frozen))


def test_stubs_for_a_later_quantization_do_nothing_and_pass():
    plain_model(nn.Sequential(QuantStub(), nn.Linear(2, 2)))

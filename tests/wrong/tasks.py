"""A task file whose functions are each wrong in one way. What is said of each must name the field."""

SOURCE = '''
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from autocompress.tasks import Metric, Task, accuracy


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first, self.head = nn.Conv2d(3, width, 3, padding=1), nn.Linear(width, 4)

    def forward(self, x):
        return self.head(F.relu(self.first(x)).mean((2, 3)))


class Deciding(Net):
    def forward(self, x):
        y = super().forward(x)
        return y if y.sum() > 0 else -y


class Squeezing(Net):
    def forward(self, x):
        return super().forward(x).mean(0)


class OneSize(Net):
    def forward(self, x):
        return super().forward(x).view(5, 4)


class Silent(IterableDataset):
    def __iter__(self):
        return iter([])


class Pairs(list):
    """Samples as a dataset."""


def data(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, 8, 8, generator=generator), torch.arange(count) % 4


def base(**changes):
    torch.manual_seed(0)
    train, validation, test = (TensorDataset(*data(40, seed)) for seed in (1, 2, 3))
    metric = Metric(name="accuracy", function=accuracy)
    task = Task(name="tiny", model=Net().eval(), train=train, validation=validation, test=test,
                loss=F.cross_entropy, metric=metric, example_inputs=(torch.randn(2, 3, 8, 8),))
    return replace(task, **changes)


def changed(change):
    images, labels = data(40, 1)
    return base(train=[change(image, int(label)) for image, label in zip(images, labels)])


def measured(function, **more):
    return base(metric=Metric(name="own", function=function, **more))


def fine(): return base()
def no_fraction(): return measured(accuracy, unit="")
def gives_nothing(): base()
def is_a_model(): return Net()
def takes_one(size): return base()
def raises(): return base() if 1 / 0 else None
def no_name(): return base(name=" ")
def class_as_model(): return base(model=Net)
def weights_as_model(): return base(model=Net().state_dict())
def scripted(): return base(model=torch.jit.script(Net()))
def frozen_program(): return base(model=torch.jit.freeze(torch.jit.script(Net().eval())))
def quantized(): return base(model=torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear}))
def half(): return base(model=Net().half())
def on_meta(): return base(model=Net().to("meta"))
def without_parameters(): return base(model=nn.Flatten())
def frozen(): return base(model=Net().requires_grad_(False))
def lazy(): return base(model=nn.Sequential(nn.Flatten(), nn.LazyLinear(4)))
def not_a_number(): return base(model=nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).apply(ruin))
def no_batch(): return base(model=Squeezing().eval())
def one_size(): return base(model=OneSize().eval(), example_inputs=(torch.randn(5, 3, 8, 8),))
def takes_five(): return replace(one_size(), batch=5)
def one_sample(): return base(example_inputs=(torch.randn(3, 8, 8),))
def batch_as_text(): return base(batch="5")
def example_tensor(): return base(example_inputs=torch.randn(2, 3, 8, 8))
def example_channels(): return base(example_inputs=(torch.randn(2, 5, 8, 8),))
def example_sizes(): return base(example_inputs=(torch.randn(2, 3, 8, 8), torch.randn(3, 3, 8, 8)))
def example_array(): return base(example_inputs=(np.zeros((2, 3, 8, 8), np.float32),))
def example_names(): return base(example_inputs={"image": torch.randn(2, 3, 8, 8)})
def example_double(): return base(example_inputs=(torch.randn(2, 3, 8, 8).double(),))
def empty(): return base(validation=TensorDataset(*data(0, 1)))
def silent_stream(): return base(train=Silent())
def read_once(): return base(train=(pair for pair in [(torch.zeros(3, 8, 8), 0)] * 9))
def array_as_split(): return base(train=np.zeros((9, 3, 8, 8), np.float32))
def no_pairs(): return changed(lambda image, label: image)
def dictionaries(): return changed(lambda image, label: {"pixel_values": image, "label": label})
def named_inputs(): return changed(lambda image, label: ({"pixel_values": image}, label))
def arrays(): return changed(lambda image, label: (image.numpy().tolist(), label))
def two_shapes(): return changed(lambda image, label: (image[0] if label % 2 else image, label))
def other_shape(): return changed(lambda image, label: (image.repeat(1, 2, 2), label))
def bytes_as_pixels(): return changed(lambda image, label: (image.byte(), label))
def class_too_many(): return changed(lambda image, label: (image, label + 1))
def class_as_text(): return changed(lambda image, label: (image, f"class {label}"))
def raising_samples(): return changed(lambda image, label: (image, label)) and base(train=Raising())
def same_split():
    task = base()
    return replace(task, test=task.validation)
def shared_samples(): return base(test=TensorDataset(*data(40, 2)))
def loss_as_text(): return base(loss="cross_entropy")
def loss_of_each(): return base(loss=partial(F.cross_entropy, reduction="none"))
def loss_as_number(): return base(loss=lambda outputs, targets: float(F.cross_entropy(outputs, targets)))
def loss_no_gradient(): return base(loss=lambda outputs, targets: outputs.argmax(1).float().mean())
def loss_nan(): return base(loss=lambda outputs, targets: F.cross_entropy(outputs, targets) * float("nan"))
def loss_one_argument(): return base(loss=lambda outputs: outputs.mean())
def metric_function(): return base(metric=accuracy)
def metric_text(): return measured(lambda outputs, targets: "good")
def metric_raises(): return measured(lambda outputs, targets: outputs["logits"])
def metric_nan(): return measured(lambda outputs, targets: float("nan"))
def metric_percent(): return measured(lambda outputs, targets: 91.5)
def metric_direction(): return measured(accuracy, direction="max")
def metric_unit(): return measured(accuracy, unit="%")
def augment_text(): return base(augment="flip")
def augment_shape(): return base(augment=lambda inputs, targets: (inputs[:, :, :4], targets))
def augment_alone(): return base(augment=lambda inputs, targets: inputs)
def preprocessing(): return base(preprocessing={"mean": np.zeros(3)})
def dynamic(): return base(dynamic={"image": {2: "height"}})
def seed(): return base(seed="0")
def deciding(): return base(model=Deciding().eval())


def ruin(layer):
    if isinstance(layer, nn.Linear):
        layer.weight.data.fill_(float("nan"))


class Raising(Pairs):
    def __len__(self):
        return 9

    def __getitem__(self, index):
        raise OSError("no such image")
'''

# The function, and words that must be in what is said of it.
SAID = {
    "gives_nothing": "returned a NoneType",
    "is_a_model": "returned a Net",
    "takes_one": "Missing task argument 'size'",
    "raises": "ZeroDivisionError",
    "no_name": "name is empty",
    "class_as_model": "model must be",
    "weights_as_model": "load_weights(network, path)",
    "scripted": "program of torch.jit",
    "frozen_program": "program of torch.jit",
    "quantized": "Give the float32 model",
    "half": "model.float()",
    "on_meta": "load its weights",
    "without_parameters": "nothing to compress",
    "frozen": "requires_grad_(True)",
    "lazy": "run the model once",
    "not_a_number": "look at its weights",
    "no_batch": "batch",
    "one_size": "give the task batch=5",
    "one_sample": "batch=None",
    "batch_as_text": "batch must be",
    "example_tensor": "write (x,)",
    "example_channels": "model failed",
    "example_sizes": "batch sizes",
    "example_array": "example_inputs",
    "example_names": "names are those of its parameters (x)",
    "example_double": "model",
    "empty": "validation",
    "silent_stream": "train",
    "read_once": "read only once",
    "array_as_split": "train",
    "no_pairs": "pair",
    "dictionaries": "A model of Hugging Face",
    "named_inputs": "A model of Hugging Face",
    "arrays": "train",
    "two_shapes": "train gives inputs of",
    "other_shape": "make them the same",
    "bytes_as_pixels": "train",
    "class_too_many": "loss",
    "class_as_text": "loss",
    "raising_samples": "no such image",
    "same_split": "same object",
    "shared_samples": "share",
    "loss_as_text": "loss must be callable",
    "loss_of_each": "take its mean",
    "loss_as_number": "leave out float()",
    "loss_no_gradient": "no gradient",
    "loss_nan": "must be finite",
    "loss_one_argument": "loss(outputs, targets)",
    "metric_function": "metric must be a Metric",
    "metric_text": "metric",
    "metric_raises": "metric",
    "metric_nan": "metric",
    "metric_percent": "metric",
    "metric_direction": "'higher' or 'lower'",
    "metric_unit": "'fraction' or ''",
    "augment_text": "augment must be callable",
    "augment_shape": "augment",
    "augment_alone": "augment must return a pair",
    "preprocessing": "JSON",
    "dynamic": "dynamic",
    "seed": "seed",
    "deciding": "model",
}

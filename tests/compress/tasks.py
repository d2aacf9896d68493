"""Tasks around the tiny models: random inputs, labels that the original model itself gives."""

import torch
from autocompress.tasks.task import Metric, Task, accuracy
from autocompress.tests.models import tiny_model
from torch.utils.data import Dataset


class RandomInputs(Dataset):
    """Inputs like the examples (normal, or integers up to theirs); the target of each is the original model's
    answer.
    """

    def __init__(self, model, examples, count, seed):
        generator = torch.Generator().manual_seed(seed)
        self.inputs = []
        for x in examples:
            shape = (count, *x.shape[1:])
            if x.is_floating_point():
                self.inputs.append(torch.randn(shape, generator=generator))
            else:
                self.inputs.append(torch.randint(int(x.max()) + 1, shape, generator=generator))
        with torch.no_grad():
            self.targets = model(*self.inputs).argmax(1)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, index):
        inputs = tuple(x[index] for x in self.inputs)
        return inputs if len(inputs) > 1 else inputs[0], self.targets[index]


def tiny_task(name):
    """The task of a tiny model: 256 training, 64 validation and 64 test samples."""
    row = tiny_model(name)
    model, examples = row.build(), row.example_inputs()
    splits = [RandomInputs(model, examples, count, seed) for seed, count in enumerate((256, 64, 64))]
    return Task(
        name=name,
        model=model,
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        loss=torch.nn.functional.cross_entropy,
        metric=Metric(name="accuracy", function=accuracy),
        example_inputs=examples,
    )

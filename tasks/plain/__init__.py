"""The user's task in a plain form, which all other code knows; what the user gave stays as it is.

Flow: `plain_task` makes the model plain, so that it takes tensors by position and returns tensors, and the
data with it; loss and metric still see what the user's model returns. `plain_model` copies the model, takes
wrappers off (DataParallel, torch.compile, adapters of peft), and turns weights that are made anew at each
call (weight_norm, spectral_norm, pruning masks) into parameters.

Reading order:
    plain_task.py   the task
    call.py         keywords, dictionaries and nested outputs
    splits.py       samples with named inputs
    parts.py        models that take one batch size, or single samples
    devices.py      where a model is, and batches that go there
    dynamic.py      dimensions that stay free in the file
    model.py        the copy of the model, and the order of the steps
    wrappers.py     modules that stand around another one
    weights.py      parametrizations and hooks that make a weight; what cannot be resolved is refused

It does not check the task (`check.py`), and knows no graphs.
"""

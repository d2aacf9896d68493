"""The user's model in a plain form, in which its layers can be seen; what the user gave stays as it is.

Flow: `plain_model` copies the model, takes wrappers off (DataParallel, torch.compile, adapters of peft), and
turns weights that are made anew at each call (weight_norm, spectral_norm, pruning masks) into parameters.

Reading order:
    model.py      the copy, and the order of the steps
    wrappers.py   modules that stand around another one
    weights.py    parametrizations and hooks that make a weight; what cannot be resolved is refused

It does not know tasks, data or graphs.
"""

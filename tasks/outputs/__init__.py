"""What an output of a model means, which decides how far two answers are apart.

A task says it, one entry for each output: `outputs=(classes(dim=1), values())`. Where it does not, it is
derived from how the task's loss reacts.

Flow:
    kinds.py        the meanings, as records
    model_check.py  the model answers its example, each sample alone, at any batch size or the one it says
    derive.py       derived_kinds(loss, outputs, targets) → a meaning for each output

The distances themselves are in `compress/student/distance.py`.
"""

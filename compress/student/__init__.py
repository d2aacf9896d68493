"""The compressed torch model of a recipe: the *student*. The original is its teacher.

Flow of `maker.StudentMaker.make`: `prune` slices parameters and adapts constants of the graph; residual
blocks go and `low_rank` factors layers; `levels.stitch` puts in reconstructed weights; `refit` fits the
layers one after the other to the original's outputs and rounds them; statistics of batch normalization are
estimated anew; `training.recover` distills the original into the student, with weights on their grid of few
bits (`training.fake_quantize`).

`probe.Probe` needs only the first half: it predicts from stitched students how much a recipe loses, which
gives the search its sensitivities.

Reading order:
    samples.py         which samples are used for what, and inputs between them
    original.py        what students are compared with: answers, distance, statistics
    student.py         what a student is
    maker.py           the stages in their order
    structure.py       what goes: channels, blocks, ranks
    prune.py           real removal of channels
    low_rank.py        factors that know the layer's inputs
    refit.py           sequential least squares
    training/          distillation with checkpoints, on a grid with learned steps
    statistics.py      normalizations behind what was changed
    rounded_activations.py   how the file will round activations
    effort.py          how many samples models are compared on, and in which arithmetic
    probe.py           the divergence of a stitched student

It does not know ONNX, file formats or the devices of targets.
"""

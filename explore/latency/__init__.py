"""The latency model: how long a candidate will take on a target, learned from whole models measured there.

Purpose. Building and measuring a candidate takes seconds; the sampler compares thousands. So each target has
a table of what the parts of a model cost on it. The table predicts any candidate, and every measurement
corrects it. Tables are kept by device: a later search starts from what earlier ones measured.

Flow
    A network is cut into parts (layers, and what stands between two), each with numbers that describe it.
    `calibrate` measures the candidates that teach most, within its share of the time; LatencyPredictor fits
    the costs by Bayesian regression; `problem_of` puts the predictors of all targets together into the
    problem that the sampler solves. A target that is away is predicted by its table or its data sheet.

Reading order
    features.py       the numbers that describe a layer or a boundary
    terms.py          LatencyTerms: the parts of a network, and the levels that each depends on
    model.py          LatencyPredictor: what parts cost on one target; problem_of: all targets for the sampler
    shape_models.py   ShapeModels: builds and measures candidates of which only the shapes count
    calibrate.py      which candidates to measure first, and how good a table is
    roofline.py       Roofline: a lower bound from the numbers of a data sheet
    predict.py        what predicts the latencies of a target that is away

What it does not know: quality, fronts, Optuna. Files and their locks are in profiles/latency_table.py.
"""

"""One candidate: built once, then asked for its answers and measured on each target of the run.

Flow. Evaluator.evaluate → compressor.build → on each target Bench.measured_on → Measured or Missing → Point.

Reading order
    targets.py          targets as they were asked for (NamedTarget), as they answered (FoundTarget)
    evaluate.py         Evaluator: a Point, or a Failure when no target measured the candidate
    bench.py            Bench: one candidate on one target; a StageError becomes Missing
    answers.py          the metric of a file and the precision of its layers; who shares them
    racing.py           who cannot join the front any more, and is validated no further
    availability.py     boards that are away: when to ask again, when to wait
    placing.py          of runtimes of one device: where a candidate is not tried
    originals.py        the original in all of them, timed in turns
    catching_up.py      what was missing is measured later
    predicted.py        PredictedTarget: latencies computed, never taken for measured ones
    sample_statistics.py    how inputs and answers are distributed, for the monitor of a bundle
    uncertainty.py      the interval of a metric, and of a drop: paired by samples
    stored_split.py, paced_training.py   samples on disk for workers; training that lets others measure

What it does not know: what is tried next, limits, the study.
"""

"""What to try next, and what came of it: from a task and a target to a front of measured models.

Purpose. The loop of the project. It proposes recipes, has them built (compress) and measured (targets), keeps
everything in a run directory that survives a `kill -9`, and ends with the front, its report and a bundle to
ship.

Flow. SearchRequest → prepare.prepare (everything that can be wrong is found out) → prepare.open_search (run
directory, study) → Search.run: ask → Screen.judge → Evaluator.evaluate → tell, then Finalists →
result.run_json → front.json → table, report, pick, bundle.

Reading order
    request.py, constraints.py     what was asked for
    space.py, seeds.py             what a recipe may choose; the first candidates
    evaluation.py, evaluate.py     one candidate: Evaluation or Failure (records.py, on_target.py), and how it comes about
    screen.py                      what need not be built
    latency.py, calibrate.py       how fast a candidate will be: predicted from terms (latency_terms.py, latency_features.py) that
                                   whole models, built for their shapes alone (shape_runs.py), have taught
    front.py, result.py            dominance, hypervolume; the front as it stands, front.json
    study.py, run_directory.py     what is on disk, and how a killed search goes on (clock.py, interrupt.py)
    search.py, finalists.py        what every search does, and the longer look at its result
    sequential.py, rung_search.py  the two strategies (strategy.py chooses): one candidate after the other; climbing, with guide.py,
                                   pool.py and rungs.py for r0 and r1, recoveries.py and recovery_process.py
                                   for r2 and r3
    budget.py                      how the time is divided, and where it went
    prepare.py, run_facts.py, plan.py  putting it together; what run.toml and front.json say of it; `--dry-run`
    progress.py, status.py         what a person sees meanwhile
    several.py, joint_space.py, further.py, target_points.py   several targets: what they add to all of the above
    (target_limits.py reads their names and limits; views.py, pick_joint.py, joint_table.py read their front.json)
    predicted.py, predict.py, roofline.py   targets that cannot be used: latencies computed, never taken for measured ones
    verify_run.py, verify.py, verify_bundle.py, verify_words.py   `verify`: a front or a bundle measured now
    finetune.py                    `pick --finetune`: a point recovered for longer (finetuned.py: its place among the others)
    table.py, pick.py, bundle.py, packed.py, formats.py, why/, report/    everything that reads front.json, without a search

Three states of a candidate: infeasible (measured, breaks a limit), failed (no measurement), measured.
Screened ones were never built. A missing number is None, and never ranks.

What it does not know: how a model is pruned or quantized, how a latency is taken, what the data mean. Nothing
is loaded here: import from the modules (torch and Optuna would slow down every start of the command line).
"""

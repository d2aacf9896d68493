"""What to try next, and what came of it: from a task and targets to a front of measured models.

Purpose. The loop of the project. It proposes recipes, has them built (compress) and measured (targets), keeps
everything in a run directory that survives a `kill -9`, and ends with the front of a Run.

Flow. SearchRequest → prepare: CheckedRequest (everything that can be wrong is found out) → open_search (run
directory, study) → Search.run → Strategy, which asks Trials for candidates: Screen.judge → Evaluator.evaluate
→ SearchState, study → Finalists → Run → front.json.

Reading order
    preparation/                    from the request to a search in its run directory; `search --dry-run`
    search.py, trials.py            what every search does; what a strategy may do
    state.py, looks.py              what was measured so far, as a Run; the longer look at a finalist
    screen.py, finalists.py         what need not be built; which points are looked at longer
    queue.py, run_writer.py         measurements that wait for a board; front.json as the search goes on
    replay.py                       how a deterministic search goes through its trials again
    study.py, study_file.py         the trials on disk; how a killed search goes on; corrections
    interruptions.py                why a search ended during a trial, and whether the trial is to blame
    rebuild.py                      a study that was lost, made again of front.json
    sequential.py                   the strategy that tries one candidate after the other
    rungs/                          the strategy of the sampler `front`: tables, rungs, recoveries
    beside/                         what is built beside the search: in a process, or on a Ray cluster
    sampling/                       its proposals
    latency/                        how fast a candidate will be
    space/                          what a recipe may choose; the first candidates
    session/                        clock, budget, Ctrl-C, display

../evaluation builds one candidate and measures it on every target.

Three states of a candidate: infeasible (measured, breaks a limit), failed (no measurement), measured. One
that is measured on some targets may be *missing* on others. Screened ones were never built. A missing number
is None, and never ranks.

What it does not know: how a model is pruned or quantized, how a latency is taken, what the data mean. Nothing
is loaded here: import from the modules (torch and Optuna would slow down every start of the command line).
"""

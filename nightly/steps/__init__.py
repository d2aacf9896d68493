"""The steps of one model in one night, each done once: search, compare, verify, in turns, deploy.

Purpose. A step takes the Work of the night and the record of the model, reads what earlier steps left on
disk, and gives back the record with what it found. Its caller writes the record: a killed night goes on after
the last step that is done, and a step that was killed is done again and changes nothing twice.

Reading order
    search_step.py     `autocompress search`, warm-started from the last good night
    compare_step.py    tonight's run against that of the reference night; comparing.py: the comparison itself
    verify_step.py     `autocompress verify` of what is deployed; verifying.py: its judgement,
                       in_use.py: `autocompress drift` of what its monitor logged
    turns_step.py      one artifact in two versions or settings of its runtime; other_runtimes.py makes them,
                       in_turns.py measures
    deploy_step.py     a better bundle takes the place of the old one; deploying.py: links, versions,
                       rollback; pushing.py: the registry
    beside.py          two artifacts measured beside each other now: the second look at a difference

What is deployed is verified even where the search failed or had no time: that is what people use. What they
do not know: the order of models, the window, retries (night_run.py).
"""

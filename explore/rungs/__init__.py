"""The strategy of the `front` sampler: cheap looks at many candidates, dear ones at the best of them.

Purpose. A search has minutes for a space that nobody could measure in years. Candidates climb rungs, each
dearer and truer than the one before, and only those that are expected to add to the front go up.

    r0   the stitched KL: the compressed layers put into the model, no training; about a second
    r1   the artifact, built, validated and measured on every target
    r2   a short recovery (training), then as r1
    r3   a longer recovery, for the last part of the time

Flow
    The tables come first: what every level costs in quality (sensitivity.py), and what the parts of the model
    cost on each target (latency_tables.py). From them FrontTables proposes candidates for r0, whose KL the
    pool keeps. After every few of them the best one of the pool is promoted to r1; recoveries are started
    where they are expected to gain most, beside the search where somebody builds there (../beside). Every
    measurement corrects the tables.

Reading order
    rung_search.py        RungSearch: what is done next
    tables.py             FrontTables: sensitivities, latency tables, the sampler; measurements correct them
    make_tables.py        make_tables: those of a search, from what is known and what has to be measured
    promotion.py          who goes up, how well rungs agree, what a recovery is expected to leave of a drop
    pool.py               Pool: the candidates of r0, kept in r0.jsonl
    sensitivity.py        the KL of every level alone
    latency_tables.py     LatencyTables: opens and calibrates the table of every target
    climber.py            Climber: rung after rung
    recoveries.py         which candidates to train, and for how long
    in_flight.py          InFlight: the trials that are built beside the search

What it does not know: how a candidate is built and measured (../evaluation) or stored (../study.py).
"""

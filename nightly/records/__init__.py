"""What a night writes down: frozen records, read strictly, each file sealed with its digest.

Purpose. Everything that a night did and saw is in `nights/NAME/night.json`, which is written after every
step. A killed night goes on from there, and whoever shows nights (pages, JUnit, messages) reads nothing
else. `deployed/NAME.json` says which bundles were deployed and which one is now.

Reading order
    event.py        Event: what a person should know, how grave it is, and the likely cause; exit codes
    seen.py         Pick, Check, InTurns, EnvironmentChange: what was measured
    model_night.py  ModelNight: the steps, and what they gave, of one model in one night
    night.py        Night: all of it
    deployed.py     Deployed: the bundles of one model over time

What they do not know: files and folders, processes, how anything is measured or judged. Every path in them
is relative to the nightly folder, with `/`.
"""

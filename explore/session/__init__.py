"""One session of a search: its clock, its budget, Ctrl-C, and what a person sees meanwhile.

Purpose. A run may take several sessions, since a killed search goes on. This folder counts their time and
shows their progress; it decides nothing about candidates.

Reading order
    clock.py      the run's time over all sessions, kept on disk
    budget.py     how the time is divided among activities (Budget), and where it went (Ledger)
    memory.py     how much memory there is, and was taken
    device.py     where candidates are trained
    crash.py      what a fatal signal leaves for the next session
    interrupt.py  Ctrl-C ends a block that allows it, and nothing else
    waits.py      who is waited for, which is no part of the budget
    status.py     the state of a search in words: one line for each trial, the front, the time left
    progress.py   how it is shown: as plain lines, or not at all
    live.py       redrawn in a terminal
    events.py     as JSON, for programs

What it does not know: what is tried next, how a candidate is measured.
"""

"""One session of a search: its clock, budget, Ctrl-C and display."""

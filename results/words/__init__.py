"""The words for single subjects, beside those that the whole of results/ shares (formats.py).

    energies.py   joules per inference: for the table, the report and `measure`
    verified.py   what `verify` measured

Records hold numbers; here they become lines for people. It does not know HTML (report/) or the command line.
"""

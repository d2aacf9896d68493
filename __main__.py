"""`python -m autocompress`."""

from .cli.app import main

main()

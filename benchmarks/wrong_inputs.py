"""Wrong inputs: how many end with exit code 2 and one sentence that names what is wrong and the remedy.

    python benchmarks/wrong_inputs.py [PART OF A NAME]

Prints each of them with its sentence for a reader to judge, marks those that end otherwise, and counts. About
a minute. tests/wrong/ has the inputs, tests/test_wrong_inputs.py tests them.
"""

import sys
import tempfile
import warnings
from pathlib import Path

from autocompress.tests.wrong.inputs import WRONG, complaint


def main(part: str) -> None:
    """Prints the inputs and the count."""
    warnings.simplefilter("ignore")
    wrong = [one for one in WRONG if part in one.name]
    right = 0
    for one in wrong:
        with tempfile.TemporaryDirectory() as folder:
            ended = one.ended(Path(folder))
        problem = complaint(ended, one.words)
        right += not problem
        print(
            f"{'WRONG' if problem else 'ok   '} {one.name}\n      {problem or sentence(ended.stderr)}",
            flush=True,
        )
    print(f"\n{right} of {len(wrong)} end with exit code 2 and one sentence")


def sentence(text: str) -> str:
    """The error in what a command said, without the frame around it."""
    line = next((line for line in text.splitlines() if line.startswith("Error: ")), "")
    return line or " ".join(word for word in text.split() if not set(word) <= set("╭─╮│╰╯"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")

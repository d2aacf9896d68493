"""What looks like a secret, by the name or the form of a value, and texts without it.

A secret's place is the environment: `--task-arg token=env:HF_TOKEN`. What is given in another way is kept
out of files, as `<kept out: token>`, without a digest that could be tried against guesses.
"""

import itertools
import re
import shlex
from collections.abc import Mapping

SHORTEST = 8  # characters of a value that is looked for in messages; a shorter one is in too many words
_MARK = re.compile(r"<kept out: [^<>]*>")
_NAME = re.compile(
    r"(?:^|_)(?:tokens?|pass(?:word|wd|phrase)|pwd|secrets?|credentials?|auth|authorization|bearer|cookie|"
    r"private|(?:api|access|auth|account|signing|encryption|ssh)_?key)(?:_|\d|$)"
)
_COUNTED = re.compile(r"(?:^|_)(?:tokens|count|num|max|min|size|len|length|dim)(?:_|$)")  # max_tokens=128
_DIGEST = re.compile(r"(?:^|_)(?:sha\d*|md5|digest|hash|checksum|commit|revision|version|id|uuid)(?:_|$)")
# Forms that nothing else has. The group, where there is one, is the secret.
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
        r"[A-Za-z][A-Za-z0-9+.-]*://([^\s/@]*:[^\s/@]+)@",
        r"(?i)[?&][\w.-]*(?:token|signature|sig|password|secret|credential|api_?key)=([^\s&#'\"]+)",
        r"\bhf_[A-Za-z0-9]{16,}",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}",
        r"\bsk-[\w-]{20,}|\b[sr]k_(?:live|test)_\w{16,}",
        r"\bxox[a-z]-[\w-]{10,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\bAIza[\w-]{30,}",
        r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
        r"(?i)\bbearer\s+([\w.~+/=-]{8,})",
    )
)
_hidden: set[str] = set()  # of this process: values that no message may repeat


def mark(name: str) -> str:
    """What stands for a value that was kept out."""
    return f"<kept out: {name}>"


def is_mark(text: str) -> bool:
    """Whether the text is what `mark` wrote."""
    return _MARK.fullmatch(text) is not None


def is_secret(name: str, value: str) -> bool:
    """Whether the value of an argument looks like a secret: by its name, its form, or because it is random.

    A reference such as `env:HF_TOKEN` is none.
    """
    if not value or is_reference(value) or is_mark(value):
        return False
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()
    if _NAME.search(words) and not (_COUNTED.search(words) and value.isdecimal()):
        return True
    return any(form.search(value) for form in _FORMS) or _is_random(words, value)


_SHAPE = "--shape"


def is_reference(value: str) -> bool:
    """Whether the value is `env:NAME`."""
    return re.fullmatch(r"env:[A-Za-z_]\w*", value) is not None


def hide(value: str) -> None:
    """Keeps a secret out of all messages of this process, if it is long enough to be told from other text."""
    if len(value) >= SHORTEST:
        _hidden.add(value)


def without_secrets(text: str) -> str:
    """The text with `<kept out>` in place of what looks like a secret, and of every value that is hidden."""
    for value in sorted(_hidden, key=len, reverse=True):
        text = text.replace(value, mark("secret"))
    for form in _FORMS:
        text = form.sub(_without, text)
    return text


def stored_arguments(arguments: Mapping[str, str]) -> dict[str, str]:
    """The arguments of a task as files hold them."""
    return {
        name: mark(name) if is_secret(name, value) else without_secrets(value)
        for name, value in arguments.items()
    }


def stored_command(command: str) -> str:
    """A command line as files hold it: `token=hf_…` becomes `'token=<kept out: token>'`."""
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation that does not end: no shell would take it
        return without_secrets(command)
    stored = []
    for before, word in zip(["", *words], words, strict=False):
        sizes = word.startswith(_SHAPE) or before == _SHAPE  # of dimensions, as in tokens=128
        stored.append(word if sizes else _stored_word(word))
    return command if stored == words else shlex.join(stored)


def _stored_word(word: str) -> str:
    pair = re.fullmatch(r"(--[\w-]+=)?(\w+)=(.*)", word, re.DOTALL)
    if pair and is_secret(pair[2], pair[3]):
        return f"{pair[1] or ''}{pair[2]}={mark(pair[2])}"
    return without_secrets(word)


def _without(match: re.Match[str]) -> str:
    if not match.lastindex:
        return mark("secret")
    start, end = (place - match.start() for place in match.span(1))
    return match[0][:start] + mark("secret") + match[0][end:]


def _is_random(words: str, value: str) -> bool:
    """Whether the value is a long run of random digits and letters, and no path and no digest of something.

    In random text of capitals, small letters and digits every second character is of another kind than the
    one before it. In names such as `ImageNet2012ValidationSet` it is every third or fewer.
    """
    if re.fullmatch(r"[0-9a-fA-F]{32,}", value):
        letters_and_digits = not value.isdecimal() and not value.isalpha()
        return letters_and_digits and not _DIGEST.search(words)
    if not re.fullmatch(r"[\w+=-]{24,}", value, re.ASCII):
        return False
    run = max(re.findall(r"[A-Za-z0-9]+", value), key=len, default="")
    kinds = re.sub(r"[0-9]", "0", re.sub(r"[a-z]", "a", re.sub(r"[A-Z]", "A", run)))
    changes = sum(before != after for before, after in itertools.pairwise(kinds))
    return len(run) >= 20 and len(set(kinds)) == 3 and changes >= len(run) / 2

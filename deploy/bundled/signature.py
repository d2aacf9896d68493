"""SHA256SUMS.sig: who signed a bundle. OpenSSH's signatures, made and checked by `ssh-keygen -Y`.

A signature is over SHA256SUMS, and thus over every file that is listed there. The private key is read by
ssh-keygen alone. `namespaces` keeps a signature that somebody made for another purpose from counting here.
"""

import re
import subprocess
from pathlib import Path

from ...errors import InputError
from ...files import file_below, read_text, require_closed
from ...scratch import temporary_folder

CHECKSUMS, SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
NAMESPACE = "autocompress"
LARGEST_SIGNATURE_BYTES = 1 << 16
_TIMEOUT_S = 300.0  # somebody may have to type a passphrase, or touch a security key
_PUBLIC_KEY = re.compile(r"(?:ssh|ecdsa|sk)-[\w.@-]+ [A-Za-z0-9+/=]+(?: .*)?")


def require_key(key: Path) -> None:
    """InputError when `key` is no key to sign with, as far as that shows without its passphrase."""
    if not key.is_file():
        raise InputError(f"There is no key {key}: make one with `ssh-keygen -t ed25519 -f {key}`.")
    seen = _ssh_keygen("-l", "-f", str(key))
    if seen.returncode:
        raise InputError(
            f"{key} is no private key of OpenSSH ({_reason(seen)}): make one with `ssh-keygen -t ed25519`."
        )


def signed(content: bytes, key: Path) -> bytes:
    """The signature of `content` by the private key in the file `key`, or by the agent for a public one.
    InputError when ssh-keygen refuses.
    """
    seen = _ssh_keygen("-Y", "sign", "-f", str(key), "-n", NAMESPACE, content=content)
    if seen.returncode or not seen.stdout:
        raise InputError(
            f"{key} did not sign the bundle ({_reason(seen)}): give a private key that only you can read."
        )
    return seen.stdout


def require_signed(bundle: Path, signer: Path) -> str:
    """The name by which `signer`, a file of allowed signers or of one public key, knows who signed the
    bundle. InputError when nobody did, somebody else, or the signature is broken. Nothing else is read.
    """
    allowed = _allowed(signer)
    require_closed(bundle)
    file = file_below(bundle, SIGNATURE)
    if not file.exists():
        raise InputError(
            f"{bundle} is not signed, there is no {SIGNATURE}: get it from somebody who signs it "
            "(`pick --sign KEY`), or verify it without --signer."
        )
    if file.stat().st_size > LARGEST_SIGNATURE_BYTES:
        raise InputError(f"{file} is no signature of OpenSSH, it is too large: copy the bundle again.")
    content = _listed(bundle)
    with temporary_folder() as folder:
        (folder / "allowed").write_text(allowed, encoding="utf-8")
        (folder / "signature").write_bytes(file.read_bytes())
        who = ["-f", str(folder / "allowed"), "-s", str(folder / "signature")]
        found = _ssh_keygen("-Y", "find-principals", *who)
        names = found.stdout.decode("utf-8", "replace").splitlines()
        if found.returncode or not names:
            raise InputError(_foreign(bundle, signer, found))
        for name in names:
            seen = _ssh_keygen("-Y", "verify", *who, "-I", name, "-n", NAMESPACE, content=content)
            if seen.returncode == 0:
                return name
    raise InputError(
        f"The signature of {bundle} is not of its {CHECKSUMS} ({_reason(seen)}): do not use the bundle, copy "
        "it again."
    )


def _foreign(bundle: Path, signer: Path, seen: "subprocess.CompletedProcess[bytes]") -> str:
    """Why nobody of the signers is who signed."""
    first, *others = _said(seen)
    if "no principal" in first.lower() and not others:
        return f"{bundle} is signed by somebody whom {signer} does not name: do not use it, or ask who."
    return f"{bundle / SIGNATURE} is no signature of OpenSSH ({first}): copy the bundle again."


def _listed(bundle: Path) -> bytes:
    """The content of SHA256SUMS. InputError when it cannot be read."""
    try:
        return read_text(file_below(bundle, CHECKSUMS)).encode()
    except (OSError, ValueError) as error:
        raise InputError(f"{bundle / CHECKSUMS} cannot be read ({error}): copy the bundle again.") from error


def _allowed(signer: Path) -> str:
    """The text of a file of allowed signers. A public key is one whose name is that of its comment, or its
    file's. InputError when it is neither.
    """
    try:
        text = read_text(signer)
    except (OSError, ValueError) as error:
        raise InputError(
            f"The signers' file {signer} cannot be read ({getattr(error, 'strerror', None) or error}): give "
            "a public key such as id_ed25519.pub, or a file of allowed signers."
        ) from error
    if "PRIVATE KEY-----" in text:
        raise InputError(f"{signer} is a private key: give the public one, {signer}.pub.")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if len(lines) == 1 and _PUBLIC_KEY.fullmatch(lines[0]):
        kind, key, *comment = lines[0].split(maxsplit=2)
        name = re.sub(r"[^\w.@+-]+", "_", comment[0] if comment else signer.stem) or "signer"
        return f'{name} namespaces="{NAMESPACE}" {kind} {key}\n'
    if not lines or not all(len(line.split()) >= 3 for line in lines):
        raise InputError(
            f"{signer} names no signers: give a public key such as id_ed25519.pub, or a file with lines like "
            f'ann@example.org namespaces="{NAMESPACE}" ssh-ed25519 AAAA….'
        )
    return text


def _ssh_keygen(*arguments: str, content: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """What ssh-keygen did. InputError when there is none, or it takes too long."""
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments], input=content, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError as error:
        raise InputError(
            "ssh-keygen is not installed, which signatures need: install OpenSSH 8.2 or newer, with "
            "`sudo apt install openssh-client`."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise InputError(f"ssh-keygen did not answer within {_TIMEOUT_S:.0f} s: try again.") from error


def _said(seen: "subprocess.CompletedProcess[bytes]") -> list[str]:
    """The lines in which ssh-keygen says what is wrong."""
    text = (seen.stderr if seen.stderr.strip() else seen.stdout).decode("utf-8", "replace")
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    return lines or [f"exit code {seen.returncode}"]


def _reason(seen: "subprocess.CompletedProcess[bytes]") -> str:
    return _said(seen)[-1]

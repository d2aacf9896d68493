"""Signed bundles: a real ssh-keygen signs and checks; what is not signed as asked is refused in a sentence."""

import json
import subprocess
from pathlib import Path

import pytest
from autocompress.cli.commands import app
from autocompress.deploy.bundled.signature import require_signed
from autocompress.deploy.read_bundle import read_manifest
from autocompress.results.records.bundle_verification import BundleVerification
from autocompress.results.run_directory import write_run
from autocompress.tests.deploy.small_run import small_run
from autocompress.tests.deploy.strangers import edit, require_sentence, reseal
from typer.testing import CliRunner, Result


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of Ann and Bob, without passphrases."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ann", "bob"):
        made = f"ssh-keygen -q -t ed25519 -C {name}@example.org -f {folder / name}".split()
        subprocess.run([*made, "-N", ""], check=True)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path / "run", small_run(tmp_path / "run"))
    return tmp_path / "run"


@pytest.fixture
def bundle(run: Path, keys: Path) -> Path:
    """A bundle that Ann signed."""
    made = pick(run, keys / "ann")
    assert made.exit_code == 0, made.output
    return run.parent / "bundle"


def pick(run: Path, key: Path) -> Result:
    out = str(run.parent / "bundle")
    return CliRunner().invoke(app, ["pick", str(run), "--trial", "1", "--out", out, "--sign", str(key)])


def verify(bundle: Path, signer: Path) -> Result:
    return CliRunner().invoke(app, ["verify", str(bundle), "--signer", str(signer), "--json"])


def test_a_signed_bundle_is_verified_by_the_public_key_and_says_whose_it_is(bundle, keys, monkeypatch):
    manifest = read_manifest(bundle)
    done = BundleVerification(manifest=manifest, target="cpu", address="", measured=None, regressed=())
    monkeypatch.setattr("autocompress.cli.verify._verified", lambda *_, **__: done)
    seen = verify(bundle, keys / "ann.pub")
    assert seen.exit_code == 0, seen.output
    assert json.loads(seen.stdout)["signed_by"] == "ann@example.org"


def test_ssh_keygen_alone_checks_the_signature_as_the_docs_say(bundle, keys, tmp_path):
    (tmp_path / "allowed").write_text(f"ann@example.org {(keys / 'ann.pub').read_text()}")
    command = f"ssh-keygen -Y verify -f {tmp_path}/allowed -I ann@example.org -n autocompress".split()
    command += ["-s", str(bundle / "SHA256SUMS.sig")]
    content = (bundle / "SHA256SUMS").read_bytes()
    assert subprocess.run(command, input=content, capture_output=True, check=False).returncode == 0


def test_one_of_several_allowed_signers_is_enough(bundle, keys, tmp_path):
    lines = [
        f'{name} namespaces="autocompress" {(keys / name).with_suffix(".pub").read_text()}'
        for name in ("bob", "ann")
    ]
    (tmp_path / "allowed").write_text("# ours\n" + "".join(lines))
    assert require_signed(bundle, tmp_path / "allowed") == "ann"


def test_the_private_key_is_in_no_file_of_the_bundle(bundle, keys):
    secret = "".join((keys / "ann").read_text().splitlines()[1:-1])
    texts = ["".join(file.read_bytes().decode("latin-1").split()) for file in bundle.iterdir()]
    assert secret[60:120] and not any(secret[60:120] in text for text in texts)


def unsigned(bundle: Path) -> None:
    (bundle / "SHA256SUMS.sig").unlink()


def cut(bundle: Path) -> None:
    (bundle / "SHA256SUMS.sig").write_text((bundle / "SHA256SUMS.sig").read_text()[:150])


def changed(bundle: Path) -> None:
    edit(bundle / "manifest.json", lambda value: value["warnings"].append("none"))
    reseal(bundle)


def more(bundle: Path) -> None:
    (bundle / "sitecustomize.py").write_text("")


def compiled(bundle: Path) -> None:
    (bundle / "__pycache__").mkdir()
    (bundle / "__pycache__" / "run.cpython-311.pyc").write_bytes(b"")


def reference(bundle: Path) -> None:
    (bundle / "reference.onnx").write_bytes(b"another")


def pipe(bundle: Path) -> None:
    (bundle / "SHA256SUMS.sig").unlink()
    (bundle / "SHA256SUMS.sig").symlink_to("/dev/zero")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (unsigned, "is not signed, there is no SHA256SUMS.sig"),
        (cut, "is no signature of OpenSSH"),
        (changed, "is not of its SHA256SUMS (Signature verification failed"),
        (more, "sitecustomize.py is not covered by the signature"),
        (compiled, "run.cpython-311.pyc is not covered by the signature"),
        (reference, "reference.onnx is not covered by the signature"),
        (pipe, "is a link that does not stay in"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_signed_is_refused(bundle, keys, damage, words):
    damage(bundle)
    require_sentence(verify(bundle, keys / "ann.pub"), words)


def test_a_foreign_signature_is_refused_before_anything_else_of_the_bundle_is_read(bundle, keys):
    (bundle / "manifest.json").write_text("no manifest")
    require_sentence(verify(bundle, keys / "bob.pub"), "is signed by somebody whom", "bob.pub")


def test_a_signature_for_another_purpose_does_not_count(bundle, keys):
    command = f"ssh-keygen -Y sign -f {keys}/ann -n file".split()
    content = (bundle / "SHA256SUMS").read_bytes()
    made = subprocess.run(command, input=content, capture_output=True, check=True)
    (bundle / "SHA256SUMS.sig").write_bytes(made.stdout)
    require_sentence(verify(bundle, keys / "ann.pub"), "namespace does not match")


@pytest.mark.parametrize(
    ("signer", "words"),
    [
        ("ann", "is a private key: give the public one"),
        ("no.pub", "cannot be read"),
        ("text", "names no signers"),
    ],
)
def test_a_file_that_names_no_signers_is_refused(bundle, keys, signer, words):
    (keys / "text").write_text("Ann\n")
    require_sentence(verify(bundle, keys / signer), words)


def test_a_key_that_does_not_sign_is_refused_and_leaves_no_bundle(run, keys, tmp_path):
    (tmp_path / "text").write_text("no key")
    open_to_all = tmp_path / "open"
    open_to_all.write_text((keys / "ann").read_text())
    open_to_all.chmod(0o644)
    require_sentence(pick(run, tmp_path / "no"), "There is no key", "ssh-keygen -t ed25519")
    require_sentence(pick(run, tmp_path / "text"), "is no private key of OpenSSH")
    require_sentence(pick(run, open_to_all), "did not sign the bundle", "that only you can read")
    assert not (tmp_path / "bundle").exists()


def test_without_ssh_keygen_the_remedy_is_named(bundle, run, keys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    require_sentence(verify(bundle, keys / "ann.pub"), "ssh-keygen is not installed", "openssh-client")


def test_a_run_has_no_signer(run, keys):
    require_sentence(verify(run, keys / "ann.pub"), "--signer is for bundles")

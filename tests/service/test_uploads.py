"""Uploads of models and weights: who may, what is taken, how a task and a worker get them."""

import hashlib
import io
import json
import socket
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
import torch
from autocompress.cli.commands import app
from autocompress.errors import InputError
from autocompress.files import digest_of_file
from autocompress.service.client import Client
from autocompress.service.config import TaskSource, read_serve_config
from autocompress.service.order import Order
from autocompress.service.uploads import uploads_in, with_paths
from autocompress.service.work.connection import Connection, RefusedError
from autocompress.service.work.searching import Claimed, Place, Searching
from autocompress.tests.service.served import served
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file
from typer.testing import CliRunner

TASK = """
from pathlib import Path
from autocompress.tasks import Task

def classifier(weights: Path, seed: int = 0) -> Task:
    raise NotImplementedError
"""
BINARY = {"Content_Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    (folder / "tasks.py").write_text(TASK)
    (folder / "serve.toml").write_text(
        f'data = ["{folder}"]\n[task.mine]\ntask = "tasks.py:classifier"\n[task.onnx]\ntask = "onnx"\n'
        '[task.program]\ntask = "exported"\n[limits]\nupload = "1MB"\nuploads = "1.5MB"\n'
    )
    (folder / "data").mkdir()
    with served(folder / "data", read_serve_config(folder / "serve.toml")) as site:
        yield site


def weights_file(folder: Path, numbers: int = 1000, seed: int = 0) -> Path:
    path = folder / f"weights-{numbers}-{seed}.safetensors"
    save_file({"w": np.random.default_rng(seed).normal(size=numbers).astype(np.float32)}, path)
    return path


def onnx_bytes(numbers: int = 4) -> bytes:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", numbers]) for name in "xy")
    weight = numpy_helper.from_array(np.ones(numbers, np.float32), "w")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    return helper.make_model(graph).SerializeToString()


def put(site, token, data: bytes, digest: str | None = None):
    digest = digest or hashlib.sha256(data).hexdigest()
    return site.ask("PUT", f"/v1/weights/{digest}", data, token=token, **BINARY)


def test_weights_are_uploaded_once_named_in_an_order_and_reach_the_worker(site, tmp_path, monkeypatch):
    token, worker = site.token("ana"), site.token("w", "work")
    client, file = Client(site.url, token=token), weights_file(tmp_path)
    name = client.upload(file)
    assert name == client.upload(str(file)) == f"upload:{digest_of_file(file)}"
    (listed,) = site.ask("GET", "/v1/weights", token=token).json
    assert (listed["name"], listed["size_bytes"]) == (name, file.stat().st_size)
    monkeypatch.setenv("AUTOCOMPRESS_TOKEN", token)
    asked = [
        "submit",
        "mine",
        "--server",
        site.url,
        "--task-arg",
        f"weights=@{file}",
        "--trials",
        "2",
        "--json",
    ]
    order = json.loads(CliRunner().invoke(app, asked).stdout)["order"]
    assert order["arguments"] == {"weights": name}
    job = Claimed.from_json(site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json)
    (tmp_path / "worker" / "runs").mkdir(parents=True)
    place = Place(folder=tmp_path / "worker" / "runs", config=site.service.tasks.config)
    words = Searching(job, place, Connection(site.url, worker), ends=lambda: False)._words()
    path = words[words.index("--task-arg") + 1].removeprefix("weights=")
    assert digest_of_file(tmp_path / "worker" / path) == digest_of_file(file)
    other = Claimed(id=job.id, attempt=job.attempt + 1, lease_s=60.0, order=job.order)
    (tmp_path / "worker" / path).unlink()
    with pytest.raises(RefusedError):  # another attempt has the job
        Searching(other, place, Connection(site.url, worker), ends=lambda: False)._words()
    again = site.ask("GET", f"/v1/work/{job.id}/weights/{'0' * 64}?attempt={job.attempt}", token=worker)
    assert again.status == 404  # what the job does not name
    assert site.ask("DELETE", f"/v1/weights/{name[7:]}", token=token).status == 204
    with pytest.raises(RefusedError, match="not there any more"):
        Searching(job, place, Connection(site.url, worker), ends=lambda: False)._words()
    assert site.ask("DELETE", f"/v1/weights/{name[7:]}", token=token).status == 404


def test_what_is_no_safetensors_or_another_file_is_refused_and_leaves_nothing(site, tmp_path):
    token = site.token("ben")
    data = weights_file(tmp_path).read_bytes()
    pickle = b"\x80\x04\x95" + b"x" * 500
    for wrong in (data[:-8], data + b"more"):
        answer = put(site, token, wrong)
        assert answer.status == 422 and "no whole file of safetensors" in answer.json["detail"], answer.text
    for wrong in (b"", b"{}", pickle, struct.pack("<Q", 1 << 60) + data[8:], onnx_bytes()[:-9]):
        answer = put(site, token, wrong)
        assert answer.status == 422 and "no whole file of ONNX" in answer.json["detail"], answer.text
    assert "another SHA-256" in put(site, token, data, "0" * 64).json["detail"]
    assert site.ask("PUT", "/v1/weights/..%2f..%2fx", data, token=token, **BINARY).status in (404, 422)
    assert site.ask("GET", "/v1/weights", token=token).json == []
    assert not list((site.service.data / "weights").rglob("*.part"))


def test_a_model_of_onnx_is_told_by_its_content_and_is_the_argument_of_the_command(site, tmp_path):
    token, worker = site.token("olga"), site.token("w", "work")
    (tmp_path / "named.safetensors").write_bytes(onnx_bytes())
    name = Client(site.url, token=token).upload(tmp_path / "named.safetensors")
    (listed,) = site.ask("GET", "/v1/weights", token=token).json
    assert (listed["name"], listed["kind"]) == (name, "onnx")
    data = site.service.data.parent / "data.npz"
    arguments = {"model": name, "data": str(data), "metric": "accuracy"}
    order = {"task": "onnx", "arguments": arguments, "trials": 2, "priority": 900}
    answer = site.ask("POST", "/v1/searches", order, token=token)
    assert answer.status == 201, answer.text
    job = Claimed.from_json(site.ask("POST", "/v1/work/claim", {"worker": "w"}, token=worker).json)
    (tmp_path / "worker" / "runs").mkdir(parents=True)
    place = Place(folder=tmp_path / "worker" / "runs", config=site.service.tasks.config)
    words = Searching(job, place, Connection(site.url, worker), ends=lambda: False)._words()
    path = next(one for one in words if one.startswith("model=")).removeprefix("model=")
    assert path == f"fetched/{job.id}/{name.removeprefix('upload:')}.onnx"
    assert (tmp_path / "worker" / path).read_bytes() == onnx_bytes()
    others = replace(place.config, tasks={"onnx": TaskSource(name="onnx", spec="exported")})
    elsewhere = Searching(
        job, replace(place, config=others), Connection(site.url, worker), ends=lambda: False
    )
    with pytest.raises(RefusedError, match="of another kind than the argument takes"):
        elsewhere._words()


def test_an_upload_is_only_what_its_argument_takes_and_never_code(site, tmp_path):
    token = site.token("pia")
    weights, model = weights_file(tmp_path, 100).read_bytes(), onnx_bytes(8)
    for data in (weights, model):
        assert put(site, token, data).status == 204
    names = {
        kind: f"upload:{hashlib.sha256(data).hexdigest()}"
        for kind, data in (("safetensors", weights), ("onnx", model))
    }
    inside = str(site.service.data.parent / "data.npz")

    def refusal(task: str, **arguments: str) -> str:
        order = {"task": task, "arguments": arguments, "trials": 2}
        answer = site.ask("POST", "/v1/searches", order, token=token)
        assert answer.status == 422
        return str(answer.json["detail"])

    said = refusal("onnx", model=names["safetensors"], data=inside, metric="accuracy")
    assert "takes onnx, and that upload is safetensors" in said
    for name in names.values():
        assert "takes no upload" in refusal("program", model=name, data=inside, metric="accuracy")
        assert "takes no upload" in refusal("onnx", model=names["onnx"], data=name, metric="accuracy")
    assert "takes no upload" in refusal("onnx", model=names["onnx"], data=inside, metric=names["onnx"])
    tasks = {one["name"]: one["parameters"] for one in site.ask("GET", "/v1/tasks", token=token).json}
    assert {one["name"]: one["uploads"] for one in tasks["onnx"] if one["uploads"]} == {"model": ["onnx"]}
    assert not any(one["uploads"] for one in tasks["program"])


def test_what_could_be_loaded_as_code_is_refused_in_every_disguise(site, tmp_path):
    token = site.token("quinn")
    program = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.ones(1, 2),)), program)
    archive = program.getvalue()
    assert zipfile.is_zipfile(io.BytesIO(archive))
    assert "loading one can run code" in put(site, token, archive).json["detail"]
    save_file({"w": np.frombuffer(archive, np.uint8)}, tmp_path / "disguised")  # zipfile reads it still
    assert zipfile.is_zipfile(tmp_path / "disguised")
    assert "ZIP archive, too" in put(site, token, (tmp_path / "disguised").read_bytes()).json["detail"]
    field = b"\xaa\x06" + bytes([len(archive) & 127 | 128, len(archive) >> 7 & 127 | 128, len(archive) >> 14])
    disguised = onnx_bytes() + field + archive
    assert onnx.ModelProto.FromString(disguised).graph.node and zipfile.is_zipfile(io.BytesIO(disguised))
    assert "ZIP archive, too" in put(site, token, disguised).json["detail"]
    assert site.ask("GET", "/v1/weights", token=token).json == []


def test_a_body_that_comes_too_slowly_ends_and_leaves_nothing(tmp_path):
    with served(tmp_path, slow_s=0.3) as site:
        token = site.token("rosa")
        with socket.create_connection(("127.0.0.1", urlsplit(site.url).port)) as slow:
            slow.sendall(
                f"PUT /v1/weights/{'0' * 64} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
                f"Authorization: Bearer {token}\r\n\r\nabc".encode()
            )
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        assert not list((tmp_path / "weights").rglob("*.part"))


def test_sizes_are_bounded(site, tmp_path):
    token = site.token("cleo")
    large = weights_file(tmp_path, 400_000).read_bytes()
    answer = put(site, token, large)
    assert answer.status == 422 and "at most 1,024.0 KB" in answer.json["detail"]
    first, second = (weights_file(tmp_path, 200_000, seed).read_bytes() for seed in (1, 2))
    assert put(site, token, first).status == 204
    answer = put(site, token, second)
    assert answer.status == 429 and "DELETE /v1/weights" in answer.json["detail"]
    assert put(site, token, first).status == 204  # it has that one


def test_who_may_and_whose_they_are(site, tmp_path):
    data = weights_file(tmp_path, 500).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert put(site, None, data).status == 401
    assert put(site, site.token("dora", "read"), data).status == 403
    assert put(site, site.token("w", "work"), data).status == 403
    assert put(site, site.token("dora"), data).status == 204
    order = {"task": "mine", "arguments": {"weights": f"upload:{digest}"}, "trials": 2}
    assert site.ask("POST", "/v1/searches", order, token=site.token("dora")).status == 201
    refused = site.ask("POST", "/v1/searches", order, token=site.token("eve"))
    assert refused.status == 422 and "names no upload of yours" in refused.json["detail"]
    assert site.ask("DELETE", f"/v1/weights/{digest}", token=site.token("eve")).status == 404


def test_a_file_that_is_none_is_told_before_anything_is_sent(site, tmp_path):
    client = Client(site.url, token=site.token("ana"))
    (tmp_path / "weights.pt").write_bytes(b"x")
    with pytest.raises(InputError, match="can run code"):
        client.upload(tmp_path / "weights.pt")
    with pytest.raises(InputError, match="There is no file"):
        client.upload(tmp_path / "missing.safetensors")


def test_arguments_name_uploads_alone_or_in_a_list():
    a, b = "a" * 64, "b" * 64
    assert uploads_in(f"upload:{a}") == [a] and uploads_in(f"upload:{a}, upload:{b}") == [a, b]
    assert uploads_in(f"x-upload:{a}") == uploads_in("upload:abc") == uploads_in("") == []
    assert with_paths(f"upload:{a},upload:{b}", {a: "x", b: "y"}) == "x,y"
    assert Order(arguments={"weights": f"upload:{a}"}).arguments["weights"] == f"upload:{a}"

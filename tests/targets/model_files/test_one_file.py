"""A model with weights in a file beside it is measured with them, wherever it is measured, and named by
them.
"""

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from autocompress.errors import InputError
from autocompress.files import digest_of_file
from autocompress.profiles import load_profile
from autocompress.targets.model_files.one_file import in_one_file
from autocompress.targets.protocol import measure_model
from autocompress.targets.store import MeasurementStore
from autocompress.targets.target import Target
from autocompress.tests.sshd import Sshd
from autocompress.tests.targets import models
from autocompress.tests.targets.models import QUICK

pytestmark = pytest.mark.usefixtures("quiet_machine")


def with_data_beside(path: Path, *, scale: float = 1.0) -> Path:
    """A linear model without weights, which lie in `NAME.data`."""
    plain = onnx.load(models.linear(path, scale=scale))
    path.with_name(f"{path.name}.data").unlink(missing_ok=True)
    onnx.save(
        plain,
        path,
        save_as_external_data=True,
        location=f"{path.name}.data",
        size_threshold=0,
        convert_attribute=True,
    )
    return path


def test_a_model_that_holds_its_weights_is_left_alone(tmp_path: Path) -> None:
    assert in_one_file(path := models.linear(tmp_path / "m.onnx"), tmp_path) == path


def test_weights_beside_the_model_come_into_one_file(tmp_path: Path) -> None:
    whole = in_one_file(with_data_beside(tmp_path / "m.onnx", scale=3.0), tmp_path)
    (weight,) = onnx.load(whole, load_external_data=False).graph.initializer
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(weight), 3.0 * np.eye(8))
    assert whole.name == "m.onnx" and whole.parent != tmp_path


def test_tensors_inside_functions_and_branches_come_too(tmp_path: Path) -> None:
    helper = onnx.helper
    value = onnx.numpy_helper.from_array(np.arange(8, dtype=np.float32))
    constant = helper.make_node("Constant", [], ["c"], value=value)
    branch = helper.make_graph(
        [constant], "branch", [], [helper.make_tensor_value_info("c", models.FLOAT, [8])]
    )
    nodes = [
        helper.make_node("If", ["flag"], ["picked"], then_branch=branch, else_branch=branch),
        helper.make_node("twice", ["picked"], ["y"], domain="own"),
    ]
    of_function = [constant, helper.make_node("Mul", ["a", "c"], ["b"])]
    function = helper.make_function("own", "twice", ["a"], ["b"], of_function, [helper.make_opsetid("", 21)])
    flag = helper.make_tensor_value_info("flag", onnx.TensorProto.BOOL, [])
    graph = helper.make_graph(nodes, "g", [flag], [helper.make_tensor_value_info("y", models.FLOAT, [8])])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10)
    data = bytearray()
    owners = [*(attribute.g for attribute in model.graph.node[0].attribute), model.functions[0]]
    for tensor in (owner.node[0].attribute[0].t for owner in owners):
        onnx.external_data_helper.set_external_data(tensor, "m.data", offset=len(data), length=32)
        data += tensor.raw_data
        tensor.ClearField("raw_data")
    (tmp_path / "m.data").write_bytes(data)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    whole = onnx.load(in_one_file(tmp_path / "m.onnx", tmp_path), load_external_data=False)
    assert whole.SerializeToString().count(value.raw_data) == 3 and b"m.data" not in whole.SerializeToString()


def test_other_weights_are_another_model(tmp_path: Path) -> None:
    model, store = with_data_beside(tmp_path / "m.onnx", scale=1.0), MeasurementStore(tmp_path / "m.db")
    file = digest_of_file(model)
    first = measure_model(model, Target(load_profile("cpu"), store), timing=QUICK)
    assert digest_of_file(with_data_beside(model, scale=2.0)) == file  # what was looked at before
    second = measure_model(model, Target(load_profile("cpu"), store), timing=QUICK)
    assert first.artifact_digest != second.artifact_digest and first.pairs != second.pairs


def test_weights_beside_a_model_and_its_baseline_go_to_a_board(ssh_server: Sshd, tmp_path: Path) -> None:
    model, base = with_data_beside(tmp_path / "m.onnx", scale=2.0), with_data_beside(tmp_path / "b.onnx")
    board = ssh_server.board(standby=False)
    seen = measure_model(model, Target(load_profile("cpu"), board=board), baseline=base, timing=QUICK)
    board.close()
    ssh_server.wait_until_quiet()
    assert len(seen.pairs) == 2 and seen.artifact_digest != seen.baseline_digest


def stored_beside(path: Path, *, location: str = "w.bin", sparse: bool = False, **entries: int) -> Path:
    """A model with four numbers in another file, as a tensor or as the values of a sparse one."""
    helper = onnx.helper
    weight = onnx.TensorProto(
        name="w", data_type=models.FLOAT, dims=[4], data_location=onnx.TensorProto.EXTERNAL
    )
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=str(value))
    index = onnx.numpy_helper.from_array(np.arange(4), "i")
    own: dict[str, Any] = (
        {"sparse_initializer": [helper.make_sparse_tensor(weight, index, [4])]}
        if sparse
        else {"initializer": [weight]}
    )
    output = helper.make_tensor_value_info("y", models.FLOAT, [4])
    graph = helper.make_graph([helper.make_node("Abs", ["w"], ["y"])], "g", [], [output], **own)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
        ).SerializeToString()
    )
    return path


@pytest.mark.parametrize("sparse", [False, True])
def test_the_right_bytes_of_the_file_are_taken(tmp_path: Path, sparse: bool) -> None:
    numbers = np.arange(12, dtype=np.float32)
    (tmp_path / "w.bin").write_bytes(numbers.tobytes())
    whole = in_one_file(stored_beside(tmp_path / "m.onnx", sparse=sparse, offset=16, length=16), tmp_path)
    (tmp_path / "w.bin").unlink()
    (found,) = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"]).run(None, {})
    np.testing.assert_array_equal(found, numbers[4:8])


def test_a_tensor_without_elements_takes_nothing_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    whole = in_one_file(stored_beside(tmp_path / "m.onnx", offset=16, length=0), tmp_path)
    assert onnx.load(whole, load_external_data=False).graph.initializer[0].raw_data == b""


@pytest.mark.parametrize("location", ["../secret", "{folder}/secret", "link"])
def test_a_model_carries_no_file_away_from_outside_its_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    model = stored_beside(tmp_path / "given" / "m.onnx", location=location.format(folder=tmp_path))
    (tmp_path / "given" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of its folder"):
        in_one_file(model, tmp_path)


@pytest.mark.parametrize(
    "span", [{"offset": 1000}, {"offset": 8, "length": 16}, {"length": -1}, {"offset": -1}], ids=str
)
def test_bytes_that_are_not_in_the_file_are_told(tmp_path: Path, span: dict[str, Any]) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(16))
    with pytest.raises(InputError, match="cannot be read: copy both files anew"):
        in_one_file(stored_beside(tmp_path / "m.onnx", **span), tmp_path)


def test_a_copy_that_does_not_fit_on_the_disk_says_where_it_would_lie(tmp_path: Path) -> None:
    model, limits = with_data_beside(tmp_path / "m.onnx"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (100, limits[1])
    )  # more cannot be written, as on a disk that is full
    try:
        with pytest.raises(
            InputError, match=f"cannot be written to {tmp_path} .*set TMPDIR to another folder"
        ):
            in_one_file(model, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_missing_weights_are_told_by_name(tmp_path: Path) -> None:
    model = with_data_beside(tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(InputError, match=r"weights in \S*m\.onnx\.data, which does not exist"):
        in_one_file(model, tmp_path)


def test_weights_that_are_cut_off_are_told(tmp_path: Path) -> None:
    model = with_data_beside(tmp_path / "m.onnx")
    os.truncate(tmp_path / "m.onnx.data", 100)
    with pytest.raises(InputError, match="cannot be read: copy both files anew"):
        in_one_file(model, tmp_path)


def test_more_than_one_file_can_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    model = onnx.load(with_data_beside(tmp_path / "m.onnx"), load_external_data=False)
    (weight,) = model.graph.initializer
    onnx.external_data_helper.remove_external_data_field(weight, "length")
    weight.external_data.add(key="length", value=str(3 << 30))
    onnx.save(model, tmp_path / "m.onnx")
    (tmp_path / "m.onnx.data").unlink()  # whoever reads it fails
    with pytest.raises(InputError, match=r"2 GB at most \(3\.2 GB\)"):
        in_one_file(tmp_path / "m.onnx", tmp_path)


@pytest.mark.parametrize("content", ["no model", ""], ids=["text", "empty"])
def test_what_is_no_model_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.onnx").write_text(content)
    with pytest.raises(InputError, match="give an ONNX file"):
        in_one_file(tmp_path / "m.onnx", tmp_path)

"""A stand-in for TensorRT's Python module: ONNX Runtime computes, libcuda.so.1 (cuda.c) queues. It has what
the real one has.

`api` makes a version: which flags exist, how types are decided, how the inspector writes its JSON. It is as
unkind as the real one may be: weak typing calls every tensor float32 that has no type by itself, float16 is
taken wherever it is allowed, a missing flag, a wrong zero point or a dynamic dimension is an error, and no
two builds choose the same tactics without a timing cache.

The parser of 8 does what onnx-tensorrt's does: commit ba6a4fb34fdeaa3613bf981610c657e7b663a699 (8.6,
builtin_op_importers.cpp), and docs/operators.md of 8.5. It takes every opset, and reads what opset 18 changed
as if it were older: `read_as_eight`. A constant of int8 is refused as 8.2 and 8.4 do (NVIDIA/TensorRT#2163);
the guides of 8.5 and 8.6 want float32, but nobody saw here what they do.
"""

import ctypes
import enum
import hashlib
import json
import os
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper

WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
TYPES = {
    "CAST": "Cast",
    "IDENTITY": "Identity",
    "QUANTIZE": "QuantizeLinear",
    "DEQUANTIZE": "DequantizeLinear",
}
LAYERS = {
    **{
        "Conv": "CONVOLUTION",
        "MatMul": "MATRIX_MULTIPLY",
        "Relu": "ACTIVATION",
        "ReduceMean": "REDUCE",
        "Softmax": "SOFTMAX",
    },
    **{onnx: kind for kind, onnx in TYPES.items()},
}
# Operators without an importer, of those that this project may write.
LACKING = {(8, 5): {"LayerNormalization", "GroupNormalization", "Gelu", "Mish"}, (8, 6): {"Gelu", "Mish"}}
KINDS = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
}
WORDS = {"FLOAT": "FP32", "HALF": "FP16", "INT8": "Int8"}
MAGIC = b"fake-engine "


def cuda():
    return ctypes.CDLL("libcuda.so.1")


def members(name, names):
    return enum.IntEnum(name, {member: number for number, member in enumerate(names.split())})


class ILogger:
    Severity = members("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self):
        pass


class IProfiler:
    def __init__(self):
        pass


class IHostMemory(bytes):
    @property
    def nbytes(self):
        return len(self)


class ITimingCache:
    def __init__(self, blob):
        self.fits = not bytes(blob).startswith(b"of another driver")
        self.known = json.loads(bytes(blob)) if blob and self.fits else {}

    def serialize(self):
        return IHostMemory(json.dumps(self.known).encode())


class IBuilderConfig:
    """What is common to the versions; see `api`."""

    def __init__(self, flags):
        self._flags, self._cache = flags, None
        self.profiling_verbosity = None
        self.set_flags = {"TF32"} if "TF32" in flags.__members__ else set()

    def set_flag(self, flag):
        self.set_flags.add(flag.name)

    def clear_flag(self, flag):
        self.set_flags.discard(flag.name)

    def set_memory_pool_limit(self, pool, size):
        assert size > 0

    def create_timing_cache(self, blob):
        return None if bytes(blob).startswith(b"damaged") else ITimingCache(blob)

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache if cache.fits or ignore_mismatch else None
        return self._cache is not None

    def get_timing_cache(self):
        return self._cache


class Config86(IBuilderConfig):
    builder_optimization_level = 3


class ConfigRTX(Config86):
    num_compute_capabilities = 0

    def set_compute_capability(self, capability, index):
        assert index < self.num_compute_capabilities
        return True


class Network:
    def __init__(self, typed, data_type, layer_type, numbers):
        self.typed, self._data_type, self._layer_type, self._numbers = typed, data_type, layer_type, numbers
        self.model = None

    def read(self, model):
        self.model = model
        stored = {item.name for item in model.graph.initializer}
        self._inputs = [Tensor(self, item) for item in model.graph.input if item.name not in stored]
        self._layers = [Layer(self, node) for node in model.graph.node]
        self._outputs = [SimpleNamespace(name=item.name) for item in model.graph.output]
        self.num_inputs, self.num_outputs, self.num_layers = (
            len(self._inputs),
            len(self._outputs),
            len(self._layers),
        )

    def get_input(self, index):
        return self._inputs[index]

    def get_output(self, index):
        return self._outputs[index]

    def get_layer(self, index):
        return self._layers[index]


class Tensor:
    """A network's input."""

    def __init__(self, network, info):
        self._info, self._network, self.name = info, network, info.name

    @property
    def dtype(self):
        return self._network._data_type[KINDS[self._info.type.tensor_type.elem_type]]

    @property
    def shape(self):
        return tuple(
            dim.dim_value if dim.HasField("dim_value") else -1
            for dim in self._info.type.tensor_type.shape.dim
        )

    @shape.setter
    def shape(self, sizes):
        for dim, size in zip(self._info.type.tensor_type.shape.dim, sizes):
            dim.dim_value = size


class Layer:
    def __init__(self, network, node):
        self._network, self._node = network, node
        self.name, self.num_inputs, self.num_outputs = node.name or f"node_of_{node.output[0]}", 1, 1
        self.type = network._layer_type[LAYERS.get(node.op_type, "ELEMENTWISE")]
        self.wanted = None

    @property
    def precision(self):
        return self.wanted

    @precision.setter
    def precision(self, kind):
        assert not self._network.typed, "a strongly typed network takes no precision"
        self.wanted = kind.name

    def get_input(self, index):
        return SimpleNamespace(name=self._node.input[0])

    def get_output(self, index):
        """Its type is told only where the layer has one by itself: everything else is float32 before strong
        typing.
        """
        kind = "FLOAT"
        if self._node.op_type == "Cast":
            kind = KINDS[next(item.i for item in self._node.attribute if item.name == "to")]
        if self._node.op_type == "QuantizeLinear":
            kind = "INT8"
        return SimpleNamespace(name=self._node.output[0], dtype=self._network._data_type[kind])


class ParserError:
    def __init__(self, text, node=-1):
        self._text, self._node = text, node

    def desc(self):
        return self._text

    def node(self):
        return self._node


class OnnxParser:
    def __init__(self, network, logger):
        self._network, self._errors = network, []

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return self._errors[index]

    def parse_from_file(self, path):
        try:
            model = onnx.load(path)
            onnx.checker.check_model(model)
        except Exception:
            self._errors.append(ParserError("Failed to parse the ONNX model."))
            return False
        stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        for number, node in enumerate(model.graph.node):
            if (
                node.op_type in ("QuantizeLinear", "DequantizeLinear")
                and len(node.input) > 2
                and stored[node.input[2]].any()
            ):
                self._errors.append(ParserError("Non-zero zero point is not supported.", number))
            if (
                node.op_type == "DequantizeLinear"
                and getattr(stored.get(node.input[0]), "dtype", None) == np.int32
            ):
                self._errors.append(ParserError("Int32 input is not supported.", number))
            wrong = refused_by_eight(node, stored, self._network._numbers[:2])
            self._errors += [ParserError(wrong, number)] if wrong else []
        if not self._errors:
            self._network.read(read_as_eight(model) if self._network._numbers[0] == 8 else model)
        return not self._errors


def refused_by_eight(node, stored, numbers):
    """What the parser of TensorRT 8 says of a node that it cannot read; None for later versions."""
    if numbers[0] != 8:
        return None
    if node.op_type in LACKING[numbers]:
        return f"No importer registered for op: {node.op_type}"
    if node.op_type == "Pad" and len(node.input) > 3:
        return "TensorRT does not support dynamic axes for pad!"
    return refused_pair(node, stored) if node.op_type in ("QuantizeLinear", "DequantizeLinear") else None


def refused_pair(node, stored):
    """What QuantDequantLinearHelper asserts, but for the zero point (see parse_from_file)."""
    if len(node.input) != 3:
        operator = "the INT8 QuantizeLinear/DequantizeLinear operator"
        return f"This version of TensorRT requires 3 inputs for {operator}."
    if getattr(stored.get(node.input[0]), "dtype", None) == np.int8:
        return f"{node.input[0]}: invalid weights type of Int8"
    scale = stored[node.input[1]]
    if scale.dtype != np.float32 or not (scale > 0).all():
        return "Scale coefficients must all be positive"
    same = scale.size == stored[node.input[2]].size
    return None if same else "The scale and zero point must have the same volume."


def read_as_eight(model):
    """The model that the parser of TensorRT 8 understands: without an error, it passes over what opset 18
    made an input or new.
    """
    for node in model.graph.node:
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum" and "axes" not in attributes:
            del node.input[1:]  # over all axes
        if node.op_type == "Resize":
            ignored = ("antialias", "axes", "keep_aspect_ratio_policy")
            kept = [item for item in node.attribute if item.name not in ignored]
            del node.attribute[:]
            node.attribute.extend(kept)
    return model


class Builder:
    def __init__(self, logger, *, version):
        self._log, self._version = logger, version

    def create_network(self, flags=0):
        version = self._version
        known = {1 << flag for flag in version.NetworkDefinitionCreationFlag}
        assert flags & ~sum(known) == 0
        if version.explicit_needed:
            assert flags & 1 << version.NetworkDefinitionCreationFlag.EXPLICIT_BATCH, "implicit batch"
        strong = getattr(version.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        typed = version.typed or (strong is not None and flags & 1 << strong)
        return Network(typed, version.DataType, version.LayerType, version.numbers)

    def create_builder_config(self):
        return self._version.config(self._version.BuilderFlag)

    def build_serialized_network(self, network, config):
        if any(size < 0 for index in range(network.num_inputs) for size in network.get_input(index).shape):
            self._log.log(
                ILogger.ERROR, "Network has dynamic inputs, but no optimization profile has been defined."
            )
            return None
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        try:
            described = self._described(network, config, layers)
        except ValueError as error:
            self._log.log(ILogger.ERROR, str(error))
            return None
        data = network.model.SerializeToString()
        digest = hashlib.sha256(data).hexdigest()
        cache = config.get_timing_cache()
        tactic = cache.known.get(digest) if cache else None
        tactic = tactic or os.urandom(4).hex()
        if cache:
            cache.known[digest] = tactic
        detailed = config.profiling_verbosity == self._version.ProfilingVerbosity.DETAILED
        head = {
            "version": self._version.__version__,
            "tactic": tactic,
            "detailed": detailed,
            "layers": described,
        }
        return IHostMemory(MAGIC + json.dumps(head).encode() + b"\n" + data)

    def _described(self, network, config, layers):
        """By layer: name, fused names, the type it computes in. ValueError when weak typing lacks a flag."""
        kinds = {
            network.get_input(index).name: network.get_input(index).dtype.name
            for index in range(network.num_inputs)
        }
        kinds.update(
            {item.name: KINDS.get(item.data_type, "FLOAT") for item in network.model.graph.initializer}
        )
        quantized, described = set(), []
        for layer in layers:
            node = layer._node
            kind = kinds.get(node.input[0], "FLOAT") if node.input else "FLOAT"
            output = (
                kind
                if layer.type.name not in TYPES or node.op_type == "Identity"
                else layer.get_output(0).dtype.name
            )
            kinds[node.output[0]] = "FLOAT" if node.op_type == "DequantizeLinear" else output
            if node.op_type == "DequantizeLinear":
                quantized.add(node.output[0])
            if node.op_type in ("Conv", "Gemm", "MatMul"):
                if not network.typed:
                    kind = self._chosen(config, layer, kind, quantized=node.input[0] in quantized)
                kind = "INT8" if node.input[0] in quantized else kind
                described.append({"name": layer.name, "also": [], "kind": kind, "type": layer.type.name})
            elif node.op_type == "Relu" and described:
                described[-1]["also"].append(layer.name)
        return described

    def _chosen(self, config, layer, kind, *, quantized):
        """What weak typing makes of a layer: float16 wherever the flag allows it and no constraint forbids
        it.
        """
        flags = config.set_flags
        if quantized and "INT8" not in flags:
            raise ValueError("Network has quantized layers, but the INT8 flag is not set.")
        if kind == "HALF" and "FP16" not in flags:
            raise ValueError("Network has half precision tensors, but the FP16 flag is not set.")
        held = layer.wanted == "FLOAT" and "OBEY_PRECISION_CONSTRAINTS" in flags
        return "HALF" if "FP16" in flags and not held and not quantized else kind


class Runtime:
    def __init__(self, logger, *, version):
        assert cuda().fake_bytes(ctypes.c_uint64(0)) == 0  # the real one ends in a segfault without a driver
        self._log, self._version = logger, version

    def deserialize_cuda_engine(self, plan):
        head, _, model = bytes(plan)[len(MAGIC) :].partition(b"\n")
        if not bytes(plan).startswith(MAGIC) or json.loads(head)["version"] != self._version.__version__:
            self._log.log(
                ILogger.ERROR, "Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed."
            )
            return None
        return self._version.engine(self._version, json.loads(head), model)


class ICudaEngine:
    def __init__(self, version, head, model):
        self._version, self._head, self._size = version, head, len(model)
        self._session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        feeds = {
            item.name: np.zeros(item.shape, self._numpy(item.type)) for item in self._session.get_inputs()
        }
        names = [item.name for item in self._session.get_outputs()]
        found = {**feeds, **dict(zip(names, self._session.run(None, feeds)))}
        self._tensors = {name: found[name] for name in reversed(found)}  # in no order that the model has
        self._inputs = set(feeds)

    @staticmethod
    def _numpy(text):
        return {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}[text]

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_mode(self, name):
        mode = self._version.TensorIOMode
        return mode.INPUT if name in self._inputs else mode.OUTPUT

    def get_tensor_shape(self, name):
        return self._tensors[name].shape

    def get_tensor_dtype(self, name):
        kinds = {"float32": "FLOAT", "float16": "HALF", "int64": "INT64"}
        return self._version.DataType[kinds[self._tensors[name].dtype.name]]

    def create_execution_context(self):
        return IExecutionContext(self)

    def create_engine_inspector(self):
        return EngineInspector(self._version, self._head)


class EngineRTX(ICudaEngine):
    def create_runtime_config(self):
        return IRuntimeConfig()

    def create_execution_context(self, runtime_config):  # type: ignore[override]  # as in the real one
        assert isinstance(runtime_config, IRuntimeConfig)
        return IExecutionContext(self, runtime_config._cache)


class IRuntimeConfig:
    _cache = None

    def create_runtime_cache(self):
        return IRuntimeCache()

    def set_runtime_cache(self, cache):
        self._cache = cache


class IRuntimeCache:
    def __init__(self):
        self._kernels = []

    def serialize(self):
        return IHostMemory(json.dumps(self._kernels).encode())

    def deserialize(self, blob):
        self._kernels = json.loads(blob)
        return True


class IExecutionContext:
    profiler = None

    def __init__(self, engine, kernels=None):
        self._engine, self._addresses, self._cuda = engine, {}, cuda()
        self._memory = ctypes.c_uint64()
        self._kernels = kernels
        assert (
            self._cuda.cuMemAlloc_v2(ctypes.byref(self._memory), ctypes.c_size_t(max(1, engine._size))) == 0
        )
        self._work = WORK(lambda _: self._execute())  # the queue holds it by address

    def __del__(self):
        self._cuda.cuMemFree_v2(self._memory)

    def set_tensor_address(self, name, memory):
        self._cuda.fake_bytes.restype = ctypes.c_size_t
        fits = self._cuda.fake_bytes(ctypes.c_uint64(memory)) >= self._engine._tensors[name].nbytes
        if fits:
            self._addresses[name] = memory
        return fits

    def execute_async_v3(self, stream_handle):
        if set(self._addresses) != set(self._engine._tensors):
            return False
        if self._kernels is not None and self._engine._head["tactic"] not in self._kernels._kernels:
            self._kernels._kernels.append(self._engine._head["tactic"])  # compiled with the first inference
        return self._cuda.fake_enqueue(ctypes.c_void_p(stream_handle), self._work, None) == 0

    def _array(self, name):
        like = self._engine._tensors[name]
        raw = (ctypes.c_char * max(1, like.nbytes)).from_address(self._addresses[name])
        return np.frombuffer(raw, dtype=like.dtype, count=like.size).reshape(like.shape)

    def _execute(self):
        engine = self._engine
        feeds = {name: self._array(name) for name in engine._inputs}
        outputs = [name for name in engine._tensors if name not in engine._inputs]
        for name, value in zip(outputs, engine._session.run(outputs, feeds)):
            ctypes.memmove(self._addresses[name], np.ascontiguousarray(value).ctypes.data, value.nbytes)
        if self.profiler is not None:
            for layer in EngineInspector(engine._version, engine._head).layers():
                self.profiler.report_layer_time(layer["Name"], 0.5)


class EngineInspector:
    """Layers in the form of each version; a reformatting layer comes first, as it does in engines."""

    def __init__(self, version, head):
        self._version, self._head = version, head

    def get_engine_information(self, format):
        assert format == self._version.LayerInformationFormat.JSON
        layers = self.layers()
        if not self._head["detailed"]:
            layers = [layer["Name"] for layer in layers]
        tensors = "I/O Tensors" if self._version.split_format else "Bindings"
        return json.dumps({"Layers": layers, tensors: []})

    def layers(self):
        described = self._head["layers"]
        first = described[0]["name"] if described else "y"
        moving = self._layer(
            f"Reformatting CopyNode for Input Tensor 0 to {first}", "Reformat", "FLOAT", nodes=[]
        )
        return [moving, *(self._computing(item) for item in described)]

    def _computing(self, item):
        nodes = [item["name"], *item["also"]]
        if self._version.split_format:
            kind = "correlation" if item["type"] == "CONVOLUTION" else "gemm"
            return self._layer(f"{nodes[0]}_myl0_1", kind, item["kind"], nodes=nodes)
        layer = self._layer(" + ".join(nodes), "CaskConvolution", item["kind"], nodes=nodes)
        words = {"FLOAT": "Float", "HALF": "Half", "INT8": "Int8"}
        return {**layer, "ParameterType": "Convolution", "Weights": {"Type": words[item["kind"]], "Count": 1}}

    def _layer(self, name, kind, precision, *, nodes):
        if self._version.split_format:
            words = {"FLOAT": "Float", "HALF": "Half", "INT8": "Int8"}
            tensor = {
                "Name": "t",
                "Dimensions": [1],
                "Datatype": words[precision],
                "Format": "(NHWC) Channel major format",
            }
        else:
            text = f"Row major linear {WORDS[precision]} format"
            text = "Thirty-two wide channel vectorized row major Int8 format" if precision == "INT8" else text
            tensor = {"Name": "t", "Location": "Device", "Dimensions": [1], "Format/Datatype": text}
        layer = {
            "Name": name,
            "LayerType": kind,
            "Inputs": [tensor],
            "Outputs": [tensor],
            "TacticName": self._head["tactic"],
        }
        if self._version.has_metadata:
            layer["Metadata"] = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes)
        return layer


def api(text, *, rtx=False):
    """The module's names for a version."""
    numbers = (99,) if rtx else tuple(int(part) for part in text.split(".")[:2])
    weak = " FP16 INT8 OBEY_PRECISION_CONSTRAINTS" if numbers < (11,) else ""
    version = SimpleNamespace(
        __version__=text,
        NetworkDefinitionCreationFlag=members(
            "NetworkDefinitionCreationFlag",
            "STRONGLY_TYPED"
            if numbers >= (11,)
            else "EXPLICIT_BATCH STRONGLY_TYPED"
            if numbers >= (10,)
            else "EXPLICIT_BATCH",
        ),
        BuilderFlag=members("BuilderFlag", "TF32 SPARSE_WEIGHTS" + weak),
        DataType=members(
            "DataType", "FLOAT HALF INT8 INT32 BOOL UINT8" + (" INT64 BF16 FP8" if numbers >= (9,) else "")
        ),
        LayerType=members(
            "LayerType",
            "CONVOLUTION ACTIVATION ELEMENTWISE MATRIX_MULTIPLY IDENTITY QUANTIZE DEQUANTIZE CAST REDUCE "
            "SOFTMAX" + (" FULLY_CONNECTED" if numbers < (10,) else ""),
        ),
        ProfilingVerbosity=members("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED"),
        LayerInformationFormat=members("LayerInformationFormat", "ONELINE JSON"),
        TensorIOMode=members("TensorIOMode", "NONE INPUT OUTPUT"),
        MemoryPoolType=members("MemoryPoolType", "WORKSPACE"),
        ILogger=ILogger,
        IProfiler=IProfiler,
        OnnxParser=OnnxParser,
    )
    if rtx:
        version.ComputeCapability = members("ComputeCapability", "NONE CURRENT SM75 SM80 SM86 SM89 SM120")
    public = dict(vars(version))
    version.numbers, version.explicit_needed, version.typed = numbers, numbers < (10,), numbers >= (11,)
    version.split_format, version.has_metadata = numbers >= (11,), numbers >= (8, 6)
    version.config = ConfigRTX if rtx else Config86 if numbers >= (8, 6) else IBuilderConfig
    version.engine = EngineRTX if rtx else ICudaEngine
    public["Builder"] = lambda logger: started(Builder, logger, version)
    public["Runtime"] = lambda logger: started(Runtime, logger, version)
    return public


def started(kind, logger, version):
    if os.environ.get("FAKE_TENSORRT_START") == "fail":
        logger.log(ILogger.ERROR, "CUDA initialization failure with error: 35.")
        raise TypeError("pybind11::init(): factory function returned nullptr")
    return kind(logger, version=version)

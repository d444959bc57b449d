"""Activation functions by the names that config.json uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import openvino as ov
from openvino import opset13 as ops

Activation = Callable[[Any], ov.Node]


def _gelu_erf(x: ov.Node) -> ov.Node:
    return ops.gelu(x, "erf")


def _gelu_tanh(x: ov.Node) -> ov.Node:
    return ops.gelu(x, "tanh")


ACTIVATIONS: Final[dict[str, Activation]] = {
    "gelu": _gelu_erf,
    "gelu_new": _gelu_tanh,
    "gelu_fast": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": ops.relu,
    "silu": ops.swish,
    "swish": ops.swish,
    "tanh": ops.tanh,
}

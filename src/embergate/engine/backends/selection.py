"""Which backend runs a model: our graph where the architecture is built in, else the torch extra."""

from __future__ import annotations

import importlib.util

from embergate.engine.architectures.static import StaticTable
from embergate.engine.backends.openvino import OpenVinoBackend
from embergate.engine.backends.protocol import Backend, ComputeOptions
from embergate.engine.backends.static import StaticBackend
from embergate.engine.loading.folder import BUILT_IN, FolderModel
from embergate.engine.loading.spec import Precision
from embergate.engine.loading.weights import Weights
from embergate.errors import UnsupportedArchitectureError


def open_backend(model: FolderModel, precision: Precision, compute: ComputeOptions) -> Backend:
    """Load a model's network.

    Raises: UnsupportedArchitectureError if it is not built in and the torch extra is not installed.
    """
    if isinstance(model.network, StaticTable):
        return StaticBackend(model.network)
    if model.network is not None:
        weights = Weights(model.spec.folder)
        return OpenVinoBackend(model.network, weights, precision, compute, has_segments=model.spec.has_segments)
    require_backend(model.spec.architecture)
    from embergate.engine.backends.torch import TorchBackend

    return TorchBackend(model.spec, precision, compute)


def require_backend(architecture: str) -> None:
    """Check that there is a backend for a `model_type`. Raises: UnsupportedArchitectureError; see `open_backend`."""
    if architecture in BUILT_IN:
        return
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise UnsupportedArchitectureError(
            f"architecture {architecture[:60]!r} is not built in (these are: {', '.join(sorted(BUILT_IN))}). "
            "The extra 'torch' runs every architecture that transformers has: pip install 'embergate[torch]'"
        )

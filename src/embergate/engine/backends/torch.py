"""The torch extra: any architecture that transformers has, on whatever device torch finds. The pooling stays ours."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
import transformers
from numpy.typing import NDArray

from embergate.engine.backends.protocol import ComputeOptions
from embergate.engine.loading.spec import ModelSpec, Precision
from embergate.errors import ModelError

DTYPES: Final = {Precision.F32: torch.float32, Precision.BF16: torch.bfloat16}


class TorchBackend:
    """A transformers model in evaluation mode.

    Raises: ModelError for int8, which this backend does not have, and for a checkpoint that does not fit its config.
    """

    def __init__(self, spec: ModelSpec, precision: Precision, compute: ComputeOptions) -> None:
        """Load the network onto the first of cuda, mps, cpu that there is; `auto` is bf16 on cuda, else f32."""
        self.device = _pick_device()
        if precision is Precision.AUTO:
            precision = Precision.BF16 if self.device == "cuda" else Precision.F32
        if precision not in DTYPES:
            raise ModelError(f"the torch backend has no precision {precision}; use f32 or bf16")
        self.precision = precision
        self.computes_in = precision.value
        torch.set_num_threads(max(1, compute.resolved_threads() // compute.num_streams))
        self._model: Any = _load(spec, DTYPES[precision]).to(self.device)
        self.weights_bytes = sum(weight.numel() * weight.element_size() for weight in self._model.parameters())

    def forward(
        self,
        input_ids: NDArray[np.int32],
        lengths: NDArray[np.int32],
        second_starts: NDArray[np.int32] | None = None,  # noqa: ARG002 - no reranker runs here
    ) -> NDArray[np.float32]:
        """Run one padded batch; see `Backend.forward`."""
        ids = torch.from_numpy(input_ids.astype(np.int64)).to(self.device)
        mask = torch.from_numpy((np.arange(input_ids.shape[1]) < lengths[:, None]).astype(np.int64)).to(self.device)
        with torch.inference_mode():
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        result: NDArray[np.float32] = states.float().cpu().numpy()
        return result

    def close(self) -> None:
        """Free the network."""
        self._model = None


def _pick_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _load(spec: ModelSpec, dtype: torch.dtype) -> Any:
    """Return the model; a checkpoint that lacks tensors is refused, where transformers would fill in random ones."""
    model, report = transformers.AutoModel.from_pretrained(
        spec.folder,
        dtype=dtype,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
    )
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelError(f"the weights in {spec.folder.name} lack {', '.join(missing[:20])}")
    return model.eval()

"""NomicBERT in plain torch, read from the published names and keys.

transformers has the architecture under other config keys: given a published config.json it silently takes its own
defaults. This follows the remote code that the checkpoints are published with; where transformers can express the same
model, `native_hidden_states` runs it too, and the two are held against each other.
Source: https://github.com/nomic-ai/contrastors/blob/1e27692/src/contrastors/models/huggingface/modeling_hf_nomic_bert.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import NomicBertConfig, NomicBertModel

_GATES = {"swiglu": F.silu, "geglu": F.gelu, "glu": torch.sigmoid}


def load_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of the folder's safetensors files, float32."""
    tensors: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
    return {name: tensor.float() for name, tensor in tensors.items()}


def _rotate(x: torch.Tensor, base: float, dim: int) -> torch.Tensor:
    """Rotate the first `dim` of the head's dimensions, the halves of them paired.  # (B, N, S, D)"""
    inverse = 1.0 / (base ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    angles = torch.outer(torch.arange(x.shape[2], dtype=torch.float32), inverse)
    cos, sin = angles.cos(), angles.sin()
    first, second, rest = x[..., : dim // 2], x[..., dim // 2 : dim], x[..., dim:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


class NomicReference:
    """One model: `hidden_states` of padded batches."""

    def __init__(self, folder: Path) -> None:
        """Read config.json and the tensors of `folder`."""
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.tensors = load_tensors(folder)
        assert not self.config["prenorm"], "no published text model is pre-norm"
        assert not self.config["rotary_emb_interleaved"]
        assert not self.config["rotary_scaling_factor"]

    def _linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return F.linear(x, self.tensors[f"{name}.weight"], self.tensors.get(f"{name}.bias"))

    def _norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, self.config["layer_norm_epsilon"])

    def _attention(self, x: torch.Tensor, mask: torch.Tensor, name: str) -> torch.Tensor:
        heads, base = self.config["n_head"], float(self.config["rotary_emb_base"])
        rows, length, hidden = x.shape
        head_dim = hidden // heads
        rotary_dim = int(head_dim * self.config["rotary_emb_fraction"])
        qkv = self._linear(x, f"{name}.Wqkv").view(rows, length, 3, heads, head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (B, N, S, D) each
        scores = _rotate(query, base, rotary_dim) @ _rotate(key, base, rotary_dim).transpose(-1, -2)
        weights = (scores / head_dim**0.5 + mask).softmax(dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(rows, length, hidden)
        return self._linear(mixed, f"{name}.out_proj")

    @torch.no_grad()
    def hidden_states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The last layer's states.  # (B, S, H)"""
        words = F.embedding(input_ids, self.tensors["embeddings.word_embeddings.weight"])
        x = self._norm(words + self.tensors["embeddings.token_type_embeddings.weight"][0], "emb_ln")
        mask = torch.where(attention_mask[:, None, None, :].bool(), 0.0, torch.finfo(torch.float32).min)
        gate = _GATES[self.config["activation_function"]]
        for layer in (f"encoder.layers.{index}" for index in range(self.config["n_layer"])):
            x = self._norm(self._attention(x, mask, f"{layer}.attn") + x, f"{layer}.norm1")
            inner = self._linear(x, f"{layer}.mlp.fc11") * gate(self._linear(x, f"{layer}.mlp.fc12"))
            x = self._norm(self._linear(inner, f"{layer}.mlp.fc2") + x, f"{layer}.norm2")
        return x

    def native(self) -> NomicBertModel | None:
        """The same weights in transformers' own class, or None if it has no biases or rotary fractions to offer."""
        config = self.config
        biased = config["qkv_proj_bias"] or config["mlp_fc1_bias"] or config["mlp_fc2_bias"]
        if biased or config["rotary_emb_fraction"] != 1.0 or config["activation_function"] != "swiglu":
            return None
        native = NomicBertConfig(
            vocab_size=config["vocab_size"],
            hidden_size=config["n_embd"],
            num_hidden_layers=config["n_layer"],
            num_attention_heads=config["n_head"],
            intermediate_size=config["n_inner"],
            type_vocab_size=config["type_vocab_size"],
            layer_norm_eps=config["layer_norm_epsilon"],
            rope_parameters={"rope_type": "default", "rope_theta": float(config["rotary_emb_base"])},
        )
        with tempfile.TemporaryDirectory() as folder:
            native.save_pretrained(folder)
            save_file(self.tensors, Path(folder) / "model.safetensors", metadata={"format": "pt"})
            model, info = NomicBertModel.from_pretrained(
                folder, output_loading_info=True, dtype=torch.float32, attn_implementation="eager"
            )
        assert not any(info.values()), info
        return model.eval()

"""Whether a model can be served, told from its config.json alone, by the very code that loads it; every reason at once.

A value that is wrong is noted, and stands in as one that would do, so that the rest is read too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from embergate.engine.backends.selection import require_backend
from embergate.engine.loading.config_reader import REQUIRED, ConfigReader, parse_json
from embergate.engine.loading.folder import read_sizes, stated_max_tokens
from embergate.errors import ModelError

T = TypeVar("T")


def check_config(config_json: str, tokenizer_config_json: str | None = None) -> list[str]:
    """Return the reasons why a model with these files cannot be served, none if it can.

    Its weights, its tokenizer and its pooling are in other files, and may still be wrong.
    """
    problems: list[str] = []
    config = _open(config_json, "config.json", problems)
    if config is not None:
        _check(config)
    if tokenizer_config_json:
        tokenizer = _open(tokenizer_config_json, "tokenizer_config.json", problems)
        if tokenizer is not None:
            stated_max_tokens(tokenizer)
    return problems


def _check(config: _CheckingReader) -> None:
    model_type = config.string("model_type")
    if "model_type" in config.failed:
        return
    try:
        require_backend(model_type)
        read_sizes(model_type, config)
    except ModelError as error:
        if not config.failed:  # else it may be about what stands in
            config.problems.append(error.message)


def _open(text: str, source: str, problems: list[str]) -> _CheckingReader | None:
    try:
        values = parse_json(text.encode("utf-8", "surrogatepass"), source)
        return _CheckingReader(ConfigReader.from_values(values, source=source), problems)
    except ModelError as error:
        problems.append(error.message)
        return None


class _CheckingReader(ConfigReader):
    """Notes what is wrong, and goes on."""

    def __init__(self, reader: ConfigReader, problems: list[str], failed: set[str] | None = None) -> None:
        super().__init__(reader.values, source=reader.source)
        self.problems = problems
        # Keys whose values stand in for what is there.
        self.failed = failed if failed is not None else set()

    def integer(self, *keys: str, default: Any = REQUIRED, minimum: int = 1) -> int:
        try:
            return super().integer(*keys, default=default, minimum=minimum)
        except ModelError as error:
            return self._note(error, keys, max(minimum, 1))

    def number(
        self, *keys: str, default: Any = REQUIRED, minimum: float = 0.0, maximum: float = sys.float_info.max
    ) -> float:
        try:
            return super().number(*keys, default=default, minimum=minimum, maximum=maximum)
        except ModelError as error:
            return self._note(error, keys, minimum)

    def boolean(self, *keys: str, default: Any = REQUIRED) -> bool:
        try:
            return super().boolean(*keys, default=default)
        except ModelError as error:
            return self._note(error, keys, False)

    def string(self, *keys: str, default: Any = REQUIRED, choices: Sequence[str] | None = None) -> str:
        try:
            return super().string(*keys, default=default, choices=choices)
        except ModelError as error:
            return self._note(error, keys, choices[0] if choices else "")

    def strings(self, key: str) -> tuple[str, ...]:
        try:
            return super().strings(key)
        except ModelError as error:
            return self._note(error, (key,), tuple[str, ...]())

    def object(self, *keys: str) -> ConfigReader:
        try:
            return _CheckingReader(super().object(*keys), self.problems, self.failed)
        except ModelError as error:
            empty = ConfigReader({}, source=self.source)
            return self._note(error, keys, _CheckingReader(empty, self.problems, self.failed))

    def head_size(self, hidden_size: int, num_heads: int, *keys: str) -> int:
        if self.failed.intersection(keys):
            return 1
        try:
            return super().head_size(hidden_size, num_heads, *keys)
        except ModelError as error:
            return self._note(error, keys, 1)

    def _note(self, error: ModelError, keys: Sequence[str], instead: T) -> T:
        self.problems.append(error.message)
        self.failed.update(keys)
        return instead

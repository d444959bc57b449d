"""`ModelSetting`: one model to serve, as an operator writes it, in a line of text or in a table of the settings file.

As text: `NAME`, `NAME:int8`, `NAME:mean`, `NAME:int8:mean`. That takes no name away: a Hub id holds no colon, and the path of a
folder may end with a slash, `./my:folder/`, so that nothing behind its last slash is taken for an option.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

PrecisionName = Literal["f32", "bf16", "int8", "auto"]
PoolingName = Literal["cls", "mean", "max", "lasttoken", "mean_sqrt_len_tokens", "weightedmean"]

PRECISIONS: Final[tuple[str, ...]] = get_args(PrecisionName)
POOLINGS: Final[tuple[str, ...]] = get_args(PoolingName)


class ModelSetting(BaseModel):
    """A model's name, and what of it differs from the settings for all models or is not in its files."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str = Field(min_length=1)
    precision: PrecisionName | None = None
    pooling: PoolingName | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return parse_model(value) if isinstance(value, str) else value

    def __str__(self) -> str:
        """Return the text form."""
        return ":".join(part for part in (self.name, self.precision, self.pooling) if part)


def parse_model(text: str) -> dict[str, str]:
    """Split `NAME[:precision][:pooling]` into the fields of a `ModelSetting`.

    Raises: ValueError for a word behind a colon that is neither, or given twice.
    """
    folder, slash, last = text.rpartition("/")
    name, *words = last.split(":")
    found = {"name": f"{folder}{slash}{name}"}
    for word in words:
        kind = "precision" if word in PRECISIONS else "pooling" if word in POOLINGS else None
        if kind is None:
            raise ValueError(
                f"{text[:200]!r}: behind a colon stands a precision ({', '.join(PRECISIONS)}) or a pooling "
                f"({', '.join(POOLINGS)}); let the path of a folder with a colon in its name end with /"
            )
        if kind in found:
            raise ValueError(f"{text[:200]!r} names a {kind} twice")
        found[kind] = word
    return found

"""Where settings are written: which `EMBERGATE_*` variables are ours, which file is read, and the place of a wrong value.

It must not know which settings there are; whoever asks says so.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

ENV_PREFIX: Final = "EMBERGATE_"
CONFIG_VARIABLE: Final = "EMBERGATE_CONFIG"
REFERENCE_PAGE: Final = "docs/reference/settings.md"
# Set by Kubernetes in every pod beside a Service whose name begins with `embergate`.
# Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK: Final = re.compile(r"(?:.+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_.+)?)")
SERVICE_ADDRESS: Final = re.compile(r"(?:tcp|udp|sctp)://")


def is_service_link(variable: str, value: str) -> bool:
    """Tell whether Kubernetes set this `EMBERGATE_*` variable, as `EMBERGATE_PORT=tcp://10.0.0.1:80`, and no operator."""
    name = variable.upper().removeprefix(ENV_PREFIX)
    is_address = name.endswith("PORT") and SERVICE_ADDRESS.match(value)
    return bool(is_address or SERVICE_LINK.fullmatch(name))


def expand_home(text: str | Path) -> Path:
    """Return a path with `~` replaced. Raises: ValueError if there is no such home."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{text} begins with a home directory, and this machine has none for that user; set HOME, or write the whole path"
        ) from None


def config_path() -> Path | None:
    """Return the settings file that the environment names. Raises: ValueError if it is in a home that is not there."""
    path = os.environ.get(CONFIG_VARIABLE)
    return expand_home(path) if path else None


def hint_of(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Return what to say of a name that there is not: the one that was probably meant, or where all are listed.

    Names are compared without the prefix: it is so long that with it every two are alike.
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {prefix}{near[0]}?" if near else f"{REFERENCE_PAGE} lists those there are"


def place_of(loc: tuple[int | str, ...], given: Mapping[str, Any]) -> str:
    """Return where the value at `loc` was written: on the command line (`given`), in the environment or in the file."""
    if not loc:
        return "settings"
    name = str(loc[0])
    inside = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc[1:])
    variable = f"{ENV_PREFIX}{name.upper()}"
    if name in given:
        return f"--{'model' if name == 'models' else name.replace('_', '-')}"
    path = None if variable in {other.upper() for other in os.environ} else config_path()
    return f"{path}: {name}{inside}" if path else variable

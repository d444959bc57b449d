"""Resource names, such as `accounts/a/users/u`, and the ids in them.

Sources: https://google.aip.dev/122 (names), https://google.aip.dev/133#user-specified-ids
"""

from __future__ import annotations

import re
from typing import Final

from embergate.aip.errors import InvalidArgumentError

USER_ID: Final = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
# Ids that the server makes start with digits or have capitals: UUIDs, key ids, names of checkpoints. None starts with
# a dot, so that a name is safe as a part of a path.
ANY_ID: Final = re.compile(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}")
SEGMENT: Final = re.compile(r"\{([a-z_]+)\}|([A-Za-z]+)")


def check_id(value: str, field: str) -> str:
    """Return an id that a user chose, if it is a valid one.

    Raises: InvalidArgumentError with `field` if it is not 1 to 63 of a-z, 0-9 and -, from a letter to no -.
    """
    if not USER_ID.fullmatch(value):
        raise InvalidArgumentError(
            f"{field}: {value[:80]!r} is not an id: use 1 to 63 lower-case letters, digits and hyphens, "
            "start with a letter and do not end with a hyphen",
            field=field,
        )
    return value


class ResourcePattern:
    """The form of one kind of resource's names: `accounts/{account}/users/{user}`."""

    def __init__(self, template: str) -> None:
        """Read the template: segments that are a collection's name or an id's name in braces."""
        segments = [SEGMENT.fullmatch(segment) for segment in template.split("/")]
        if not all(segments):
            raise ValueError(f"{template!r} is no pattern of resource names")
        self.template = template
        self.ids: tuple[str, ...] = tuple(match.group(1) for match in segments if match and match.group(1))
        self._regex = re.compile(re.sub(r"\{([a-z_]+)\}", rf"(?P<\1>{ANY_ID.pattern})", template))

    def format(self, **ids: str) -> str:
        """Return the name with these ids.

        Raises: InvalidArgumentError with the id's name as `field` if one has characters that no id has, like a slash.
        """
        for field, value in ids.items():
            if not ANY_ID.fullmatch(value):
                raise InvalidArgumentError(f"{field}: {value[:80]!r} is not an id", field=field)
        return self.template.format(**ids)

    def parse(self, name: str, *, field: str = "name") -> dict[str, str]:
        """Return the ids in a name.

        Raises: InvalidArgumentError with `field` if the name has another form.
        """
        match = self._regex.fullmatch(name)
        if match is None:
            raise InvalidArgumentError(f"{field}: {name[:200]!r} is not of the form {self.template}", field=field)
        return match.groupdict()

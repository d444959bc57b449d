"""Field masks: which fields to answer with, and which an update changes.

Sources: https://google.aip.dev/157 (read masks), https://google.aip.dev/134 (updates), https://google.aip.dev/161 (paths).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from embergate.aip.errors import InvalidArgumentError
from embergate.aip.fields import lower_camel
from embergate.aip.message import IMMUTABLE, OUTPUT_ONLY, Message, behaviors, message_in, names_on_the_wire

MAX_MASK_CHARACTERS: Final = 2_000
MAX_MASK_DEPTH: Final = 16
SEGMENT: Final = re.compile(r"`([^`]+)`|([^.`,\s]+)")
# A path's segments, outermost first: `m.`k-1`` is ("m", "k-1").
Path = tuple[str, ...]
# A mask as a tree: a field with no children stands for all of it.
Tree = dict[str, "Tree"]
M = TypeVar("M", bound=Message)


def parse_paths(mask: str, *, field: str) -> list[Path]:
    """Split a mask into paths; `*` is a path of its own.

    Raises: InvalidArgumentError if it is too long, or a path is not names joined by dots.
    """
    if len(mask) > MAX_MASK_CHARACTERS:
        raise InvalidArgumentError(f"{field} is longer than {MAX_MASK_CHARACTERS} characters", field=field)
    paths, position = [], 0
    while position < len(mask):
        path: list[str] = []
        while match := SEGMENT.match(mask, position):
            path.append(match.group(1) or match.group(2))
            position = match.end()
            if mask[position : position + 1] != ".":
                break
            position += 1
        rest = mask[position:].lstrip()
        if not path or (rest and not rest.startswith(",")) or mask[position - 1] == "." or len(path) > MAX_MASK_DEPTH:
            raise InvalidArgumentError(
                f"{field}: {mask[max(position - 20, 0) : position + 20]!r} is not a list of fields such as "
                "displayName,status.code",
                field=field,
            )
        paths.append(tuple(path))
        position = len(mask) - len(rest.removeprefix(",").lstrip())
    return paths


def read_tree(mask: str, message_type: type[Message]) -> Tree | None:
    """Return the fields, in their lowerCamelCase names, that a read mask chooses; None for all of them.

    Unknown fields are left out of the answer, never an error.
    """
    paths = parse_paths(mask.strip(), field="readMask")
    if not paths or ("*",) in paths:
        return None
    tree: Tree = {}
    for path in paths:
        node, known = tree, message_type
        for depth, segment in enumerate(path):
            name = names_on_the_wire(known).get(segment) if known else None
            if node.get(key := lower_camel(name) if name else segment) == {} and depth < len(path) - 1:
                break  # a shorter path has chosen all of it
            node = node.setdefault(key, {})
            known = message_in(known, name) if known and name else None  # type: ignore[assignment]
        else:
            node.clear()
    return tree


def prune(document: Mapping[str, Any], tree: Tree | None) -> dict[str, Any]:
    """Return the parts of a message's JSON that `tree` chooses; what is not chosen is left out."""
    if tree is None:
        return dict(document)
    chosen: dict[str, Any] = {}
    for key, subtree in tree.items():
        if key not in document:
            continue
        value = document[key]
        if not subtree or value is None:
            chosen[key] = value
        elif isinstance(value, Mapping):
            chosen[key] = prune(value, subtree)
        elif isinstance(value, list):
            chosen[key] = [prune(item, subtree) for item in value if isinstance(item, Mapping)]
    return chosen


def update_message(current: M, patch: M, mask: str | None) -> M:
    """Return `current` with the fields of `patch` that the mask names, or that the client sent where there is no mask.

    A named field that was not sent is cleared; `*` replaces all. What only the server sets is never changed.
    Raises: InvalidArgumentError for a path that is no field, or a named immutable field that would change.
    """
    paths, is_explicit = _paths_to_update(patch, mask)
    updated = current.model_copy(deep=True)
    for path in paths:
        _update_path(updated, patch, path, is_explicit=is_explicit)
    return updated


def fields_named(patch: Message, mask: str | None) -> frozenset[str]:
    """Return the fields, in their snake_case names, that `update_message` with this mask changes or changes inside."""
    names = names_on_the_wire(type(patch))
    return frozenset(names[path[0]] for path in _paths_to_update(patch, mask)[0] if path[0] in names)


def _paths_to_update(patch: Message, mask: str | None) -> tuple[list[Path], bool]:
    """Return the paths that an update changes, and whether the mask itself names them."""
    paths = parse_paths(mask.strip(), field="updateMask") if mask else []
    if not paths:
        return [(name,) for name in sorted(patch.model_fields_set)], False
    if paths == [("*",)]:
        return [(name,) for name in type(patch).model_fields], False
    return paths, True


def _update_path(updated: Message, patch: Message, path: Path, *, is_explicit: bool) -> None:
    message_type = type(updated)
    name = names_on_the_wire(message_type).get(path[0])
    if name is None:
        raise InvalidArgumentError(f"updateMask names {'.'.join(path)!r}, which is not a field", field="updateMask")
    marks = behaviors(message_type, name)
    if OUTPUT_ONLY in marks:
        return
    old, new = getattr(updated, name), getattr(patch, name)
    if IMMUTABLE in marks:
        if is_explicit and old != new:
            raise InvalidArgumentError(f"{lower_camel(name)} cannot be changed once it is set", field=lower_camel(name))
        return
    if len(path) == 1:
        setattr(updated, name, new)
        return
    setattr(updated, name, _updated_inside(message_type, name, (old, new), path))


def _updated_inside(message_type: type[Message], name: str, values: tuple[Any, Any], path: Path) -> Any:
    """Return a message or map with the part that `path` names taken from the new one."""
    old, new = values
    inner = message_in(message_type, name)
    if inner is not None and not isinstance(old, list):
        old = old.model_copy(deep=True) if old is not None else inner()
        _update_path(old, new if new is not None else inner(), path[1:], is_explicit=True)
        return old
    if isinstance(old, dict) and len(path) == 2:
        kept = {key: value for key, value in old.items() if key != path[1]}
        return kept | {key: value for key, value in new.items() if key == path[1]}
    raise InvalidArgumentError(
        f"updateMask names {'.'.join(path)!r}; {lower_camel(name)} has no fields of its own", field="updateMask"
    )

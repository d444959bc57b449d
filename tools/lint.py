"""Lint rules that ruff does not have. `python -m tools.lint` exits 1 and names file, line, rule and mend.

A line may be excused by a comment `# lint: allow <rule> (<reason>)`.

- size: a module has at most 400 lines, a function at most 50, and at most 7 parameters; migrations are as long as they are.
- no-stdlib-shadow: no module is named like one of the standard library.
- no-settings-below-app: only `app`, `cli` and the settings themselves import `embergate.settings`.
- one-clock: only `clock.py` asks for the time, only `ids.py` for randomness that ends up in an identifier.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MAX_MODULE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 50
MAX_PARAMETERS: Final = 7
MAY_IMPORT_SETTINGS: Final = ("app/", "settings.py", "cli/")
MIGRATIONS: Final = "storage/migrations/versions/"
CLOCK_CALLS: Final = {"time.time", "time.monotonic", "time.perf_counter", "datetime.now", "datetime.utcnow"}
ID_CALLS: Final = {"uuid.uuid4", "secrets.token_urlsafe", "secrets.token_hex", "secrets.token_bytes"}
ALLOW: Final = re.compile(r"# lint: allow ([a-z-]+) \(.+\)")


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken rule."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        """Return the finding as editors read it."""
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


def lint_source(path: str, source: str) -> list[Finding]:
    """Return what is wrong with one module; `path` is relative to `src/embergate`."""
    tree = ast.parse(source)
    lines = source.splitlines()
    found = [*_size(path, tree, len(lines)), *_shadow(path), *_settings(path, tree), *_clock(path, tree)]
    return [finding for finding in found if not _is_allowed(finding, lines)]


def _is_allowed(finding: Finding, lines: list[str]) -> bool:
    match = ALLOW.search(lines[finding.line - 1]) if finding.line <= len(lines) else None
    return match is not None and match.group(1) == finding.rule


def _size(path: str, tree: ast.Module, num_lines: int) -> Iterator[Finding]:
    if path.startswith(MIGRATIONS):
        return
    if num_lines > MAX_MODULE_LINES:
        yield Finding(path, 1, "size", f"{num_lines} lines, at most {MAX_MODULE_LINES}: what are its two concepts?")
    for node in ast.walk(tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > MAX_FUNCTION_LINES:
            yield Finding(path, node.lineno, "size", f"{node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        num_parameters = len([argument for argument in arguments if argument.arg not in {"self", "cls"}])
        # A command's parameters are its options: typer reads them from the signature.
        if num_parameters > MAX_PARAMETERS and not path.startswith("cli/"):
            yield Finding(
                path, node.lineno, "size", f"{node.name} has {num_parameters} parameters, at most {MAX_PARAMETERS}"
            )


def _shadow(path: str) -> Iterator[Finding]:
    name = Path(path).stem
    if name in sys.stdlib_module_names and not name.startswith("__"):
        yield Finding(path, 1, "no-stdlib-shadow", f"{name} is a module of the standard library; rename it")


def _settings(path: str, tree: ast.Module) -> Iterator[Finding]:
    if path.startswith(MAY_IMPORT_SETTINGS):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "embergate.settings":
            yield Finding(path, node.lineno, "no-settings-below-app", "take the value as an argument instead")


def _clock(path: str, tree: ast.Module) -> Iterator[Finding]:
    if path in {"clock.py", "ids.py"}:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in CLOCK_CALLS | ID_CALLS:
            yield Finding(path, node.lineno, "one-clock", f"{ast.unparse(node.func)}: call clock.py or ids.py instead")


def main() -> int:
    """Lint `src/embergate` and print the findings."""
    root = Path(__file__).parent.parent / "src" / "embergate"
    findings = [
        finding
        for path in sorted(root.rglob("*.py"))
        for finding in lint_source(path.relative_to(root).as_posix(), path.read_text())
    ]
    for finding in findings:
        print(f"src/embergate/{finding}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())

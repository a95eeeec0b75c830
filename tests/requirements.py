# SPDX-License-Identifier: Apache-2.0
"""Which requirement has which tests: reads the marks, writes `tests/requirements.md`.

python -m tests.requirements [--check]
"""

import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests import suites

CATALOGUE = suites.TESTS / "requirements.toml"
TABLE = suites.TESTS / "requirements.md"
_MARKS = {"requirement", "refuses"}


@dataclass
class Coverage:
    """Test names by mark, for one requirement."""

    requirement: list[str] = field(default_factory=list)
    refuses: list[str] = field(default_factory=list)


def catalogue() -> dict[str, dict[str, str]]:
    """The requirements this version answers for."""
    return tomllib.loads(CATALOGUE.read_text("utf-8"))


def coverage() -> dict[str, Coverage]:
    """Tests by requirement, from the marks in the source: no test has to run for it."""
    found: dict[str, Coverage] = defaultdict(Coverage)
    for path in sorted(suites.TESTS.rglob("test_*.py")):
        for name, mark, ids in _marks(ast.parse(path.read_text("utf-8"))):
            test = f"{path.relative_to(suites.TESTS)}::{name}"
            for identifier in ids:
                getattr(found[identifier], mark).append(test)
    return found


def _marks(tree: ast.AST) -> Iterator[tuple[str, str, list[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            decorators: list[ast.AST] = list(node.decorator_list)
            for inner in (n for d in decorators for n in ast.walk(d)):
                if (
                    isinstance(inner, ast.Call)
                    and isinstance(inner.func, ast.Attribute)
                    and inner.func.attr in _MARKS
                ):
                    ids = [
                        a.value
                        for a in inner.args
                        if isinstance(a, ast.Constant) and isinstance(a.value, str)
                    ]
                    yield node.name, inner.func.attr, ids


def missing() -> list[str]:
    """One line for each requirement that lacks a test it should have, or an argument."""
    found, lines = coverage(), []
    for identifier, entry in catalogue().items():
        if "argued" in entry:
            continue
        must = entry["level"].startswith(("MUST", "NOT"))
        tests = found.get(identifier, Coverage())
        if not tests.requirement and not tests.refuses:
            lines.append(f"{identifier}: no test")
        elif must and not tests.requirement:
            lines.append(f"{identifier}: no test that it holds")
        elif must and not tests.refuses:
            lines.append(f"{identifier}: no test that its violation is refused")
    lines += [f"{i}: marked in a test but unknown" for i in sorted(found) if not _known(i)]
    return lines


def _known(identifier: str) -> bool:
    # The emulator's own duties (SRV) and readings (AMB) are marked too, for people.
    return identifier in catalogue() or identifier.startswith(("SRV-", "AMB-"))


def table() -> str:
    """The table as Markdown."""
    found, without = coverage(), missing()
    lines = [
        "# Requirements and their tests",
        "",
        "Made by `python -m tests.requirements` from `requirements.toml` and the marks on tests.",
        "",
        "Without a test: " + ("; ".join(without) if without else "none."),
        "",
        "| requirement | level | asks | holds | violation refused |",
        "|---|---|---|---|---|",
    ]
    for identifier, entry in catalogue().items():
        tests = found.get(identifier, Coverage())
        holds = entry.get("argued") or _cell(tests.requirement)
        asks = entry["asks"].replace("|", "\\|")
        lines.append(
            f"| {identifier} | {entry['level']} | {asks} | {holds} | {_cell(tests.refuses)} |"
        )
    return "\n".join(lines) + "\n"


def _cell(tests: list[str]) -> str:
    first = sorted(set(tests))[:3]
    more = len(set(tests)) - len(first)
    return "<br>".join(f"`{t}`" for t in first) + (f"<br>and {more} more" if more else "")


def main(arguments: list[str]) -> int:
    """Write the table; with --check, only say what is missing and whether the table is current."""
    if "--check" in arguments:
        problems = missing()
        if not TABLE.is_file() or TABLE.read_text("utf-8") != table():
            problems.append(f"{Path(TABLE).name} is not current: run python -m tests.requirements")
        sys.stdout.write("".join(f"{p}\n" for p in problems))
        return 1 if problems else 0
    TABLE.write_text(table(), "utf-8")
    sys.stdout.write("".join(f"{p}\n" for p in missing()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

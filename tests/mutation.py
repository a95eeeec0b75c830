# SPDX-License-Identifier: Apache-2.0
"""Break the trust core on purpose, one place at a time, and see whether a test notices.

python -m tests.mutation [--sample N] [--seed S] [MODULE...]

Each mutant runs in a forked child that imports the changed module in place of the real one; no file
is written. A mutant that only times out counts as noticed. Prints survivors with file and line,
and last the figure.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests import suites

SOURCE = suites.TESTS.parent / "agent" / "xpu_agent"
PACKAGES = ("artifacts", "trust")
PROPERTIES = ("test_decoders.py", "test_signed_bundle.py")
SECONDS = 180  # for one mutant; an endless loop is noticed, too

_FLIPS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}


@dataclass(frozen=True)
class Mutant:
    """One change: the module, where, what, and the changed tree."""

    module: str
    line: int
    what: str
    tree: ast.Module


def mutants(path: Path, module: str) -> Iterator[Mutant]:
    """All mutants of one file, in order of position."""
    original = ast.parse(path.read_text("utf-8"))
    count = sum(1 for _ in _points(original))
    for index in range(count):
        tree = copy.deepcopy(original)
        node, what, change = next(p for i, p in enumerate(_points(tree)) if i == index)
        change()
        yield Mutant(module, getattr(node, "lineno", 0), what, ast.fix_missing_locations(tree))


def _points(tree: ast.Module) -> Iterator[tuple[ast.AST, str, "_Change"]]:
    for parent in ast.walk(tree):
        if isinstance(parent, ast.Compare):
            for position, operator in enumerate(parent.ops):
                flipped = _FLIPS[type(operator)]
                what = f"{type(operator).__name__} -> {flipped.__name__}"
                yield parent, what, _Change(parent.ops, position, flipped())
        elif isinstance(parent, ast.BoolOp):
            other = ast.Or() if isinstance(parent.op, ast.And) else ast.And()
            yield parent, f"{type(parent.op).__name__} flipped", _Change(parent, "op", other)
        for name, value in ast.iter_fields(parent):
            if isinstance(value, ast.UnaryOp) and isinstance(value.op, ast.Not):
                yield value, "not removed", _Change(parent, name, value.operand)
            elif _is_flag(parent) and isinstance(value, ast.Constant):
                continue  # of a dataclass: nothing here sets an attribute or counts octets
            elif isinstance(value, ast.Constant) and isinstance(value.value, bool):
                yield value, f"{value.value} flipped", _Change(value, "value", not value.value)
            if isinstance(value, list):
                for position, item in enumerate(value):
                    if isinstance(item, ast.Raise):
                        passing = ast.copy_location(ast.Pass(), item)
                        yield item, "raise removed", _Change(value, position, passing)


def _is_flag(node: ast.AST) -> bool:
    return isinstance(node, ast.keyword) and node.arg in {"frozen", "slots", "strict"}


@dataclass
class _Change:
    owner: object
    place: str | int
    value: object

    def __call__(self) -> None:
        if isinstance(self.place, int):
            self.owner[self.place] = self.value  # type: ignore[index]  # a list where it is a place
        else:
            setattr(self.owner, self.place, self.value)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, mutant: Mutant, path: Path) -> None:
        self._mutant, self._path = mutant, path

    def find_spec(
        self,
        fullname: str,
        path: object,  # noqa: ARG002  # the protocol's
        target: ModuleType | None = None,  # noqa: ARG002  # the protocol's
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self._path, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._mutant.tree, str(self._path), "exec"), module.__dict__)  # noqa: S102


def _tests_for(module: str, *, thorough: bool) -> list[str]:
    package = module.split(".")[1]
    near = [f"tests/unit/{package}"]
    if not thorough:
        return near
    others = [f"tests/unit/{p}" for p in PACKAGES if p != package]
    return [*others, *(f"tests/property/{name}" for name in PROPERTIES)]


def _run(mutant: Mutant, path: Path, *, thorough: bool) -> int:
    """Start a child on this mutant; its exit status is 0 if no test noticed."""
    child = os.fork()
    if child:
        return child
    signal.alarm(SECONDS)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    sys.meta_path.insert(0, _Finder(mutant, path))
    import pytest

    chosen = _tests_for(mutant.module, thorough=thorough)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header"]
    options += ["-m", "not slow"]
    # The parent has loaded hypothesis to start children warm; pytest warns of it: an error here.
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    status = 1
    try:
        status = int(pytest.main([*options, *chosen]))
    finally:
        os._exit(status)
    raise AssertionError


def _module_of(path: Path) -> str:
    return ".".join(("xpu_agent", *path.relative_to(SOURCE).with_suffix("").parts))


def main(arguments: list[str]) -> int:
    """Run the mutants and print the figure; exit 0 whatever it is, 1 if tests fail anyway."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, help="this many at random; 0 is all")
    parser.add_argument("--seed", type=int, default=8572)
    parser.add_argument("modules", nargs="*", help="such as trust.path; default all of the core")
    options = parser.parse_args(arguments)

    # Loaded once, so that a child starts warm; the modules under test are not among them.
    import asn1crypto.cms
    import cryptography.x509
    import hypothesis
    import pytest

    del asn1crypto, cryptography, hypothesis, pytest
    files = [p for package in PACKAGES for p in sorted((SOURCE / package).glob("*.py"))]
    if options.modules:
        files = [p for p in files if _module_of(p).removeprefix("xpu_agent.") in options.modules]
    every = [(m, p) for p in files for m in mutants(p, _module_of(p))]
    chosen = every
    if options.sample and options.sample < len(every):
        chosen = random.Random(options.seed).sample(every, options.sample)  # noqa: S311
    for path in {p.parent: p for p in files}.values():
        # Without a change nothing may be noticed, or every figure below is worthless.
        unchanged = Mutant(_module_of(path), 0, "none", ast.parse(path.read_text("utf-8")))
        if os.waitpid(_run(unchanged, path, thorough=False), 0)[1] != 0:
            sys.stdout.write(f"tests fail with {unchanged.module} as it is\n")
            return 1
    began, survivors, done = time.monotonic(), 0, 0
    running: dict[int, tuple[Mutant, Path, bool]] = {}
    waiting: list[tuple[Mutant, Path, bool]] = [(m, p, False) for m, p in chosen]
    while waiting or running:
        while waiting and len(running) < (os.cpu_count() or 1):
            mutant, path, thorough = waiting.pop(0)
            running[_run(mutant, path, thorough=thorough)] = (mutant, path, thorough)
        child, status = os.wait()
        mutant, path, thorough = running.pop(child)
        if status == 0 and not thorough:
            waiting.append((mutant, path, True))  # the other tests may notice
            continue
        done += 1
        if status == 0:
            survivors += 1
            where = path.relative_to(SOURCE)
            sys.stdout.write(f"survived: {where}:{mutant.line}: {mutant.what}\n")
            sys.stdout.flush()
    noticed = done - survivors
    share = 100 * noticed / done if done else 0.0
    sys.stdout.write(
        f"{noticed} of {done} mutants noticed ({share:.1f} %), {len(every)} possible, "
        f"{time.monotonic() - began:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

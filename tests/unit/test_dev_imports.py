"""What import-linter cannot see: the modules beside the packages, packages that nobody declared or nobody uses."""

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
OURS = {
    "app",
    "app_blueprints",
    "app_config",
    "app_logging",
    "app_services",
    "benchmarks",
    "blueprints",
    "cli",
    "dev",
    "errors",
    "models",
    "runtime",
    "services",
    "settings",
    "tests",
}
PRODUCT = [
    "app.py",
    "app_blueprints.py",
    "app_config.py",
    "app_logging.py",
    "errors.py",
    "gunicorn.conf.py",
    "settings.py",
    "blueprints",
    "cli",
    "migrations",
    "models",
    "runtime",
    "services",
]
USED_WITHOUT_AN_IMPORT = {
    "hiredis": "redis parses with it what Redis answers, once it is installed",
    "requests": "of the stack that the service is specified with; what it asks over HTTP is asynchronous, by httpx2",
}


def imported(path: Path) -> Iterator[str]:
    """The first names of the modules that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def python_files(names: list[str]) -> Iterator[Path]:
    for name in names:
        path = CHECKOUT / name
        yield from path.rglob("*.py") if path.is_dir() else [path]


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def declared(*sections: list[str]) -> set[str]:
    return {normal(requirement.split("[")[0].strip()) for section in sections for requirement in section}


def requirements() -> set[str]:
    """What the product needs, with all of its extras."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    return declared(project["dependencies"], *project["optional-dependencies"].values())


def external_imports() -> dict[str, set[str]]:
    """What the product imports of others, and the distributions which that is of."""
    distributions = packages_distributions()
    return {
        name: {normal(distribution) for distribution in distributions.get(name, [])}
        for path in python_files(PRODUCT)
        for name in imported(path)
        if name not in OURS and name not in sys.stdlib_module_names
    }


@pytest.mark.parametrize("module", ["errors.py", "settings.py"])
def test_errors_and_settings_import_nothing_of_ours(module: str) -> None:
    names = set(imported(CHECKOUT / module))

    assert names, "a module that imports nothing at all would make this test say nothing"
    assert names & OURS == set()


def test_the_product_imports_only_what_its_requirements_declare() -> None:
    distributions = external_imports()

    undeclared = {name for name, named in distributions.items() if not named & requirements()}

    assert "flask" in distributions
    assert undeclared == set()


def test_everything_that_is_required_is_imported_or_has_a_reason() -> None:
    used = set[str]().union(*external_imports().values())

    assert requirements() - used == set(USED_WITHOUT_AN_IMPORT), "required and unused, or imported and in the table"

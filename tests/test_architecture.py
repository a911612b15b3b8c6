"""Properties of the whole project: the core stands alone, files are short, nothing names one machine.

Imports go one way by the contracts of import-linter in setup.cfg; docstrings are ruff's matter.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import imlspike

PACKAGE = Path(imlspike.__file__).parent
NOT_CORE = "espnet espnet2 nltk lightning pytorch_lightning lhotse matplotlib tensorboard rich scipy".split()
MACHINE_PATH = re.compile(r"(?<![\w.}~])/(?:work|home|root|Users)/\w")


def modules() -> list[str]:
    """Dotted names of all modules of the package."""
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def tracked_files(repository: Path) -> list[Path]:
    """All files under version control that are there."""
    result = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in result.stdout.split("\0") if name and (path := repository / name).is_file()]


def test_the_core_imports_without_the_extras():
    """Every module but those that exist for an extra, in a process that can't import the extras."""
    extra = re.compile(r"imlspike\.(espnet|training)\b|.*__main__")
    core = [name for name in modules() if not extra.match(name)]
    program = f"""
import importlib, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_CORE!r}:
            raise ModuleNotFoundError(f"{{name}} is not part of the core", name=name)

sys.meta_path.insert(0, Absent())
for module in {core!r}:
    importlib.import_module(module)
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {set(NOT_CORE)!r}))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=PACKAGE.parent, capture_output=True, text=True, timeout=250
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


def test_importing_the_package_loads_nothing_heavy():
    program = "import sys, imlspike; print({'torch', 'numpy', 'espnet2'} & set(sys.modules))"
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert result.stdout == "set()\n", result.stderr


def test_no_file_is_long(repository):
    """A file that can't be read in one go is split."""
    code = [path for path in tracked_files(repository) if path.suffix in (".py", ".sh")]
    long = {path.name: lines for path in code if (lines := len(path.read_text().splitlines())) > 400}
    assert code and not long


def test_no_tracked_file_is_big(repository):
    files = tracked_files(repository)
    models = repository / "pretrained"
    big = [str(path) for path in files if path.stat().st_size > (11 if path.parent == models else 2) * 2**20]
    assert files and not big, f"over 2 MB, or of a trained model over 11: {big}"


def test_no_tracked_file_names_a_path_of_one_machine(repository):
    named = []
    for path in tracked_files(repository):
        text = path.read_bytes().decode("utf-8", errors="ignore")
        named += [f"{path.relative_to(repository)}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    assert not named


@pytest.mark.parametrize(("text", "named"), [("cd /home" + "/ann", 1), ("a/home/b", 0), ("~/work/x", 0)])
def test_a_path_of_one_machine_is_seen(text, named):
    assert bool(MACHINE_PATH.search(text)) == named


def test_committed_results_are_json(repository):
    files = sorted(repository.glob("egs/*/*/results/**/*.json"))
    assert len(files) > 4 and all(json.loads(file.read_text(encoding="utf-8")) for file in files)


def test_every_bad_input_of_the_table_is_tried_in_a_test(repository):
    """`docs/reliability.md`: the test is there, and the kind of it, where one is named."""
    lines = (repository / "docs/reliability.md").read_text(encoding="utf-8").splitlines()
    named = re.findall(r"`(tests/\S+?)::(\w+)(?:\[(.+?)\])?` +\|$", "\n".join(lines), re.MULTILINE)
    assert len(named) >= 40 and len(named) == sum(line.startswith("|") for line in lines) - 2 * sum(
        line.startswith("## ") for line in lines
    )
    for file, test, kind in named:
        text = (repository / file).read_text(encoding="utf-8")
        assert f"def {test}(" in text and (not kind or f'"{kind}"' in text), (file, test, kind)

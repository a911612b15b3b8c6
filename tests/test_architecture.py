"""What holds for the whole project: imports go one way, the core stands alone, public names are explained."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import imlspike

PACKAGE = Path(imlspike.__file__).parent

# What each part of imlspike may import of the others: only what stands left of it in
# ops <- neurons <- layers <- models <- inference <- {training, evaluation, export, espnet} <- bin. When users
# ask for them, inference opens ESPnet's parts, too.
BELOW_MODELS = {"ops", "neurons", "layers"}
BELOW_INFERENCE = BELOW_MODELS | {"models", "losses", "data", "text"}
USES = {"training", "evaluation", "export", "espnet"}
MAY_IMPORT = {
    "ops": set(),
    "neurons": {"ops"},
    "layers": {"ops", "neurons"},
    "models": BELOW_MODELS | {"data", "text"},
    "losses": BELOW_MODELS | {"data"},
    "text": {"data"},
    "data": {"text"},
    **dict.fromkeys(USES, BELOW_INFERENCE | {"inference"}),
    "inference": BELOW_INFERENCE | {"espnet"},
    "bin": BELOW_INFERENCE | USES | {"inference"},
    "recipes": BELOW_INFERENCE | USES | {"inference", "bin"},
}
# Who may import these at the top of a file; everyone else's core installation has to do without them.
ONLY_IN = {"espnet": {"espnet"}, "espnet2": {"espnet"}, "nltk": {"espnet"}, "lightning": {"training"}}
NOT_CORE = "espnet espnet2 nltk lightning pytorch_lightning lhotse matplotlib tensorboard rich scipy".split()
MACHINE_PATH = re.compile(r"(?<![\w.}~])/(?:work|home|root|Users)/\w")


def modules() -> list[str]:
    """Dotted names of all modules of the package."""
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def parse(module: str) -> ast.Module:
    """The syntax tree of a module, which is not imported."""
    path = PACKAGE.parent.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.AST, package: str) -> set[str]:
    """Dotted names of all that a tree imports, anywhere in it; relative imports start from `package`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def part(module: str) -> str:
    """The part of the project a module belongs to: imlspike.neurons.lif is of neurons."""
    return (module.split(".") + [""])[1]


def wrong_arrows(module: str, names: set[str]) -> list[str]:
    """Which of the imported names a module may not import, and why."""
    own, wrong = part(module), []
    for name in sorted(names):
        top = name.partition(".")[0]
        if top in ("egs", "tests", "benchmarks"):
            wrong.append(f"{module} imports {name}: the package stands below {top}")
        elif top == "imlspike" and part(name) in MAY_IMPORT and own in MAY_IMPORT:
            if part(name) != own and part(name) not in MAY_IMPORT[own]:
                wrong.append(f"{module} imports {name}: {own} stands below {part(name)} or beside it")
        elif own not in ONLY_IN.get(top, {own}):
            wrong.append(f"{module} imports {name}: only imlspike.{' or '.join(ONLY_IN[top])} may")
    return wrong


def tracked_files(repository: Path) -> list[Path]:
    """All files under version control that are there."""
    result = subprocess.run(["git", "ls-files", "-z"], cwd=repository, capture_output=True, text=True)
    if result.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in result.stdout.split("\0") if name and (path := repository / name).is_file()]


def test_every_part_has_its_place():
    parts = {part(module) for module in modules()} - {""}
    assert parts <= MAY_IMPORT.keys(), "say in MAY_IMPORT what the new part may import"


@pytest.mark.parametrize("module", modules())
def test_imports_go_one_way(module):
    is_package = PACKAGE.parent.joinpath(*module.split(".")).is_dir()
    package = module if is_package else module.rpartition(".")[0]
    assert not wrong_arrows(module, imports(parse(module), package))


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("imlspike.neurons.lif", "from imlspike.layers import RepLinear", True),
        ("imlspike.neurons.lif", "from imlspike import layers", True),
        ("imlspike.neurons.lif", "from ..layers import RepLinear", True),
        ("imlspike.neurons.lif", "from .imls import IMLS", False),
        ("imlspike.data.audio", "def f():\n    import imlspike.models", True),
        ("imlspike.evaluation.energy", "import imlspike.espnet", True),
        ("imlspike.evaluation.energy", "import espnet2.tasks.asr", True),
        ("imlspike.evaluation.energy", "import egs.local", True),
        ("imlspike.bin.energy", "import imlspike.espnet, imlspike.evaluation, torch", False),
    ],
)
def test_a_wrong_arrow_is_seen(module, line, wrong):
    found = wrong_arrows(module, imports(ast.parse(line), module.rpartition(".")[0]))
    assert bool(found) is wrong


@pytest.mark.parametrize("module", [name for name in modules() if part(name) == "inference"])
def test_inference_opens_espnet_only_where_it_is_asked_for(module):
    nodes = [node for node in parse(module).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = imports(ast.Module(nodes, []), "imlspike.inference")
    assert not [name for name in names if part(name) == "espnet"]


def test_neurons_import_torch_only():
    allowed = {"torch", "imlspike", *sys.stdlib_module_names}
    for module in modules():
        if part(module) == "neurons":
            package = module if module == "imlspike.neurons" else "imlspike.neurons"
            assert {name.partition(".")[0] for name in imports(parse(module), package)} <= allowed, module


def test_the_core_imports_without_the_extras():
    """Every module but those that exist for an extra, in a process that can't import the extras."""
    core = [name for name in modules() if part(name) not in ("espnet", "training") and "__main__" not in name]
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


@pytest.mark.parametrize("module", modules())
def test_public_names_are_explained(module):
    tree = parse(module)
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
    silent = [node.name for node in public if not ast.get_docstring(node)]
    assert ast.get_docstring(tree), f"{module} has no docstring"
    assert not silent, f"{module}: no docstring for {', '.join(silent)}"


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

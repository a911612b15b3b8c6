"""run.sh and .ci/run, on a copy of the project's front with a stand-in for Python's venv and pip."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = "awk bash cat cp dirname env flock g++ grep mkdir mv paste rm sleep tail tee".split()
CHECKERS = ("ruff", "lint-imports", "shellcheck")
FRONT = ("run.sh", "setup.cfg", "setup.py", "pyproject.toml", "constraints.txt")

# Does as python3.11 does, but makes a .venv by copying itself there, and notes pip's calls only.
FAKE_PYTHON = f"""#!/usr/bin/env bash
case "$*" in
    "-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install"*)
        echo "$*" >>"$PIP_CALLS"
        sleep "${{PIP_SLEEP:-0}}"
        printf "${{PIP_SAYS:-}}"
        exit "${{PIP_STATUS:-0}}" ;;
    "-m pytest"* | "-m benchmarks"*) echo "python $*" ;;
    *) exec {sys.executable} "$@" ;;
esac
"""
OLD_PYTHON = "#!/usr/bin/env bash\n[[ $2 != *platform* ]] || { echo 3.8.10; exit; }\nexit 1\n"
TOY_RECIPE = 'printf "<%s>" "${PWD##*/}" "$@"; echo; command -v python\n'


class Front:
    """A folder with the front door and a toy recipe, a PATH with chosen tools, and a way to call it."""

    def __init__(self, folder: Path, repository: Path):
        self.root = folder / "a project"  # with a space, as users have
        self.bin = folder / "bin"
        self.pip_calls = folder / "pip_calls"
        self.bin.mkdir()
        self.root.mkdir()
        for name in FRONT:
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, self.root / name)
        for recipe in ("toy/asr1", "msu_ru_nsh/asr1"):
            self.write(f"egs/{recipe}/run.sh", TOY_RECIPE)
        for tool in TOOLS:
            if path := shutil.which(tool):
                (self.bin / tool).symlink_to(path)
        for source in ("ops/csrc/some.cpp", "bin/main.py", "bin/_files.py", "bin/toy_verb.py"):
            self.write(f"imlspike/{source}", "")
        self.stub("python3.11", FAKE_PYTHON)
        self.stub("imlspike", 'printf "imlspike"; printf "<%s>" "$@" "$PWD"; echo; command -v python\n')
        self.stub("df", "#!/usr/bin/env bash\nprintf 'head\\ndisk 0 0 50000000 0 /\\n'\n")
        for checker in (*CHECKERS, "coverage"):
            self.stub(checker, f'#!/usr/bin/env bash\necho "{checker} $*"\n')

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def stub(self, name: str, text: str) -> None:
        (self.bin / name).unlink(missing_ok=True)
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def environment(self, **extra: str) -> dict[str, str]:
        kept = {"HOME": os.environ.get("HOME", "/"), "PATH": str(self.bin), "PIP_CALLS": str(self.pip_calls)}
        return kept | extra

    def run(self, *arguments: str, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", str(self.root / "run.sh"), *arguments],
            env=self.environment(**extra), cwd=cwd or self.root, capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    def installations(self) -> int:
        calls = self.pip_calls.read_text().splitlines() if self.pip_calls.exists() else []
        return sum(" -e .[" in call for call in calls)


@pytest.fixture
def front(tmp_path, repository) -> Front:
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        pytest.skip("run.sh is for Python 3.11 and 3.12")
    return Front(tmp_path, repository)


def refused(result: subprocess.CompletedProcess, *words: str) -> None:
    """The call failed with exactly one line of error, which says these words, and no recipe ran."""
    assert result.returncode == 1, result
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("run.sh: error: "), result.stderr
    for word in words:
        assert word in lines[0]
    assert "<asr1>" not in result.stdout


def test_help_tells_every_command_and_makes_nothing(front):
    result = front.run("--help")
    assert result.returncode == 0 and result.stderr == ""
    commands = ("egs/<corpus>/<task>", "toy-verb", "test", "bench", "setup", "--active")
    for word in (*commands, "IMLSPIKE_PYTHON", "IMLSPIKE_WARNINGS", "--stage"):
        assert word in result.stdout
    assert not (front.root / ".venv").exists()


def test_without_arguments_the_main_job_runs_inside_the_environment(front):
    result = front.run()
    assert result.returncode == 0, result.stderr
    *_, arguments, python = result.stdout.splitlines()
    assert arguments == "<asr1>"
    assert python == str(front.root / ".venv/bin/python")


@pytest.mark.parametrize("recipe", ["egs/toy/asr1", "egs/toy/asr1/", "./egs/toy/asr1/run.sh"])
def test_a_recipe_gets_its_options_as_they_were_given(front, recipe):
    result = front.run(recipe, "--stage", "3", "--note", "two words")
    assert "<asr1><--stage><3><--note><two words>\n" in result.stdout


def test_another_script_of_a_recipe_is_named_in_full(front):
    front.write("egs/toy/asr1/other.sh", "echo other $*\n")
    assert "other --nj 2\n" in front.run("./egs/toy/asr1/other.sh", "--nj", "2").stdout
    refused(front.run("egs/toy/asr1/oter.sh"), "no recipe egs/toy/asr1/oter.sh")


def test_options_alone_go_to_the_main_job(front):
    assert "<asr1><--stage><2>\n" in front.run("--stage", "2").stdout


def test_it_runs_from_any_folder(front, tmp_path):
    assert front.run("egs/toy/asr1", cwd=tmp_path).returncode == 0
    assert not (tmp_path / ".venv").exists()


def test_test_checks_then_tests_and_bench_measures(front):
    lines = front.run("test", "-k", "two words").stdout.splitlines()
    scripts = "run.sh egs/msu_ru_nsh/asr1/run.sh egs/toy/asr1/run.sh"
    checks = ["ruff check .", "lint-imports --no-logo --no-cache", f"shellcheck --severity=warning {scripts}"]
    *done, tests, coverage = lines[-5:]
    assert done == checks and "coverage report" in coverage
    assert tests.startswith("python -m pytest") and tests.endswith("-k two words")
    assert front.run("bench", "--quick").stdout.splitlines()[-1] == "python -m benchmarks --quick"


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_failing_style_check_fails_the_tests(front, checker):
    front.stub(checker, "#!/usr/bin/env bash\nexit 3\n")
    result = front.run("test")
    assert result.returncode == 3 and "-m pytest" not in result.stdout


def test_the_second_call_installs_nothing(front):
    assert front.run("setup").returncode == 0
    second = front.run("egs/toy/asr1", PIP_STATUS="1")
    assert second.returncode == 0 and second.stdout.startswith("<asr1>")
    assert front.installations() == 1


@pytest.mark.parametrize("changed", [*FRONT[1:], "imlspike/ops/csrc/some.cpp"])
def test_changed_requirements_are_installed(front, changed):
    front.run("setup")
    with open(front.root / changed, "a") as file:
        file.write("# another line\n")
    front.run("setup")
    assert front.installations() == 2


def test_a_moved_project_is_installed_again(front):
    front.run("setup")
    front.root = front.root.rename(front.root.with_name("moved"))
    front.run("setup")
    assert front.installations() == 2


def test_a_failed_installation_is_not_taken_for_a_whole_one(front):
    front.run("setup")
    constraints = front.root / "constraints.txt"
    before = constraints.read_text()
    constraints.write_text(before + "# newer\n")
    refused(front.run("setup", PIP_SAYS="ERROR: odd thing\\n", PIP_STATUS="1"), "odd thing")
    constraints.write_text(before)  # back to what was installed, but the environment may be half changed
    assert front.run("setup").returncode == 0
    assert front.installations() == 3


def test_a_broken_environment_is_made_anew(front):
    front.run("setup")
    front.write(".venv/bin/python", "#!/usr/bin/env bash\nexit 1\n")
    assert "making .venv" in front.run("setup").stdout


def test_two_calls_at_once_install_once(front):
    if not shutil.which("flock"):
        pytest.skip("flock is not installed")
    environment = front.environment(PIP_SLEEP="1")
    command = ["bash", str(front.root / "run.sh"), "setup"]
    calls = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [call.wait(timeout=60) for call in calls] == [0, 0]
    assert front.installations() == 1


def test_progress_shows_what_is_downloaded(front):
    says = r"Collecting torch\n  Downloading torch-2.11.whl (530.6 MB)\nInstalling collected packages: x\n"
    result = front.run("setup", PIP_SAYS=says)
    assert "package 1: torch (530.6 MB)" in result.stdout and "installing 1 packages" in result.stdout
    assert (front.root / ".venv/imlspike-install.log").read_text() == 2 * says.replace(r"\n", "\n")


@pytest.mark.parametrize(("version", "replaced"), [("23.2.1", False), ("26.0.1", False), ("26.3", True)])
def test_a_pip_that_is_too_new_is_replaced(front, version, replaced):
    program = f"import pip; pip.__version__ = '{version}'; $2"
    says_version = f'    *pip.__version__*) exec {sys.executable} -c "{program}" ;;'
    front.stub("python3.11", FAKE_PYTHON.replace("    *)", says_version + "\n    *)"))
    assert front.run("setup").returncode == 0
    assert ("pip<=26.0" in front.pip_calls.read_text()) is replaced


def test_active_uses_the_environment_that_is_active(front, tmp_path):
    (tmp_path / "other/bin").mkdir(parents=True)
    shutil.copy(front.bin / "python3.11", tmp_path / "other/bin/python")
    result = front.run("--active", "egs/toy/asr1", VIRTUAL_ENV=str(tmp_path / "other"))
    assert result.stdout.splitlines()[-1] == str(tmp_path / "other/bin/python")
    assert not (front.root / ".venv").exists()


def test_python_absent(front):
    (front.bin / "python3.11").unlink()
    refused(front.run(), "Python 3.11 or 3.12 is needed", "found is: none", "apt install", "IMLSPIKE_PYTHON")


def test_python_too_old(front):
    (front.bin / "python3.11").unlink()
    front.stub("python3", OLD_PYTHON)
    refused(front.run(), "python3 is 3.8.10", "apt install", "IMLSPIKE_PYTHON")


def test_python_named_but_too_old(front):
    front.stub("mine", OLD_PYTHON)
    refused(front.run(IMLSPIKE_PYTHON="mine"), "mine is 3.8.10", "IMLSPIKE_PYTHON")


def test_python_without_venv(front):
    front.stub("python3.11", FAKE_PYTHON.replace('"-m venv"*) mkdir', '"-m venv"*) exit 1; mkdir'))
    refused(front.run(), "can't make a virtual environment", "python3.11-venv", "--active")


def test_disk_too_small(front):
    front.stub("df", "#!/usr/bin/env bash\nprintf 'head\\ndisk 0 0 3500000 0 /\\n'\n")
    refused(front.run(), "has 3 GB free", "needs 9 GB", "free some space")
    assert not (front.root / ".venv").exists()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("WARNING: Retrying: Temporary failure in name resolution\\nERROR: No match", "PIP_INDEX_URL"),
        ("ERROR: Could not install: [Errno 28] No space left on device", "disk filled up"),
        ("Collecting x\\nERROR: Cannot install a and b\\nmore", "ERROR: Cannot install a and b"),
    ],
)
def test_pip_failures_are_explained_in_a_line(front, says, words):
    refused(front.run(PIP_SAYS=says + "\\n", PIP_STATUS="1"), words)


def test_no_network(front):
    """With the real venv and pip, and a package index at which nothing listens."""
    front.stub("python3.11", f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n')
    nowhere = {"PIP_CONFIG_FILE": "/dev/null", "PIP_INDEX_URL": "http://127.0.0.1:9", "PIP_RETRIES": "1"}
    refused(front.run(**nowhere), "no package index can be reached", "proxy", "PIP_INDEX_URL", "again")


def test_no_compiler(front):
    """Without pyworld, which has to be compiled, and without a compiler."""
    front.stub("python3.11", FAKE_PYTHON.replace("    *)", "    *pyworld*) exit 1 ;;\n    *)"))
    (front.bin / "g++").unlink(missing_ok=True)
    refused(front.run(), "C++ compiler", "apt install g++")


def test_unknown_recipe_is_refused_before_anything_is_installed(front):
    refused(front.run("egs/tyo/asr1"), "no recipe egs/tyo/asr1", "egs/msu_ru_nsh/asr1 egs/toy/asr1")
    assert not (front.root / ".venv").exists()


@pytest.mark.parametrize(
    ("unknown", "near"),
    [("tset", "test"), ("toy_verb", "toy-verb"), ("toyverb", "toy-verb"), ("toy/asr", "egs/toy/asr1")],
)
def test_an_unknown_command_names_the_nearest_before_anything_is_installed(front, unknown, near):
    refused(front.run(unknown), f"'{unknown}'", f"'{near}'", "--help")
    assert not (front.root / ".venv").exists()


@pytest.mark.parametrize("inner", ["main", "-files", "_files"])
def test_what_is_no_verb_is_refused(front, inner):
    refused(front.run(inner), f"'{inner}'")


def test_a_verb_runs_inside_the_environment_where_the_user_stands(front, tmp_path):
    result = front.run("toy-verb", "--note", "two words", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    python = front.root / ".venv/bin/python"
    assert result.stdout == f"imlspike<toy-verb><--note><two words><{tmp_path}>\n{python}\n"
    assert "installing into" in result.stderr


def test_operators_are_compiled_in_the_environment_once_torch_is_there(front):
    front.run("setup")
    first, second = [call for call in front.pip_calls.read_text().splitlines() if " -e " in call]
    assert "--no-build-isolation" not in first
    assert {"--no-build-isolation", "--no-deps"} <= set(second.split())


def test_operators_that_could_not_be_compiled_are_told_in_a_line(front):
    result = front.run("setup", PIP_SAYS="x\\n  imlspike: no compiled operators (why); more\\n")
    assert result.returncode == 0, result.stderr
    assert "\nimlspike: no compiled operators (why); more\n" in result.stdout


def test_active_without_an_environment(front):
    refused(front.run("--active"), "no environment is active", "leave --active out")


def test_active_with_an_old_python(front, tmp_path):
    (tmp_path / "bin").mkdir(exist_ok=True)
    front.stub("python", OLD_PYTHON)
    refused(front.run("--active", VIRTUAL_ENV=str(tmp_path)), "no Python 3.11 or 3.12", "leave --active out")


def test_ci_runs_the_tests_with_the_real_audio_beside_the_project(front, repository, tmp_path):
    front.write(".ci/run", (repository / ".ci/run").read_text())
    front.write("run.sh", '#!/usr/bin/env bash\necho "$*" "${IMLSPIKE_TEST_DATA:-none}"\n')
    command = ["bash", str(front.root / ".ci/run")]
    kwargs = {"env": front.environment(), "cwd": tmp_path, "capture_output": True, "text": True}
    assert subprocess.run(command, **kwargs).stdout == "test none\n"
    (tmp_path / "shared/data").mkdir(parents=True)
    assert subprocess.run(command, **kwargs).stdout == f"test {tmp_path / 'shared/data'}\n"


def test_shell_scripts_pass_shellcheck(repository):
    """The front door without any remark; recipes, whose files share variables, without an error."""
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    recipes = [path for path in repository.glob("egs/**/*.sh") if "downloads" not in path.parts]
    for options, scripts in ([], ["run.sh", ".ci/run"]), (["--severity=error"], recipes):
        command = [shellcheck, *options, *scripts]
        if scripts:
            result = subprocess.run(command, cwd=repository, capture_output=True, text=True)
            assert result.returncode == 0, result.stdout

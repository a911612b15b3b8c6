"""The command line `imlspike` and its verb `info`."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from imlspike.bin import info, main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["inof"], "unknown verb 'inof'; did you mean 'info'?"),
        (["Info", "--help"], "unknown verb 'Info'; did you mean 'info'?"),
        (["zzzzzz"], "there are: config,"),
        ([], "usage: imlspike <verb>"),
    ],
)
def test_an_unknown_verb_names_the_nearest_or_all(capsys, arguments, told):
    assert main.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and told in shown.err and (len(shown.err.splitlines()) == 1 or not arguments)


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (3, 3)])
def test_a_verb_is_imported_when_it_is_run_and_gets_its_arguments(monkeypatch, returned, status):
    asked, got = [], []
    verb = SimpleNamespace(main=lambda argv: got.append(argv) or returned)
    monkeypatch.setattr(main, "verbs", lambda: {"some-verb": ""})
    monkeypatch.setattr(main, "import_module", lambda name: asked.append(name) or verb)
    assert main.main(["some-verb", "--stage", "a b"]) == status
    assert asked == ["imlspike.bin.some_verb"] and got == [["--stage", "a b"]]


@pytest.mark.parametrize("verb", [verb for verb in main.verbs()])
def test_every_verb_explains_itself(verb, capsys):
    assert main.verbs()[verb], f"{verb}: the module's docstring has no first line"
    with pytest.raises(SystemExit) as ended:
        main.main([verb, "--help"])
    assert ended.value.code == 0
    assert "usage:" in capsys.readouterr().out


WARNING_VERB = """
import logging, subprocess, sys, types, warnings
from imlspike.bin import main

def verb(argv):
    warnings.warn("from python", FutureWarning)
    logging.warning("from the root log")
    logging.getLogger("library").warning("from a log")
    subprocess.run([sys.executable, "-c", "import warnings; warnings.warn('from a child')"])
    logging.getLogger("imlspike.data").warning("our own")

main.import_module = lambda name: types.SimpleNamespace(main=verb)
sys.argv = ["imlspike", "info"]
sys.exit(main.main())
"""


@pytest.mark.parametrize("shown", [False, True])
def test_only_our_own_warnings_reach_the_user_unless_asked_for(shown):
    done = subprocess.run(
        [sys.executable, "-c", WARNING_VERB], env=os.environ | {"IMLSPIKE_WARNINGS": str(int(shown))},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0 and "our own" in done.stderr
    told = [source in done.stderr for source in ("from python", "the root log", "from a log", "from a child")]
    assert told == [shown] * 4, done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["transcribe", "--help"]])
def test_help_imports_nothing_heavy(arguments):
    program = (
        "import atexit, sys; from imlspike.bin.main import main\n"
        "atexit.register(lambda: print({'torch', 'numpy', 'espnet2'} & set(sys.modules), file=sys.stderr))\n"
        f"main({arguments})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and "usage:" in done.stdout
    assert done.stderr == "set()\n"


def test_info_tells_versions_and_what_is_missing(monkeypatch, capsys):
    listed = ["torch>=2.6", 'no-such-thing>=1; extra == "asr"', 'torch>=2; extra == "all"']
    monkeypatch.setattr(info.importlib.metadata, "requires", lambda name: listed)
    assert info.main(["--quiet"]) == 0
    shown = capsys.readouterr().out
    assert f"python   {sys.version.split()[0]}" in shown
    assert f"core: installed\n  torch            {torch.__version__.partition('+')[0]}" in shown
    assert "asr: missing no-such-thing: pip install 'imlspike[asr]'" in shown


def test_info_without_an_installation_says_so(monkeypatch):
    def absent(name):
        raise info.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(info.importlib.metadata, "requires", absent)
    assert "run from source" in info.extras()[0]

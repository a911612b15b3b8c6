"""The command line `imlspike` and its verb `info`."""

import sys
from types import SimpleNamespace

import pytest
import torch

from imlspike.bin import info, main


@pytest.mark.parametrize("arguments", [["inof"], ["Info", "--help"]])
def test_an_unknown_verb_names_the_nearest(capsys, arguments):
    assert main.main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and len(shown.err.splitlines()) == 1
    assert repr(arguments[0]) in shown.err and "did you mean 'info'?" in shown.err


def test_a_verb_like_no_other_gets_the_list(capsys):
    assert main.main(["zzzzzz"]) == 2
    assert "there are:" in (shown := capsys.readouterr().err) and "info" in shown


def test_without_a_verb_the_usage_is_an_error(capsys):
    assert main.main([]) == 2
    assert "info" in capsys.readouterr().err


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


def test_info_tells_versions_and_what_is_missing(monkeypatch, capsys):
    listed = ["torch>=2.6", 'no-such-thing>=1; extra == "asr"', 'torch>=2; extra == "all"']
    monkeypatch.setattr(info.importlib.metadata, "requires", lambda name: listed)
    info.main([])
    shown = capsys.readouterr().out
    assert f"python   {sys.version.split()[0]}" in shown
    assert f"core: installed\n  torch            {torch.__version__.partition('+')[0]}" in shown
    assert "asr: missing no-such-thing: pip install 'imlspike[asr]'" in shown


def test_info_without_an_installation_says_so(monkeypatch):
    def absent(name):
        raise info.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(info.importlib.metadata, "requires", absent)
    assert "run from source" in info.report()

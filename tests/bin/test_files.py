"""Options and errors that verbs share."""

import argparse
import subprocess
import sys

import pytest
import torch

from imlspike.bin._command import add_model_options, command


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="imlspike some")
    add_model_options(parser)
    return parser.parse_args(["--model", "exp", *options])


WRONG = {"--threads": ("-1", "x", "1.5", "5000", "9" * 5000), "--device": ("foo", "cuda:x", "", "cuda:99")}
WRONG["--device"] += () if torch.cuda.is_available() else ("cuda",)


@pytest.mark.parametrize(("option", "value"), [(name, word) for name in WRONG for word in WRONG[name]])
def test_a_wrong_option_is_an_error_that_names_it(option, value, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(option, value)
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert error.startswith(f"imlspike some: error: argument {option}: ") and value in error


def test_what_is_there_is_taken():
    args = parse("--threads", "1", "--device", "cpu:0")
    assert (args.threads, args.device) == (1, "cpu:0")
    assert (parse().threads, parse().device) == (0, "cpu")


@pytest.mark.parametrize(
    ("raised", "status", "told"),
    [
        (ValueError("a.wav: empty"), 1, "test-files: error: a.wav: empty\n"),
        (RuntimeError("a process was killed"), 1, f"a process was killed (at {__file__}:"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (None, 0, ""),
    ],
)
def test_an_error_is_one_line_and_a_status(raised, status, told, capsys, monkeypatch):
    @command
    def main(argv=None):
        if raised:
            raise raised

    assert main() == status
    shown = capsys.readouterr().err
    assert told in shown and len(shown.splitlines()) == bool(raised)
    monkeypatch.setenv("IMLSPIKE_WARNINGS", "1")
    if status == 1:
        with pytest.raises(type(raised)):
            main()


def test_a_verbs_module_runs_alone():
    done = subprocess.run(
        [sys.executable, "-m", "imlspike.bin.fit", "none", "--output-dir", "out"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.startswith("fit: error: none: no wav.scp")

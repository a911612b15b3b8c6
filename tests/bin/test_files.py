"""Options of the verbs that open a model."""

import argparse

import pytest
import torch

from imlspike.bin._command import add_model_options


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="imlspike some")
    add_model_options(parser)
    return parser.parse_args(["--model", "exp", *options])


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--threads", "-1"),
        ("--threads", "x"),
        ("--threads", "1.5"),
        ("--threads", "5000"),
        ("--threads", "9" * 5000),
        ("--device", "foo"),
        ("--device", "cuda:x"),
        ("--device", ""),
        ("--device", "cuda:99"),
    ],
)
def test_a_wrong_option_is_an_error_that_names_it(option, value, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(option, value)
    error = capsys.readouterr().err.splitlines()[-1]
    assert ended.value.code == 2
    assert error.startswith(f"imlspike some: error: argument {option}: ") and value in error


def test_cuda_without_a_gpu_is_an_error(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit):
        parse("--device", "cuda")
    assert "argument --device: no cuda here" in capsys.readouterr().err.splitlines()[-1]


def test_what_is_there_is_taken():
    args = parse("--threads", "1", "--device", "cpu:0")
    assert (args.threads, args.device) == (1, "cpu:0")
    assert (parse().threads, parse().device) == (0, "cpu")

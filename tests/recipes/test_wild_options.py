"""Command lines of all recipes and verbs, wild ones: read, or refused in a line; nothing is run or made."""

import argparse
import contextlib
import io
import sys
from dataclasses import fields
from functools import cache
from importlib import import_module
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.bin import main as imlspike
from imlspike.recipes import __main__, data, processes, runner
from tests.recipes.fakes import EGS, words_of

VALUES = """ 1e9 1.5 nan inf 0x10 true no none all any é ' " \\ $HOME * .. / ~ - -- -h
a/b /dev/null /nowhere conf conf/quick.yaml {model} {0} { %s = a= =b a.b=c max_epoch=nan max_epoch=[ encoder=x
max_epoch=&a max_epoch=!!bool encoder_conf.kappa=0.5 encoder_conf=1 --nope --nj= : flac
encoder_conf.=1 optim_conf.lr=-1 feats_extract_conf= feats_extract_conf.fs=x generator.dim=0 generator=1 x:y
generator.neuron=x trainer.steps=-1 optimizer.lr=nan best_model_criterion=1 frontend_conf.hop_length=x a:b:c
a:conf/quick.yaml localhost joint russian espeak:xx --help base lhotse msu_ru_nsh \u202e 🎉""".split()
VALUES += ["", " ", "\n", "a\nb", "\0", "\udcff", "9" * 5000, "a" * 5000, "14 15", "--beam-size 0", "a:b a:b"]
SCRIPTS = sorted((str(path.parent.relative_to(EGS)), path.name) for path in EGS.glob("*/*/*.sh"))


class Read(BaseException):
    """The end of what is done here: the words are read."""


@cache
def verbs():
    """The verbs and the options that --help of each names; the trainer has its own reader."""
    found = {}
    for verb in imlspike.verbs().keys() - {"train-vocoder"}:
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as told:
            imlspike.main([verb, "--help"])
        found[verb] = {word.strip("[],.="): [] for word in told.getvalue().split() if "--" in word[:3]}
    return found


def command_line(names, random):
    """Some options with some values, of which each has fitting ones; some misspelled, some twice."""
    words = []
    for _ in range(random.choice([1, 1, 2, 5])):
        name = random.choice([*names])
        value = random.choice(names[name] if names[name] and random.random() < 0.5 else VALUES)
        name = name[: -random.randrange(1, 3)] if random.random() < 0.05 else name
        words += [f"{name}={value}"] if random.random() < 0.3 else [name, value]
        words += random.choice([[], [], [], [], [], words[-2:], [random.choice(VALUES)]])
    return words


def read_recipe(random, folder):
    """Status, what is told on stderr, and the words."""
    recipe, script = random.choice(SCRIPTS)
    own, names = words_of(recipe, script), {}
    for one in fields(import_module(f"imlspike.recipes.{own[0]}").recipe.options):
        names[f"--{one.name}"] = [
            *one.metadata["choices"],
            str(one.default),
            "true" if one.type is bool else "1",
        ]
    del names["--dry_run"], names["--workdir"]
    words = command_line(names, random)
    last = ["--workdir", str(folder / "a b"), "--dry_run", random.choice(["true", "false"])]
    with contextlib.ExitStack() as during:
        for where, name, change in (
            (data, "count_gpus", {"new": lambda: len(words) % 3}),
            (processes.children, "start", {"side_effect": AssertionError("a program starts")}),
            (runner.Run, "go", {"side_effect": Read}),
        ):
            during.enter_context(mock.patch.object(where, name, **change))
        try:
            return __main__.main([*own, *words, *last]), words
        except Read:
            (folder / "a b").rmdir()
            return 0, words


def read_verb(random):
    """The same of a verb."""
    verb = random.choice(sorted(verbs()))
    words, parse = command_line(verbs()[verb] | {"x.wav": []}, random), argparse.ArgumentParser.parse_args

    def parse_args(self, *given, **named):
        raise Read(parse(self, *given, **named))

    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse_args):
        try:
            return imlspike.main([verb, *words]), words
        except Read:
            return 0, words
        except SystemExit as ended:
            return ended.code, words


@settings(max_examples=50)
@given(st.randoms(use_true_random=False))
def test_a_wild_command_line_is_read_or_refused(tmp_path_factory, random):
    """Status 0, or one line that names an option or the value that is wrong; nothing is made."""
    folder, is_recipe = tmp_path_factory.mktemp("fuzz"), random.random() < 0.7
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        status, words = read_recipe(random, folder) if is_recipe else read_verb(random)
    told, named = err.getvalue(), ["--", "no model", "override of", "names a model's folder", *words]
    assert (told == "") == (status == 0) and not any(folder.iterdir()), told
    if is_recipe and status:  # a status of 1 tells what an earlier stage should have made
        assert told.count("\n") == 1 and len(told) < 2000, told
        assert status == 2 and any(one and one in told for one in named) or " needs " in told, told
    elif status:
        assert status == 2 and "error: " in told or told.count("\n") == 1 and "(at " not in told


@pytest.mark.parametrize(
    ("recipe", "words", "name"),
    [
        ("aishell/asr1", ["--corpus_dir", "a\nb"], "--corpus_dir: there is no a\\nb"),
        ("aishell/asr1", ["--cuda_cmd", "\\"], "--cuda_cmd"),
        ("aishell/asr1", ["--tokens_args", "english"], "--tokens_args"),
        ("aishell/asr1", ["--tokens_args", "--help"], "--tokens_args"),
        ("aishell/asr1", ["--prepare_args", "--nope"], "--prepare_args"),
        ("aishell/asr1", ["--asr_config", "a" * 5000], "--asr_config"),
        ("aishell/asr1", ["--train_set", "9" * 300], "--train_set"),
        ("aishell3/tts1", ["--test_set", "token_type=x"], "--test_set: token_type=x"),
        ("msu_ru_nsh/asr1", ["--train_args", "max_epoch=!!bool x"], "--train_args: 'x'"),
        ("msu_ru_nsh/asr1", ["--train_args", "max_epoch=!!bool"], "max_epoch=!!bool: not usable"),
        ("msu_ru_nsh/asr1", ["--train_args", "feats_extract_conf="], "--train_args feats_extract_conf"),
        ("msu_ru_nsh/voc1", ["--config", ".."], "Is a directory"),
        ("msu_ru_nsh/tts1", ["--nj", "9" * 5000], "--nj"),
    ],
)
def test_what_was_found_is_refused_in_a_line(recipe, words, name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert __main__.main([*words_of(recipe), *words, "--workdir", str(tmp_path / "work")]) == 2
    told = capsys.readouterr().err
    assert name in told and told.count("\n") == 1 and len(told) < 2000, sys.stderr.write(told)
    assert not any(tmp_path.iterdir())

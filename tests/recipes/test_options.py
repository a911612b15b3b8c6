"""Options: what a command line gives, what is refused with the way out, and what --help shows."""

from dataclasses import dataclass

import pytest

from imlspike.recipes.options import OptionError, Options, existing, option, parse, usage


@dataclass
class Toy(Options):
    token_type: str = option("char", "units", "char bpe")
    modes: list = option("greedy joint", "searches", "greedy joint")
    note: str = option("", "words")
    longest: float = option(20.0, "seconds")
    share: float = option(0.05, "share", most=1)
    more: list = option("a", "more", empty=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--stage 3", {"stage": 3}),
        ("--stage=3 --token-type bpe", {"stage": 3, "token_type": "bpe"}),
        ("--note=a=b", {"note": "a=b"}),
        ("--note= --more=", {"note": "", "more": []}),
        ("--dry_run", {"dry_run": True}),
        ("--dry_run --nj 4", {"dry_run": True, "nj": 4}),
        ("--dry_run false", {"dry_run": False}),
        ("--longest 0.5 --modes joint", {"longest": 0.5, "modes": ["joint"]}),
    ],
)
def test_options_hold_what_was_given(words, expected):
    assert parse(Toy, words.split()) == (expected, False)
    assert Toy().modes == ["greedy", "joint"]


def test_a_value_may_hold_anything():
    assert parse(Toy, ["--note", "--max_epoch 2 | x=$HOME `id`"])[0]["note"] == "--max_epoch 2 | x=$HOME `id`"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--stge 3", "--stge; did you mean --stage"),
        ("--tokentype=bpe", "did you mean --token_type"),
        ("--ngpus=2", "did you mean --ngpu"),
        ("--qqqq 3", "--qqqq"),
        ("--stage", "--stage needs a value"),
        ("stage", "'stage'"),
        ("--stage two", "--stage is 'two'"),
        ("--nj 0", "--nj is '0'"),
        ("--longest 1.5s", "--longest is '1.5s'"),
        ("--share 7", "--share is '7'; .* from 0 to 1"),
        ("--modes=", "--modes is empty"),
        ("--token_type=", "--token_type is empty"),
        ("--longest nan", "--longest is 'nan'"),
        ("--token_type phone", "'phone'; expected one of: char bpe"),
        ("--modes=beam", "'beam'; expected one of: greedy joint"),
        ("--dry_run yes", "--dry_run is 'yes'; expected one of: true false"),
    ],
)
def test_a_wrong_option_is_named_with_the_way_out(words, message):
    with pytest.raises(OptionError, match=message.replace("?", r"\?")):
        parse(Toy, words.split())


def test_help_shows_the_defaults_of_the_recipe():
    own, _ = parse(Toy, ["--token_type", "bpe", "--modes", "joint"])
    _, help = parse(Toy, ["--stage", "3", "--help"])
    shown = {line.split()[0]: line for line in usage(Toy, own).splitlines()[1:]}
    assert help and shown["--token_type"].endswith("[bpe]") and shown["--modes"].endswith("[joint]")
    assert shown["--stage"].endswith("[1]") and shown["--dry_run"].endswith("[false]")


def test_unknown_options_can_be_kept_for_another_program():
    kept = []
    assert parse(Toy, ["--colour", "blue", "--nj", "4", "--size=3"], kept) == ({"nj": 4}, False)
    assert kept == ["--colour", "blue", "--size", "3"]


def test_a_file_is_looked_for_here_and_in_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert existing("conf/quick.yaml", "--config").endswith("/conf/quick.yaml")
    with pytest.raises(
        OptionError, match=r"--config: there is no conf/quik.yaml, .* did you mean conf/quick.yaml\?"
    ):
        existing("conf/quik.yaml", "--config")
    for wild in ("\0/a", "a" * 5000 + "/b", "/nowhere/c", ""):
        with pytest.raises(OptionError, match="there is no"):
            existing(f"{wild} ", "--config")

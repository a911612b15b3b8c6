"""The stage runner on a toy recipe, in process: what is done, skipped, refused, and why."""

import fcntl
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from imlspike.recipes.options import OptionError, Options, option
from imlspike.recipes.processes import RecipeError
from imlspike.recipes.runner import Needs, Recipe, Run, difference

calls = []
running, most, lock = 0, 0, threading.Lock()


@dataclass
class Toy(Options):
    size: int = option(1, "size")
    folder: str = option("data", "of the text")
    in_paths = "folder"
    names: list = option("a b", "models")
    resume: str = option("true", "", "true false anyway")
    fails: str = option("", "name that fails")
    epoch: str = option("", "of the model that decodes")


recipe = Recipe(Toy)


@recipe.stage(1)
def prepare(o):
    """Data."""
    yield Needs(["source"], [f"{o.folder}/text"], o.pick("size"))
    calls.append("prepare")
    write(f"{o.folder}/text", Path("source").read_text())


@recipe.stage(2, when=lambda o: "not asked for")
def left_out(o):
    """Left out."""
    yield Needs()
    calls.append("left out")


@recipe.stage(3, each=lambda o: [(name,) for name in o.names], jobs=lambda o: o.nj)
def train(o, name):
    """Training."""
    global running, most
    exp = f"exp/{name}"
    settings, restart = {"model": {"size": o.size}}, [f"{exp}/checkpoint", "checkpoint", "*.pth"]
    made, results = [f"{exp}/model", f"{exp}/*.pth"], [f"{exp}/decode_*", "exp/scores"]
    yield Needs([f"{o.folder}/text"], made, settings, restart, results=results)
    with lock:
        running, most = running + 1, max(most, running + 1)
    calls.append(f"train {name}{' on' if Path(f'{exp}/checkpoint').exists() else ''}")
    write(f"{exp}/checkpoint", "1")
    threading.Event().wait(0.05)
    with lock:
        running -= 1
    if name == o.fails:
        raise RecipeError(f"{name} is odd")
    write(f"{exp}/model", str(o.size))


@recipe.stage(4)
def report(o):
    """Report."""
    yield Needs([f"exp/{name}/model" for name in o.names], always=True)
    calls.append("report")


@recipe.stage(5, when=lambda o: "" if o.epoch else "the average")
def decode(o):
    """Decoding."""
    yield Needs([f"exp/{name}/{o.epoch}.pth" for name in o.names], ["exp/text"])
    write("exp/text", "")


def write(path, text):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("source", "one")
    calls.clear()


def go(**options) -> list[str]:
    """The calls of a run."""
    calls.clear()
    Run(recipe, Toy(**options)).go()
    return sorted(calls)


ALL = ["prepare", "report", "train a", "train b"]


def test_all_is_done_once_and_what_is_complete_is_skipped_with_the_reason(capsys):
    assert go() == ALL
    capsys.readouterr()
    assert go() == ["report"]
    told = capsys.readouterr().out
    assert "a: skipped because inputs and settings are those of" in told and "exp/a/.done/train.json" in told
    assert "not asked for" in told


def test_another_content_is_noticed_and_the_same_content_at_another_time_is_not(capsys):
    go()
    write("source", "one")
    assert go() == ["report"]
    write("source", "two")
    assert go(resume="anyway") == ["prepare", "report", "train a on", "train b on"]
    assert "source has changed" in capsys.readouterr().out


def test_a_changed_setting_is_named_and_a_missing_output_made_anew(capsys):
    go()
    refusal = "exp/a/checkpoint .*model.size was 1 and is 2.*--resume false"
    with pytest.raises(RecipeError, match=refusal):
        go(size=2, names="a")
    assert calls == [], "refused at once"
    with pytest.raises(RecipeError, match=refusal):
        Run(recipe, Toy(size=2, names="a")).tell()
    told = capsys.readouterr().out
    assert "data: would run: size was 1 and is 2" in told and "a: would be refused: exp/a/checkpoint" in told
    assert go(size=2, names="a", resume="anyway") == ["prepare", "report", "train a on"]
    Path("exp/a/model").unlink()
    assert go(size=2, names="a") == ["report", "train a on"], (
        "a checkpoint of the same settings is gone on from"
    )
    assert "exp/a/model is missing" in capsys.readouterr().out


def test_a_null_is_another_setting_than_none_said():
    """As grad_clip: null, where ESPnet has a default."""
    about = {"inputs": {}, "settings": {"encoder": "x"}}
    now = {"inputs": {}, "settings": {"encoder": "x", "grad_clip": None}}
    assert len(difference(about, now)) == len(difference(now, about)) == 1
    assert difference(now, now) == []


def test_resume_false_begins_again_although_all_is_complete():
    go()
    write("exp/a/3epoch.pth", "")
    assert go(names="a", resume="false") == ["report", "train a"]
    assert not Path("exp/a/3epoch.pth").exists()


def test_a_step_that_fails_is_not_taken_for_done_and_the_others_end(capsys):
    with pytest.raises(RecipeError, match=r"(?s)a is odd.*stopped in stage 3 \(training\)"):
        go(fails="a")
    assert sorted(calls) == ["prepare", "train a", "train b"]
    assert go() == ["report", "train a on"]


def test_items_run_side_by_side_up_to_the_limit():
    global most
    for nj in (1, 2):
        most = 0
        go(names="a b c d", nj=nj, size=nj, resume="anyway")
        assert most == nj


def test_a_dry_run_says_what_would_be_done_and_why_and_does_nothing(capsys):
    Run(recipe, Toy(stage=1)).tell()
    assert calls == [] and "data: would run: not done before" in capsys.readouterr().out
    go()
    write("source", "two")
    calls.clear()
    Run(recipe, Toy()).tell()
    told = capsys.readouterr().out
    assert calls == [] and "data: would run: source has changed" in told and "left out: not asked for" in told
    assert "a: would run: if stage 1 changes data/text" in told


def test_a_stage_without_its_input_says_at_once_which_stage_makes_it():
    with pytest.raises(
        RecipeError, match=r"^stage 3 \(training\) needs data/text, which stage 1 \(data\) makes"
    ):
        go(stage=3)
    Path("source").unlink()
    with pytest.raises(RecipeError, match="^stage 1 .* needs source, which isn't there$"):
        go()
    assert calls == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": 99}, "--stage is 99; there are stages 1 to 5"),
        ({"stop_stage": 6}, "--stop_stage is 6"),
        ({"skip_stages": "1 x"}, "--skip_stages: .* x"),
        ({"stage": 4, "stop_stage": 1}, "no stage is left"),
    ],
)
def test_stages_that_do_not_exist_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        go(**options)


def test_stages_can_be_chosen_and_skipped():
    assert go(stop_stage=1) == ["prepare"]
    assert go(stage=3, skip_stages="4") == ["train a", "train b"]


@pytest.mark.parametrize("name", [".done/train.lock", ".training"])
def test_two_calls_never_work_in_one_folder(name):
    go(stop_stage=1)
    write(f"exp/a/{name}", "")
    with open(f"exp/a/{name}") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RecipeError, match="another process is at work in exp/a"):
            go(stage=3)
    assert calls == ["train b"]


def test_a_step_that_leaves_an_output_out_is_refused():
    broken = Recipe(Toy)

    @broken.stage(1)
    def nothing(o):
        """Data."""
        yield Needs(makes=["data/text"])

    with pytest.raises(RecipeError, match="ended without data/text"):
        Run(broken, Toy()).go()


def test_what_was_made_of_earlier_weights_is_removed_before_a_training_changes_them(capsys):
    go()
    files = [Path("exp", name) for name in ("a/decode_x/score.json", "b/decode_x/score.json", "scores")]

    def make():
        for file in files:
            write(file, "old")
        capsys.readouterr()

    make()
    assert go(names="a") == ["report"] and all(map(Path.exists, files))
    assert "train a" in go(names="a", resume="false")
    assert [file.exists() for file in files] == [False, True, False]
    assert "exp/a/decode_x exp/scores" in capsys.readouterr().out
    make()
    with pytest.raises(RecipeError, match="model.size"):
        go(names="a", size=2)
    assert all(map(Path.exists, files)), "a training that is refused changes no weights"
    go(size=2, resume="anyway", nj=2)
    assert not any(map(Path.exists, files))


def test_other_inputs_are_told_by_the_option_that_names_them(capsys):
    go(names="a")
    with pytest.raises(RecipeError, match="data: --folder was data and is other. "):
        go(names="a", folder="other")
    assert calls == []


def test_a_file_of_a_pattern_that_is_not_there_is_answered_with_those_that_are(capsys):
    with pytest.raises(RecipeError, match="a needs|needs exp/a/9.pth, which isn't there"):
        go(names="a", epoch="9")  # known only once the training is done
    assert calls == ["prepare", "train a", "report"]
    write("exp/a/3.pth", "")
    for stage in (1, 5):
        with pytest.raises(RecipeError, match="needs exp/a/9.pth, which isn't there; there are: 3.pth$"):
            go(names="a", epoch="9", stage=stage)
        assert calls == []
    go(names="a", epoch="3")


@pytest.mark.parametrize(
    ("resume", "told"), [("true", "goes on from there$"), ("false", "leave --resume false away")]
)
def test_what_stops_a_run_is_told_with_the_command_that_goes_on(resume, told):
    with pytest.raises(RecipeError, match=told):
        go(fails="a", resume=resume)
    assert "goes on from exp/a/checkpoint" in next(iter(recipe.steps[2].items(Toy()))).reason()

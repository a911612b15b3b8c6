"""The shell functions that the stage drivers share, and the follower of training logs."""

import doctest
import importlib.util
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "egs" / "TEMPLATE" / "utils"


def bash(script: str, *args: str, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Run a script that has the two libraries, as `recipe.sh ARGS`."""
    head = f"set -euo pipefail; python={sys.executable}; . {UTILS}/options.sh; . {UTILS}/jobs.sh\n"
    command = ["bash", "-c", head + script, "recipe.sh", *args]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


OPTIONS = 'option stage 1 "first"; option token_type char "units"; option note "" "words"; '


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], "1|char|"),
        (["--stage", "3"], "3|char|"),
        (["--stage=3", "--token-type", "bpe"], "3|bpe|"),
        (["--note", "--max_epoch 2 | x=$HOME `id`"], "1|char|--max_epoch 2 | x=$HOME `id`"),
        (["--note="], "1|char|"),
        (["--note=a=b"], "1|char|a=b"),
    ],
)
def test_options_hold_what_was_given(args, expected):
    done = bash(OPTIONS + 'parse_options "$@"; printf "%s|%s|%s" "$stage" "$token_type" "$note"', *args)
    assert (done.returncode, done.stdout) == (0, expected)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--stge", "3"], "unknown option --stge; did you mean --stage?"),
        (["--tokentype=bpe"], "did you mean --token_type?"),
        (["--qqqq", "3"], "unknown option --qqqq (--help"),
        (["--stage"], "--stage needs a value"),
        (["stage"], "unexpected argument 'stage'"),
        (["--PATH", "x"], "unknown option --PATH"),
        (["--stage", "two"], "--stage is 'two'; expected a whole number"),
        (["--stage", "0"], "--stage is 0; expected at least 1"),
        (["--note", "1.5s"], "--note is '1.5s'; expected a number"),
        (["--token_type", "phone"], "--token_type is 'phone'; expected one of: char bpe"),
    ],
)
def test_a_wrong_option_is_named_with_the_way_out(args, message):
    checks = "whole_number stage; at_least_one stage; decimal_number note; one_of token_type char bpe"
    done = bash(f'{OPTIONS} note=0.5; parse_options "$@"; {checks}', *args)
    assert done.returncode == 2 and message in done.stderr and done.stdout == ""


def test_options_of_the_calling_script_are_known_to_the_one_it_calls():
    script = (
        'option model quick "m"; parse_options --keep-unknown "$@"; echo "$model ${#passed_on[@]}"\n'
        f'bash -c \'. {UTILS}/options.sh; {OPTIONS} parse_options "$@"\' driver.sh "${{passed_on[@]}}"'
    )
    passed = bash(script, "--model", "full", "--stage", "2")
    assert (passed.returncode, passed.stdout) == (0, "full 2\n")
    assert "did you mean --model?" in bash(script, "--modle", "full").stderr
    shown = bash(script, "--help").stdout
    assert "--model" in shown and "--token_type" in shown


def test_stages_run_between_the_first_and_the_last_unless_skipped():
    script = 'stage=2 stop_stage=11 skip_stages="1 3"; for n in 1 2 3 4 10 11 12; do stage $n x || true; done'
    done = bash(script)
    assert [line.split()[2] for line in done.stdout.splitlines()] == ["2:", "4:", "10:", "11:"]


def test_once_runs_again_only_for_another_key_or_after_a_failure(tmp_path):
    def runs(key: str, command: str) -> int:
        done = bash(f"step() {{ echo ran >> count; {command}; }}; once mark '{key}' step", folder=tmp_path)
        assert (done.returncode == 0) == (command == "true")
        return (tmp_path / "count").read_text().count("ran")

    assert runs("one", "false") == 1
    assert runs("one", "true") == 2
    assert runs("one", "true") == 2
    assert runs("two", "false") == 3
    assert runs("one", "true") == 4, "what a failed run of another key left must not count as done"


def test_a_stamp_follows_the_file_that_a_link_names(tmp_path):
    script = "echo 1 > a; ln -s a link; stamp link; echo 12 > a; stamp link; stamp"
    first, second = bash(script, folder=tmp_path).stdout.splitlines()
    assert first.startswith("link 2 ") and second.startswith("link 3 ")


def test_a_count_is_told_with_the_time_that_the_rest_takes(tmp_path):
    script = """
    now=0
    date() { echo "$now"; }
    sleep() { now=$((now + 10)); [ "$now" -le 30 ]; }
    printf '%s\n' x y x > log.1
    matching() { echo x >> log.2; matching_lines "$@"; }
    follow_count 9 "lines of x" matching x "log.*" || true
    """
    done = bash(script, folder=tmp_path)
    assert [line.partition("]")[2].strip() for line in done.stdout.splitlines()] == [
        "4 of 9 lines of x, about 100 s left",  # one more in 20 s
        "5 of 9 lines of x, about 60 s left",
    ]


def test_fingerprint_follows_words_and_contents(tmp_path):
    (tmp_path / "file").write_text("a")
    words = ("x file", "x y file", "x 'y file'")
    prints = [bash(f"fingerprint {some}", folder=tmp_path).stdout for some in words]
    (tmp_path / "file").write_text("b")
    prints.append(bash("fingerprint x file", folder=tmp_path).stdout)
    assert len(set(prints)) == 4


def test_jobs_run_side_by_side_up_to_the_limit_and_a_failure_is_told(tmp_path):
    script = """
    work() {
        touch "running.$1"; ls running.* | wc -l >> most; sleep 0.5
        rm "running.$1"; [ "$1" != "$bad" ]
    }
    for i in 1 2 3 4 5; do job 2 work $i; done
    wait_for_jobs && echo fine
    """
    good = bash("bad=none" + script, folder=tmp_path)
    assert (good.returncode, good.stdout) == (0, "fine\n")
    assert max(map(int, (tmp_path / "most").read_text().split())) == 2
    failed = bash("bad=2" + script, folder=tmp_path)
    assert failed.returncode == 1 and "fine" not in failed.stdout
    assert not list(tmp_path.glob("running.*")), "the others were not ended"


def test_a_failed_command_shows_the_end_of_its_log(tmp_path):
    done = bash("logged out/log bash -c 'seq 100; echo broken >&2; exit 3'", folder=tmp_path)
    assert done.returncode == 1
    assert "out/log" in done.stderr and "broken" in done.stderr and "\n50\n" not in done.stderr
    assert "\n50\n" in (tmp_path / "out/log").read_text()


def test_jobs_end_with_the_script(tmp_path):
    traps = "trap on_exit EXIT; trap 'exit 143' TERM; current_stage=7; "
    script = traps + "job 2 sleep 300.125; echo up; wait_for_jobs"
    head = f"set -euo pipefail; . {UTILS}/options.sh; . {UTILS}/jobs.sh; "
    running = subprocess.Popen(
        ["bash", "-c", head + script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert running.stdout.readline() == "up\n"
    running.terminate()
    _, said = running.communicate(timeout=20)
    assert running.returncode == 143 and "stopped in stage 7" in said
    left = [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x00300.125" in read(p)]
    assert left == []


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile
        return b""


@pytest.fixture(scope="module")
def follow():
    spec = importlib.util.spec_from_file_location("follow", UTILS / "follow.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


HEAD = "[h] 2026-01-01 10:00:00,100 (trainer:330) INFO: "
LOG = f"""\
{HEAD}[train] Batch sampler: NumElementsBatchSampler(N-batch=7, batch_bins=10)
{HEAD}1/30epoch started
{HEAD}1epoch:train:1-3batch: iter_time=0.1, loss_ctc=9.0, loss=34.56, clip=100
{HEAD.replace("10:00", "10:01")}1epoch results: [train] loss_ctc=9.1, loss=33.2, time=1 minute, \
[valid] loss=31.5, cer_ctc=0.71, acc=0.25
"""


def test_the_follower_says_epoch_loss_error_rate_and_time_left(follow):
    training = follow.Log("quick")
    shown = [training.read(line) for line in LOG.splitlines()]
    assert shown[:3] == [None] * 3
    assert shown[3] == (
        "  quick: epoch 1/30, train loss 33.2, valid loss 31.5, CER by CTC 71.0 %, accuracy 25.0 %, 60 s, "
        "about 29 min left"
    )
    assert training.status() == "quick: epoch 1/30 batch 3/7 loss 34.56"


def test_the_follower_says_how_mel_and_alignment_of_a_voice_are(follow):
    training = follow.Log("ann")
    parts = "mel_loss=0.7, mel_post_loss=0.62, forward_sum_loss=1.2, loss=4.5"
    line = f"2026-01-01 (trainer:1) INFO: 3epoch results: [train] {parts}, [valid] {parts}, time=9 s"
    told = training.read(line)
    assert told == "  ann: epoch 0/0, train loss 4.5, valid loss 4.5, mel 0.62, alignment 1.2"


def test_the_follower_says_what_a_vocoders_validation_came_to_and_the_time_left(follow):
    training = follow.Log("tsm")
    assert training.status() == "tsm: loading"
    step = "10:00:00 step 150/2000: mel 0.51, generator 26.4; 0.31 s a step, 0:09:33 left, ends 01 Jan"
    assert training.read(step) is None
    assert training.status() == "tsm: step 150/2000 mel 0.51, generator 26.4, 0:09:33 left"
    shown = training.read("2026-01-01 10:00:00 validation at step 200: mel 0.49, firing 0.1 to 9.9 % (4.1 s)")
    assert shown == "  tsm: step 200, validation mel 0.49, firing 0.1 to 9.9 % (4.1 s), 0:09:33 left"


def test_the_follower_starts_at_the_end_of_an_old_log_and_leaves_with_the_last_line(follow, tmp_path):
    log = tmp_path / "train.log"
    log.write_text(LOG)
    process = subprocess.Popen(
        [sys.executable, UTILS / "follow.py", f"quick={log}"], stdout=subprocess.PIPE, text=True
    )
    epochs = iter(range(2, 60))

    def append():
        with open(log, "a") as out:
            out.write(re.sub("1(?=epoch|/30)", str(next(epochs)), LOG))

    append()
    while not select.select([process.stdout], [], [], 0.5)[0]:  # until it has started
        append()
    append()
    process.terminate()
    shown, _ = process.communicate(timeout=20)
    told = [int(re.match("  quick: epoch (.*)/30,", line)[1]) for line in shown.splitlines()]
    assert 1 not in told and told[-1] == next(epochs) - 1


def test_the_follower_goes_over_to_the_log_that_takes_the_place_of_an_old_one(follow, tmp_path):
    """As when a training is launched again: train.log becomes train.1.log."""
    log = tmp_path / "train.log"
    log.write_text("old\n" * 100)
    positions = {}
    assert len(follow.new_lines(log, positions)) == 100 and follow.new_lines(log, positions) == []
    log.rename(tmp_path / "train.1.log")
    assert follow.new_lines(log, positions) == []
    log.write_text("new\n" * 200 + "half")
    assert follow.new_lines(log, positions) == ["new"] * 200
    with open(log, "a") as out:
        out.write(" a line\n")
    assert follow.new_lines(log, positions) == ["half a line"]


def test_the_examples_in_the_follower_hold(follow):
    assert doctest.testmod(follow).failed == 0


def test_ended_jobs_are_asked_at_once_and_a_failure_is_not_forgotten():
    """Later a child may have got the same number, and bash would know nothing of the first one any more."""
    jobs = 'job 1 false; job 1 true; job 1 sleep 0.1; echo "${#job_pids[@]}"; '
    jobs += "wait_for_jobs && echo fine || echo failed; "
    done = bash(jobs + jobs.replace("false", "true"))
    assert done.stdout.split() == ["1", "failed", "1", "fine"], done.stderr

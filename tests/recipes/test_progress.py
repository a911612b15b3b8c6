"""What the follower makes of logs while they grow, and estimates."""

import pytest

from imlspike.recipes.progress import Count, Log, follow

HEAD = "[h] 2026-01-01 10:00:00,100 (trainer:330) INFO: "
EPOCH = f"""\
{HEAD}[train] Batch sampler: NumElementsBatchSampler(N-batch=7, batch_bins=10)
{HEAD}1/30epoch started
{HEAD}1epoch:train:1-3batch: iter_time=0.1, loss_ctc=9.0, loss=34.56, clip=100
{HEAD.replace("10:00", "10:01")}1epoch results: [train] loss_ctc=9.1, loss=33.2, time=1 minute, \
[valid] loss=31.5, cer_ctc=0.71, acc=0.25
"""
SHOWN = "quick: epoch 1/30, train loss 33.2, valid loss 31.5, CER by CTC 71.0 %, accuracy 25.0 %, 60 s, "
SHOWN += "about 29 min left"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "train.log"


def test_an_epoch_is_told_in_a_line_and_the_batch_in_the_status(path):
    log = Log("quick", str(path))
    assert [log.read(line) for line in EPOCH.splitlines()] == [None, None, None, SHOWN]
    assert log.status() == "quick: epoch 1/30 batch 3/7 loss 34.56"


def test_rates_of_parts_that_a_model_has_not_are_left_out(path):
    """Without an attention decoder ESPnet tells its accuracy as NaN."""
    log = Log("quick", str(path))
    told = [log.read(line) for line in EPOCH.replace("acc=0.25", "cer=nan, acc=nan").splitlines()][-1]
    assert told == SHOWN.replace(", accuracy 25.0 %", "")


def test_a_training_that_is_over_has_no_status(path):
    """Others, which come after it, are told of for hours."""
    log = Log("quick", str(path))
    for line in EPOCH.replace("1/30epoch", "30/30epoch").splitlines():
        told = log.read(line)
    assert told.startswith("quick: epoch 30/30, train loss 33.2") and log.status() == ""
    log.read("10:00:00 step 1500/1500: mel 0.51, generator 26.4; 0.31 s a step, 0:00:00 left, ends 01 Jan")
    assert log.status() == ""


def test_voices_vocoders_and_other_programs_are_told(path):
    log = Log("x", str(path))
    parts = "mel_post_loss=0.62, forward_sum_loss=1.2, loss=4.5"
    assert "mel 0.62, alignment 1.2" in log.read(
        f"{HEAD}3epoch results: [train] {parts}, [valid] {parts}, time=9 s"
    )
    assert (
        log.read("10:00:00 step 150/2000: mel 0.51, generator 26.4; 0.31 s a step, 0:09:33 left, ends 01 Jan")
        is None
    )
    assert log.status() == "x: step 150/2000 mel 0.51, generator 26.4, 0:09:33 left"
    told = log.read("2026-01-01 10:00:00 validation at step 200: mel 0.49, firing 0.1 to 9.9 % (4.1 s)")
    assert told == "x: step 200, validation mel 0.49, firing 0.1 to 9.9 % (4.1 s), 0:09:33 left"
    assert log.read("profiled 3/51, about 20 s left") == "x: profiled 3/51, about 20 s left"


def test_what_was_there_before_is_passed_over_and_a_new_file_read_from_its_start(path, tmp_path):
    path.write_text(EPOCH)
    log = Log("quick", str(path))
    assert log.news() == []
    with open(path, "a") as out:
        out.write(EPOCH.rstrip("\n"))
    assert log.news() == [], "the last line is not whole yet"
    with open(path, "a") as out:
        out.write("\n")
    assert len(log.news()) == 1
    path.rename(tmp_path / "train.1.log")
    assert log.news() == []
    path.write_text(EPOCH * 2)
    assert len(log.news()) == 2


def test_an_estimate_never_rises_while_nothing_is_done():
    clock, done = [0.0], [0]
    count = Count("utterances", lambda: 9, lambda: done[0], clock=lambda: clock[0])
    count.news()
    told = []
    for clock[0], done[0] in ((20, 1), (40, 2), (60, 2), (80, 2), (300, 2)):
        told += count.news()
    left = [line.partition("about ")[2] for line in told]
    assert told[0].startswith("1 of 9 utterances")
    assert left == ["3 min left", "2 min left", "2 min left", "2 min left", "1 s left"]


def test_progress_is_told_without_a_terminal(path, capsys):
    log = Log("quick", str(path))
    with follow([log], interval=0.01, quiet=0.0):
        path.write_text(EPOCH)
    assert SHOWN in (told := capsys.readouterr().out) and "\r" not in told

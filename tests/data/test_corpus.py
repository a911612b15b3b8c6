"""What all corpora share: the share that may be left out, empty sets, files listed twice, progress."""

import pytest

from imlspike.data import progress as progress_module
from imlspike.data.corpus import Found, check_left_out
from imlspike.data.kaldi import Utterance
from imlspike.data.progress import Progress


def result(kept, left_out):
    utterances = [Utterance(f"u{i}", "a.wav", "a", "s", 1.0) for i in range(kept)]
    return {"train": (utterances, {f"x{i}": "broken" for i in range(left_out)})}


def test_the_share_that_may_be_left_out_is_allowed_itself():
    check_left_out(result(19, 1), "corpus", 0.05)
    with pytest.raises(
        ValueError, match="corpus: 2 of 20 utterances .* more than 5%; .*--max-left-out.* x0: br"
    ):
        check_left_out(result(18, 2), "corpus", 0.05)


def test_an_empty_set_is_named():
    with pytest.raises(ValueError, match="no utterance for dev; is this the whole corpus"):
        check_left_out(result(1, 0) | {"dev": ([], {})}, "corpus", 0.05)


def test_an_utterance_with_two_files_is_refused(tmp_path):
    found = Found()
    found.add_audio([tmp_path / "a" / "u.wav"])
    with pytest.raises(ValueError, match=r"'u' has two files, .*a/u.wav and .*b/u.wav; remove one"):
        found.add_audio([tmp_path / "b" / "u.wav"])


def test_progress_estimates_from_what_was_done_since_the_start(monkeypatch, capsys):
    """60 of 100 were done before: at 4 in 8 seconds the other 36 take 72."""
    clock = iter([0.0, 1.0, 8.0, 9.0])
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: next(clock))
    progress = Progress("files", every=5.0)
    for done in (60, 61, 64, 100):
        progress(done, 100)
    assert capsys.readouterr().err.splitlines() == ["files 64/100, about 1.2 min left", "files 100/100"]

"""LibriSpeech in miniature and real excerpts of it: what lhotse finds there, and all that a copy may lack."""

import re
import shutil
from pathlib import Path

import pytest

from imlspike.bin.prepare import main
from imlspike.data.kaldi import read_data_dir, read_excluded
from imlspike.data.librispeech import PARTS, prepare_librispeech
from tests.recipes.corpora import LIBRISPEECH_PARTS, make_librispeech

FEW = {"train-clean-100": 3, "dev-clean": 2}


@pytest.fixture
def corpus(tmp_path):
    return make_librispeech(tmp_path / "corpus", FEW)


def a_flac(corpus: Path, part: str = "train-clean-100") -> Path:
    return sorted((corpus / "LibriSpeech" / part).rglob("*.flac"))[0]


def compare_with_lhotse(corpus: Path, data: Path) -> int:
    """Every set that was written against what lhotse finds in the part; how many utterances that are."""
    recipe, count = pytest.importorskip("lhotse.recipes.librispeech"), 0
    for part, theirs in recipe.prepare_librispeech(corpus).items():
        utterances = read_data_dir(data / part.replace("-", "_"))
        supervisions = {s.id: s for s in theirs["supervisions"]}
        recordings = {r.id: r for r in theirs["recordings"]}
        assert [u.id for u in utterances] == sorted(supervisions)
        for u in utterances:
            assert u.text == supervisions[u.id].text and u.speaker.split("-")[0] == supervisions[u.id].speaker
            assert (u.wav, u.seconds) == (recordings[u.id].sources[0].source, recordings[u.id].duration)
        count += len(utterances)
    return count


def test_it_is_what_lhotse_prepares(corpus, tmp_path):
    prepare_librispeech(corpus, tmp_path / "data")
    assert compare_with_lhotse(corpus / "LibriSpeech", tmp_path / "data") == 5


def test_speakers_are_chapters_and_kaldis_order_holds(corpus, tmp_path):
    prepare_librispeech(corpus, tmp_path / "data")
    utterances = read_data_dir(tmp_path / "data/train_clean_100")
    assert [(u.id, u.speaker) for u in utterances] == [
        ("19-198-0000", "19-198"),
        ("19-198-0001", "19-198"),
        ("20-198-0000", "20-198"),
    ]
    for u in utterances:
        assert u.id.startswith(u.speaker + "-") and u.text == u.text.upper()


def test_parts_are_combined_where_all_of_them_are_there(tmp_path, capsys):
    corpus = make_librispeech(tmp_path / "corpus")
    assert main(["librispeech", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path / "data")]) == 0
    counts = {folder.name: len(read_data_dir(folder)) for folder in (tmp_path / "data").iterdir()}
    assert counts == {part.replace("-", "_"): n for part, n in LIBRISPEECH_PARTS.items()} | {
        "train_960": 24,
        "dev": 6,
    }
    train = {u for part in ("clean_100", "clean_360", "other_500") for u in sets(tmp_path, f"train_{part}")}
    assert set(sets(tmp_path, "train_960")) == train
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["train_960", "24", "dev", "6"] == [cell for row in table[-2:] for cell in row[:2]]


def sets(tmp_path, name):
    return read_data_dir(tmp_path / "data" / name)


def test_an_absent_part_and_an_excerpt_are_named(corpus, tmp_path, capsys):
    argv = ["librispeech", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path / "data")]
    assert main(argv) == 0
    told = capsys.readouterr().err
    assert "not there: train-clean-360, train-other-500, dev-other, test-clean, test-other" in told
    assert "dev-clean: 2 utterances, LibriSpeech has 2703" in told
    assert not (tmp_path / "data/dev").exists() and not (tmp_path / "data/train_960").exists()
    assert main([*argv, "--parts", "dev-clean", "test-other"]) == 1
    assert "no test-other, which --parts asks for; there is dev-clean" in capsys.readouterr().err
    assert main([*argv[:-1], str(tmp_path / "one"), "--parts", "dev-clean"]) == 0
    assert [folder.name for folder in (tmp_path / "one").iterdir()] == ["dev_clean"]
    with pytest.raises(ValueError, match="no part 'dev' of LibriSpeech; expected some of train-clean-100"):
        prepare_librispeech(corpus, tmp_path / "data", parts=["dev"])


def test_the_published_numbers_of_utterances():
    """281,241 to train on, as the paper's 960 hours have."""
    assert sum(n for part, (_, _, n) in PARTS.items() if part.startswith("train")) == 281241


def test_what_lacks_its_half_or_its_text_is_counted_listed_and_left_out(corpus, tmp_path):
    train, dev = corpus / "LibriSpeech/train-clean-100", corpus / "LibriSpeech/dev-clean"
    lost = a_flac(corpus)
    lost.unlink()
    (train / "20/198/20-198.trans.txt").write_text("20-198-0000\n")
    shutil.copy(train / "20/198/20-198-0000.flac", dev / "119/208/119-208-0009.flac")
    prepare_librispeech(corpus, tmp_path / "data", max_left_out=0.5)
    assert read_excluded(tmp_path / "data/train_clean_100") == {
        lost.stem: "transcript without audio",
        "20-198-0000": "empty transcript",
    }
    assert read_excluded(tmp_path / "data/dev_clean") == {"119-208-0009": "audio without transcript"}
    assert [u.id for u in read_data_dir(tmp_path / "data/train_clean_100")] == ["19-198-0001"]
    with pytest.raises(ValueError, match="3 of 6 utterances would be left out, more than 5%"):
        prepare_librispeech(corpus, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("damage", ["empty", "text"])
def test_a_broken_flac_is_listed_with_its_reason_and_left_out(corpus, tmp_path, damage):
    flac = a_flac(corpus)
    flac.write_bytes(b"" if damage == "empty" else b"hello" * 99)
    prepare_librispeech(corpus, tmp_path / "data", max_left_out=0.5)
    reason = read_excluded(tmp_path / "data/train_clean_100")[flac.stem]
    assert {"empty": "the file is empty (0 bytes)", "text": "not readable as audio"}[damage] in reason
    assert flac.stem not in [u.id for u in read_data_dir(tmp_path / "data/train_clean_100")]


def test_an_utterance_with_two_files_two_lines_or_a_strange_name_is_refused(corpus, tmp_path):
    flac, part = a_flac(corpus), corpus / "LibriSpeech/train-clean-100"
    copy = shutil.copy(flac, part / "20/198")
    with pytest.raises(ValueError, match=rf"'{flac.stem}' has two files, .*; remove one"):
        prepare_librispeech(corpus, tmp_path / "data")
    Path(copy).unlink()
    with open(part / "20/198/20-198.trans.txt", "a") as out:
        out.write(f"{flac.stem} AGAIN\n")
    with pytest.raises(ValueError, match=rf"20-198.trans.txt: '{flac.stem}' stands in another trans.txt"):
        prepare_librispeech(corpus, tmp_path / "data")
    (part / "20/198/20-198.trans.txt").write_text("NOT AN UTTERANCE\n")
    with pytest.raises(ValueError, match="'NOT'; expected <speaker>-<chapter>-<number>"):
        prepare_librispeech(corpus, tmp_path / "data")


def test_either_folder_is_accepted_and_any_other_is_told_the_layout(corpus, tmp_path):
    above = prepare_librispeech(corpus, tmp_path / "a")
    assert above == prepare_librispeech(corpus / "LibriSpeech", tmp_path / "b")
    with pytest.raises(
        ValueError, match=r"not LibriSpeech; expected LibriSpeech/dev-clean/84/121123/84-.*txt"
    ):
        prepare_librispeech(tmp_path, tmp_path / "data")
    (tmp_path / "dev-clean.tar.gz").write_bytes(b"")
    with pytest.raises(ValueError, match=re.escape(f"--download-dir {tmp_path} checks and unpacks it")):
        prepare_librispeech(tmp_path, tmp_path / "data")


def test_real_excerpts(real_audio, tmp_path, capsys):
    if not (real_audio / "LibriSpeech").is_dir():
        pytest.skip("no LibriSpeech in IMLSPIKE_TEST_DATA")
    argv = ["librispeech", "--corpus-dir", str(real_audio), "--output-dir", str(tmp_path)]
    assert main(argv) == 0
    assert compare_with_lhotse(real_audio / "LibriSpeech", tmp_path) > 200
    assert "LibriSpeech has 28539; an excerpt?" in capsys.readouterr().err

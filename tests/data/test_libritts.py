"""LibriTTS in miniature: what lhotse finds there, what a copy may lack, the sizes that are published."""

import shutil

import pytest

from imlspike.bin.prepare import main
from imlspike.data.kaldi import read_data_dir, read_excluded
from imlspike.data.libritts import COMBINED, PARTS, prepare_libritts
from tests.recipes.corpora import make_libritts

FEW = {"train-clean-100": 3, "dev-clean": 2}


@pytest.fixture
def corpus(tmp_path):
    return make_libritts(tmp_path / "corpus", FEW)


def test_it_is_what_lhotse_prepares(corpus, tmp_path):
    recipe, count = pytest.importorskip("lhotse.recipes.libritts"), 0
    prepare_libritts(corpus, tmp_path / "data")
    theirs = recipe.prepare_libritts(corpus / "LibriTTS", dataset_parts=tuple(FEW))
    for part in FEW:
        utterances = read_data_dir(tmp_path / "data" / part.replace("-", "_"))
        supervisions = {s.id: s for s in theirs[part]["supervisions"]}
        recordings = {r.id: r for r in theirs[part]["recordings"]}
        assert [u.id for u in utterances] == sorted(supervisions)
        for u in utterances:
            assert (u.text, u.speaker) == (supervisions[u.id].text, supervisions[u.id].speaker)
            assert (u.wav, u.seconds) == (recordings[u.id].sources[0].source, recordings[u.id].duration)
        count += len(utterances)
    assert count == 5


def test_the_three_train_parts_are_one_set_and_absent_parts_are_named(tmp_path, capsys):
    parts = {**dict.fromkeys(COMBINED["train_960"], 2), "dev-clean": 2}
    corpus = make_libritts(tmp_path / "corpus", parts)
    assert main(["libritts", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path / "data")]) == 0
    told = capsys.readouterr().err
    assert "not there: dev-other, test-clean, test-other" in told
    assert "dev-clean: 2 utterances, LibriTTS has 5736" in told
    assert len(read_data_dir(tmp_path / "data/train_960")) == 6
    argv = ["libritts", "--corpus-dir", str(corpus), "--output-dir", str(tmp_path / "one")]
    assert main([*argv, "--parts", "dev-clean"]) == 0
    assert [folder.name for folder in (tmp_path / "one").iterdir()] == ["dev_clean"]
    assert main([*argv, "--parts", "test-clean"]) == 1
    assert "no test-clean, which --parts asks for" in capsys.readouterr().err


def test_the_published_numbers():
    """354,780 utterances to train on; archives of 80 GB."""
    train = [PARTS[part] for part in COMBINED["train_960"]]
    assert sum(utterances for _, _, utterances in train) == 354_780
    assert 79e9 < sum(size for size, _, _ in train) < 80e9


def test_what_lacks_its_half_is_left_out_and_hidden_files_play_no_part(corpus, tmp_path):
    first, second, _ = sorted((corpus / "LibriTTS/train-clean-100").rglob("*.wav"))
    first.with_suffix(".normalized.txt").unlink()
    second.with_suffix(".normalized.txt").write_text(" \n")
    shutil.copy(first, first.with_name(f"._{first.name}"))
    prepare_libritts(corpus, tmp_path / "data", max_left_out=0.5)
    left_out = {first.stem: "audio without transcript", second.stem: "empty transcript"}
    assert read_excluded(tmp_path / "data/train_clean_100") == left_out
    with pytest.raises(ValueError, match="2 of 5 utterances would be left out, more than 5%"):
        prepare_libritts(corpus, tmp_path / "again")


def test_audio_at_16_khz_is_another_corpus(tmp_path):
    corpus = make_libritts(tmp_path / "corpus", FEW, sampling_rate=16000)
    with pytest.raises(ValueError, match="16000 Hz with 1 channel.*expected 24000 Hz mono"):
        prepare_libritts(corpus, tmp_path / "data")


def test_strange_names_double_texts_and_other_folders_are_refused(corpus, tmp_path):
    wav = next((corpus / "LibriTTS/dev-clean").rglob("*.wav"))
    text = wav.with_suffix(".normalized.txt")
    copy = corpus / "LibriTTS/dev-clean" / text.name
    shutil.copy(text, copy)
    with pytest.raises(ValueError, match=f"'{wav.stem}' has another text elsewhere"):
        prepare_libritts(corpus, tmp_path / "data")
    copy.unlink()
    text.write_bytes("né".encode("latin-1"))
    with pytest.raises(ValueError, match=f"{text.name}: not UTF-8"):
        prepare_libritts(corpus, tmp_path / "data")
    text.rename(text.with_name("84-1-1.normalized.txt"))
    with pytest.raises(ValueError, match="not UTF-8"):
        prepare_libritts(corpus, tmp_path / "data")
    text.with_name("84-1-1.normalized.txt").write_text("Yes.")
    with pytest.raises(ValueError, match="'84-1-1'; expected <speaker>_<chapter>_<part>_<sentence>"):
        prepare_libritts(corpus, tmp_path / "data")
    with pytest.raises(ValueError, match="not LibriTTS; expected LibriTTS/dev-clean/84/121123/84_"):
        prepare_libritts(tmp_path, tmp_path / "data")

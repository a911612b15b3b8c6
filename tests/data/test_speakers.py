"""Corpora of several speakers: sets that share no speaker, or no text; what is told of speakers."""

import shutil

import pytest
import soundfile

from imlspike.data.files import read_kaldi
from imlspike.data.kaldi import read_excluded
from tests.data.test_corpora import TTS, prepare, prepared
from tests.recipes.corpora import make_speechocean762
from tests.recipes.tts_corpora import make_fillets


def test_speechocean762_is_split_by_speaker_in_the_published_layout_and_in_that_of_a_copy(tmp_path):
    corpus = make_speechocean762(tmp_path / "corpus", seconds=0.02)
    sets, copy = prepared("speechocean762", corpus, tmp_path / "data"), tmp_path / "copy"
    speakers = {name: {u.speaker for u in utterances} for name, utterances in sets.items()}
    assert speakers["valid"] == {"0071"} and speakers["test"] == {"0003", "0013"}
    assert len(speakers["train"]) == 7 and not speakers["train"] & (speakers["valid"] | speakers["test"])
    for name, told in speakers.items():
        genders, ages = (read_kaldi(tmp_path / "data" / name / f"spk2{what}") for what in ("gender", "age"))
        assert genders.keys() == told == ages.keys()
    assert (genders, ages) == ({"0071": "m"}, {"0071": "8"})
    for part in ("train", "test"):
        shutil.copytree(corpus / "speechocean762" / part, copy / part)
        for name in read_kaldi(copy / part / "text"):
            samples, rate = soundfile.read(*corpus.rglob(f"{name}.WAV"))
            soundfile.write(copy / part / f"{name}.opus", samples, rate, format="OGG", subtype="OPUS")
    lost = copy / "train" / f"{sets['train'][0].id}.opus"
    lost.unlink()
    copied = prepared("speechocean762", copy, tmp_path / "copied", "--max-left-out", "0.1")
    assert {name: [(u.id, u.text) for u in us][name == "train" :] for name, us in sets.items()} == {
        name: [(u.id, u.text) for u in us] for name, us in copied.items()
    }
    assert list(read_excluded(tmp_path / "copied/train")) == [lost.stem]
    (copy / "train/spk2age").write_text("0001 7\n")
    with pytest.raises(ValueError, match="spk2age: speaker 0011"):
        prepare("speechocean762", copy, tmp_path / "none")


def test_fillets_has_two_speakers_a_language_and_no_text_in_two_sets(tmp_path):
    corpus, rest = make_fillets(tmp_path / "corpus", TTS, seconds=0.02), ["--max-left-out", "0.2"]
    both = prepared("fillets", corpus, tmp_path / "both", *rest)
    assert {u.speaker for u in both["train"]} == {"nl-small", "nl-big", "cs-small", "cs-big"}
    assert {name: len(utterances) for name, utterances in both.items()} == {"others": 1} | {
        name: 4 * count for name, count in TTS.items()
    }
    tagged = read_kaldi(tmp_path / "both/valid/tagged")
    assert tagged == {u.id: f"[{u.id[:2]}] {u.text}" for u in both["valid"]}
    texts = {name: {u.text for u in utterances} for name, utterances in both.items()}
    assert not texts["train"] & (texts["valid"] | texts["test"]) and not texts["valid"] & texts["test"]
    lost, other = (next(corpus.rglob(f"sound/{level}/nl/*.ogg")) for level in ("city", "reef"))
    lost.unlink()
    shutil.copy(other, other.with_name("unknown.ogg"))
    dutch = prepared("fillets_nl", corpus, tmp_path / "nl", *rest)
    assert {u.speaker for us in dutch.values() for u in us} == {"small", "big"} and "others" not in dutch
    left_out = {k: v for name in dutch for k, v in read_excluded(tmp_path / "nl" / name).items()}
    known = {
        f"nl_city_{lost.stem}": "transcript without audio",
        "nl_reef_unknown": "audio without transcript",
    }
    assert left_out == known and not (tmp_path / "nl/train/tagged").exists()
    for folder, languages in (("both", {"nl", "cs"}), ("nl", {"nl"})):
        table = read_kaldi(tmp_path / folder / "test/utt2lang")
        assert set(table.values()) == languages and all(u.startswith(code) for u, code in table.items())

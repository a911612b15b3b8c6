"""The miniature corpora are what the real ones look like."""

import re
import tarfile

import pytest
import soundfile

from tests.recipes.corpora import make_aishell, make_librispeech


def test_aishell_has_its_layout_and_quirks(tmp_path):
    root = make_aishell(tmp_path, archives=["S0003", "S0724"])
    data = root / "data_aishell"
    lines = (data / "transcript/aishell_transcript_v0.8.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 28
    assert all(re.fullmatch(r"BAC009S\d{4}W\d{4} [^ ]+( [^ ]+)+", line) for line in lines)
    assert any("ｔ" in line for line in lines), "letters of full width"
    plain = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.wav"))
    assert plain[0] == "wav/test/S0764/BAC009S0764W0122.wav" and len(plain) == 4 + 11
    assert sorted(path.name for path in (data / "wav").iterdir()) == [
        "S0003.tar.gz",
        "S0724.tar.gz",
        "test",
        "train",
    ]
    with tarfile.open(data / "wav/S0724.tar.gz") as archive:
        assert archive.getnames()[0] == "dev/S0724/BAC009S0724W0122.wav"
    named = {line.split()[0] for line in lines}
    spoken = {path.rpartition("/")[2][:-4] for path in plain}
    assert len(spoken - named) == 1, "a wav without transcript"
    assert soundfile.info(data / plain[0]).samplerate == 16000
    assert (root / "resource_aishell/lexicon.txt").is_file()


def test_train_holds_every_character(tmp_path):
    transcripts = make_aishell(tmp_path) / "data_aishell/transcript/aishell_transcript_v0.8.txt"
    texts = [line.split(maxsplit=1) for line in transcripts.read_text(encoding="utf-8").splitlines()]
    train = {c for name, text in texts if name < "BAC009S0700" for c in text}
    assert {c for _, text in texts for c in text} == train and len(train) == 33
    assert len({text for _, text in texts}) == len(texts), "no sentence stands twice"


@pytest.mark.parametrize("parts", [["train-clean-100", "dev-clean"], {"train-clean-100": 5, "dev-clean": 2}])
def test_librispeech_has_its_layout(tmp_path, parts):
    top = make_librispeech(tmp_path, parts) / "LibriSpeech"
    assert sorted(path.name for path in top.iterdir() if path.is_dir()) == ["dev-clean", "train-clean-100"]
    assert (top / "SPEAKERS.TXT").is_file()
    flacs = sorted(top.rglob("*.flac"))
    assert len(flacs) == (15 if isinstance(parts, list) else 7)
    for flac in flacs:
        speaker, chapter, _ = flac.stem.split("-")
        assert flac.parts[-3:-1] == (speaker, chapter)
        lines = (flac.parent / f"{speaker}-{chapter}.trans.txt").read_text().splitlines()
        text = dict(line.split(maxsplit=1) for line in lines)[flac.stem]
        assert re.fullmatch(r"[A-Z']+( [A-Z']+)+", text)
        assert soundfile.info(flac).samplerate == 16000

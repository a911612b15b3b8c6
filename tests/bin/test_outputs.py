"""Outputs that can't be written: every verb tells so in the same line, before it has computed anything."""

import pytest

from imlspike.bin.main import main, verbs

WITHOUT = {"info", "stream"}  # verbs that print only
OUTPUTS = [
    "config conf.yaml --output {}",
    "decode --config c --data-dir d --output {}",
    "demo --model m --static {}",
    "durations --labels l --data-dir d --output-file {}",
    "durations --labels l --data-dir d --symbols-dir {}",
    "export m --output {}",
    "fit d --output-dir {}",
    "format d --output-dir {}",
    "format d --output-dir d --audio-dir {}",
    "pack m --output {}.zip",
    "phonemes --front-end english --data-dir d --output-dir {}",
    "phonemes --front-end english --data-dir d --output-dir d --write-tokens {}",
    "prepare fillets --corpus-dir c --output-dir {}",
    "prepare fillets --download-dir {}",
    "prepare aishell --corpus-dir c --unpack-dir {}",
    "profile --exp m --data-dir d --output-dir {}",
    "report m --output {}",
    "score --ref r --hyp h --output-dir {}",
    "speed d --output-dir {}",
    "synthesize text {}.wav --model m",
    "synthesize --data-dir d --output-dir {} --model m",
    "tokens --train d --output-dir {}",
    "train-vocoder --config conf/voc_small.yaml --train-dir d --valid-dir d --exp-dir {}",
    "transcribe a.wav --output-dir {} --model m",
    "vocode a.wav {}.wav --model m",
    "vocode a.wav {} --model m",
]


def test_every_verb_that_writes_is_tried():
    assert {words.split()[0] for words in OUTPUTS} == set(verbs()) - WITHOUT


@pytest.mark.parametrize("words", OUTPUTS)
def test_a_place_that_cannot_be_written_is_told_before(tmp_path, monkeypatch, capsys, repository, words):
    """Below a file; and where one has no right, to an administrator, to whom all is allowed, too."""
    monkeypatch.chdir(repository)
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    access = lambda path, mode: path != tmp_path / "folder"  # noqa: E731
    monkeypatch.setattr("os.access", access)
    for inside, reason in (("file", "is a file"), ("folder/of", "no right to write in")):
        place = tmp_path / inside / "mine"
        assert main(words.format(place).split()) == 1
        [line] = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert line.startswith(f"{words.split()[0]}: error: {place}") and line.endswith("name another one")
        assert "can't be written" in line and reason in line and line.count(str(place)) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["file", "folder"]

"""A voice of several languages: the language is the speaker's, or the one named; the same in every engine."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

pytest.importorskip("phonemizer", reason="espeak-ng isn't installed (extra: phonemes)")
pytest.importorskip("espeakng_loader", reason="espeak-ng isn't installed (extra: phonemes)")

from imlspike import Text2Speech
from imlspike.bin.main import main
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.data.yaml_file import ConfigError
from imlspike.inference import Bundle
from imlspike.inference.voice import TrainedVoice
from imlspike.text.phonemes import front_end
from imlspike.text.sentences import split_sentences
from tests.inference.small_tts import TOKENS, write_voice
from tests.inference.small_vocoder import save, small_model

SPEAKERS = {"cs-big": "cs", "cs-small": "cs", "nl-big": "nl", "nl-small": "nl"}
TEXTS = ["Dobrý den. No ano!", "Ano, no.", "Den den! Ano."]
LISTED = "cs-big (cs), cs-small (cs), nl-big (nl), nl-small (nl)"


def spelled(text: str, language: str) -> list[str]:
    """What `imlspike phonemes` writes of each sentence in this language."""
    front = front_end(f"espeak:{language}")
    return [symbol for sentence in split_sentences(text) for symbol in front(sentence, "u1")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A voice's bundle whose symbols are those of the texts in both languages, and a vocoder's."""
    folder = tmp_path_factory.mktemp("languages")
    symbols = sorted(
        {symbol for text in TEXTS for language in ("nl", "cs") for symbol in spelled(text, language)}
    )
    tokens = [*symbols, *(f"<{n}>" for n in range(len(TOKENS) - len(symbols)))]
    options = {"names": [*SPEAKERS], "languages": SPEAKERS, "tokens": tokens, "speakers": 5}
    exp = write_voice(folder / "exp", "espeak:nl+cs", decoder_layers=1, postnet_layers=2, **options)
    Bundle.load(exp).save(folder / "voice")
    save(small_model("imls"), folder / "voc")
    return folder


@pytest.fixture(scope="module")
def speak(folder) -> Text2Speech:
    return Text2Speech.from_pretrained(folder / "voice", folder / "voc")


@pytest.mark.parametrize("text", TEXTS)
def test_a_speaker_reads_in_the_language_that_is_theirs_or_named(speak, text):
    """Each sentence of a text; by name or number; what is said is what the speaker says of these symbols."""
    for number, (speaker, own) in enumerate(SPEAKERS.items(), start=1):
        for language in (None, "nl", "cs"):
            said = speak(text, speaker, language=language, loudness=None)
            assert list(said.symbols) == spelled(text, language or own)
            numbered = speak(text, number, language=language, loudness=None)
            assert numbered.symbols == said.symbols and np.array_equal(numbered.mel, said.mel)
            first = speak.speak(spelled(split_sentences(text)[0], language or own), speaker)
            assert np.array_equal(first.mel, said.mel[: len(first.mel)])
    assert spelled(text, "nl") != spelled(text, "cs")


def test_what_is_skipped_does_not_change_the_language(speak):
    said = speak("Ano \u2603, no.", "cs-big", on_unknown="skip")
    assert list(said.symbols) == spelled("Ano, no.", "cs") and said.skipped == ("\u2603",)


def told(speak, *speaker, **options) -> str:
    with pytest.raises(ValueError) as error:
        speak(TEXTS[0], *speaker, **options)
    return str(error.value).removeprefix(speak.voice.name)


WRONG = [
    (["small"], {}, f" has no speaker 'small'; there are {LISTED}; did you mean 'nl-small' or 'cs-small'?"),
    ([], {}, f" has several speakers, say which: {LISTED}"),
    ([], {"language": "cs"}, f" has several speakers, say which: {LISTED}"),
    (["cs-big"], {"language": "de"}, " has no language 'de'; there are nl, cs"),
    ([0], {}, " speaks several languages, say which: nl, cs"),
]


@pytest.mark.parametrize(("speaker", "options", "message"), WRONG)
def test_what_there_is_is_listed(speak, speaker, options, message):
    assert told(speak, *speaker, **options) == message


def test_a_voice_of_one_language_takes_none(tmp_path):
    one = Text2Speech.from_pretrained(write_voice(tmp_path))
    assert told(one, language="nl") == " speaks one language: give no language"


def test_one_voice_in_several_languages_has_to_be_told_which(tmp_path, folder):
    tokens = Bundle.load(folder / "voice").tokens
    one = Text2Speech.from_pretrained(write_voice(tmp_path, "espeak:nl+cs", tokens=tokens))
    assert told(one) == " speaks several languages, say which: nl, cs"
    assert list(one(TEXTS[1], language="cs").symbols) == spelled(TEXTS[1], "cs")


@pytest.mark.parametrize(
    ("languages", "message"),
    [
        ({"cs-big": "de"}, "cs-big: 'de'; expected names among the speakers, each with a language"),
        ({"big": "cs"}, "big: 'cs'; expected names"),
        ({"cs-big": ["cs"]}, "expected names"),
        (["cs"], "languages is .'cs'.; expected keys and values"),
    ],
)
def test_languages_that_no_voice_can_have_are_told(folder, tmp_path, languages, message):
    Bundle.load(folder / "voice").save(tmp_path)
    config = yaml.safe_load((tmp_path / "bundle.yaml").read_text()) | {"languages": languages}
    (tmp_path / "bundle.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match=f"languages.*{message}"):
        TrainedVoice.from_bundle(Bundle.load(tmp_path))


def test_a_set_of_both_languages_is_what_each_text_is_alone(folder, tmp_path, capsys):
    """From words to sound by the commands: symbols by utt2lang, sound by utt2spk; as TEXT with --speaker."""
    texts = [split_sentences(text)[0] for text in (*TEXTS, TEXTS[0])]
    given = {f"u{n}": one for n, one in enumerate(zip(SPEAKERS, texts, strict=True))}
    utterances = [Utterance(name, f"{name}.wav", text, who, 1.0) for name, (who, text) in given.items()]
    write_data_dir(tmp_path / "words", utterances)
    phonemes = (
        f"phonemes --front-end espeak:nl+cs --data-dir {tmp_path}/words --output-dir {tmp_path}/symbols"
    )
    assert main(phonemes.split()) == 1
    assert "words: no table utt2lang; espeak:nl+cs needs one" in capsys.readouterr().err
    languages = {name: SPEAKERS[who] for name, (who, _) in given.items()}
    write_kaldi(tmp_path / "words/utt2lang", languages | {"u0": "de"})
    assert main([*phonemes.split(), "--max-left-out", "0.5"]) == 0 and "u0" not in read_kaldi(
        tmp_path / "symbols/text"
    )
    write_kaldi(tmp_path / "words/utt2lang", languages)
    assert main(phonemes.split()) == 0
    for name, symbols in read_kaldi(tmp_path / "symbols/text").items():
        assert symbols.split() == spelled(given[name][1], languages[name])
    model = f"--model {folder}/voice --vocoder {folder}/voc".split()
    assert (
        main(["synthesize", "--data-dir", f"{tmp_path}/symbols", "--output-dir", f"{tmp_path}/set", *model])
        == 0
    )
    for name, (who, text) in given.items():
        assert main(["synthesize", text, f"{tmp_path}/{name}.wav", "--speaker", who, *model]) == 0
        assert (tmp_path / f"set/wav/{name}.wav").read_bytes() == (tmp_path / f"{name}.wav").read_bytes()
    crossed = ["--speaker", "nl-big", "--language", "cs"]
    assert main(["synthesize", given["u0"][1], f"{tmp_path}/crossed.wav", *crossed, *model]) == 0
    assert (tmp_path / "crossed.wav").read_bytes() != (tmp_path / "u0.wav").read_bytes()


def test_wrong_options_of_a_set_are_one_line(folder, tmp_path, capsys):
    write_data_dir(tmp_path / "data", [Utterance(f"u{n}", "", "d", "nl-big", 1.0) for n in range(3)])
    words = (
        f"synthesize --data-dir {tmp_path}/data --output-dir {tmp_path}/out --model {folder}/voice".split()
    )
    assert main([*words, "--speaker", "small"]) == 1
    assert capsys.readouterr().err.count(LISTED) == 1 and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        main([*words, "--language", "cs"])
    assert "--language is for TEXT" in capsys.readouterr().err


def test_onnxruntime_reads_in_the_same_languages(folder, speak, tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from imlspike.export.engine import OnnxSynthesizer

    for name, kind in (("voice", "voice"), ("voc", "vocoder")):
        assert main(["export", f"{folder}/{name}", "--output", f"{tmp_path}/{kind}"]) == 0
    onnx = OnnxSynthesizer(tmp_path / "voice", tmp_path / "vocoder", threads=1)
    assert onnx.voice.languages == SPEAKERS
    for text in TEXTS:
        for speaker, language in (("cs-small", None), ("nl-big", None), ("nl-big", "cs")):
            ours, theirs = (each(text, speaker, language=language) for each in (onnx, speak))
            assert ours.symbols == theirs.symbols and ours.durations.tolist() == theirs.durations.tolist()
            np.testing.assert_allclose(ours.mel, theirs.mel, rtol=1e-3, atol=1e-4)
    for speaker, options, message in WRONG:
        assert told(onnx, *speaker, **options) == message
    words = f"synthesize Ano. {tmp_path}/a.wav --engine onnx --speaker nl-big --language cs".split()
    assert main([*words, "--model", f"{tmp_path}/voice", "--vocoder", f"{tmp_path}/vocoder"]) == 0
    assert soundfile.info(tmp_path / "a.wav").frames > 0

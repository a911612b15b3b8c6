"""`imlspike transcribe`: files and folders in, texts out, whatever some of them hold."""

import json

import numpy as np
import pytest
import soundfile

import imlspike
from imlspike.bin import transcribe
from imlspike.data.transcript import Word
from imlspike.inference import Speech2Text


def decoder(waveforms):
    """Says how many tenths of a second it hears; nothing below one."""
    return [f"tenths {len(wave) // 1600}" if len(wave) >= 1600 else None for wave in waveforms]


decoder.sampling_rate = 16000


@pytest.fixture(autouse=True)
def opened(monkeypatch) -> list:
    """What `from_pretrained` was called with; it gives the decoder above."""
    calls = []

    def from_pretrained(*args, **options):
        calls.append((args, options))
        return Speech2Text(decoder)

    monkeypatch.setattr(Speech2Text, "from_pretrained", from_pretrained)
    return calls


@pytest.fixture
def folder(tmp_path):
    """Two folders with recordings of the same name, several kinds and rates, and what isn't audio."""
    folder = tmp_path / "in"
    for name in ("x/deep", "y", ".hidden"):
        (folder / name).mkdir(parents=True)
    write(folder / "x/a.wav", 0.2)
    write(folder / "x/deep/b.flac", 0.5, rate=44100, channels=2)
    write(folder / "y/a.wav", 0.3)
    write(folder / "y/a.mp3", 0.4, rate=8000)
    write(folder / ".hidden/c.wav", 0.1)
    write(folder / "y/._a.wav", 0.1)
    (folder / "y/notes.txt").write_text("not audio")
    return folder


def write(path, seconds, rate=16000, channels=1):
    """A recording of noise, not as white as samples in a wrong byte order are."""
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, (round(seconds * rate) + 1, channels))
    soundfile.write(path, noise[1:] + noise[:-1], rate)


def run(*words) -> int:
    """The command line with these words."""
    return transcribe.main([str(word) for word in words] + ["--model", "exp/some"])


def test_without_a_folder_for_them_texts_are_printed_a_line_a_file(folder, capsys):
    assert run(folder / "y/a.wav", folder / "x") == 0
    shown = capsys.readouterr()
    assert shown.out == (
        f"{folder}/y/a.wav\ttenths 3\n{folder}/x/a.wav\ttenths 2\n{folder}/x/deep/b.flac\ttenths 5\n"
    )
    assert f"several channels, mixed down to one: {folder}/x/deep/b.flac" in shown.err
    assert f"resampled to 16000 Hz: {folder}/x/deep/b.flac" in shown.err


def test_json_is_printed_an_object_a_line(folder, capsys, opened):
    write(folder / "long.wav", 3)
    assert run(folder / "long.wav", "--format", "json", "--max-seconds", 2, "--decoding", "joint") == 0
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    segments = told.pop("segments")
    assert segments[0]["start"] == 0 and segments[-1]["end"] == 3 and len(segments) == 2
    assert told.pop("text") == " ".join(segment["text"] for segment in segments)
    assert told == {
        "file": f"{folder}/long.wav",
        "duration": 3.0,
        "sampling_rate": 16000,
        "channels": 1,
        "model": "exp/some",
        "decoding": "joint",
        "version": imlspike.__version__,
    }
    assert opened == [(("exp/some", "joint", "cpu", None), {})]


def test_a_folder_is_mirrored_and_no_name_overwrites_another(folder, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(folder, "--output-dir", out, "--format", "both") == 0
    texts = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.txt")}
    assert texts == {
        "x/a.txt": "tenths 2\n",
        "x/deep/b.txt": "tenths 5\n",
        "y/a.wav.txt": "tenths 3\n",
        "y/a.mp3.txt": "tenths 4\n",
    }
    told = {str(path.relative_to(out)): json.loads(path.read_text()) for path in out.rglob("*.json")}
    assert {name: content["text"] + "\n" for name, content in told.items()} == {
        name.replace(".txt", ".json"): text for name, text in texts.items()
    }
    shown = capsys.readouterr()
    assert shown.out == "" and "4 audio files; 1 files of other kinds left out" in shown.err


class WithWords:
    """The decoder above, which tells when each word was said, a second for each."""

    sampling_rate = 16000

    def with_words(self, waveforms):
        return [
            text and (text, tuple(Word(word, n, n + 1, 0.5) for n, word in enumerate(text.split())))
            for text in decoder(waveforms)
        ]


def test_captions_and_tables_of_words_are_written_and_printed(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Speech2Text, "from_pretrained", lambda *args, **options: Speech2Text(WithWords()))
    out, words = tmp_path / "out", [folder / "x/a.wav", folder / "x/deep"]
    assert run(*words, "--output-dir", out, "--format", "srt,both,vtt,ctm,textgrid,json") == 0
    suffixes = {"txt", "json", "srt", "vtt", "ctm", "TextGrid"}
    assert {path.name for path in out.rglob("a.*")} == {f"a.{suffix}" for suffix in suffixes}
    assert (out / "a.ctm").read_text() == "a 1 0.000 1.000 tenths 0.500\na 1 1.000 1.000 2 0.500\n"
    (segment,) = json.loads((out / "b.json").read_text())["segments"]
    assert segment["words"][1] == {"text": "5", "start": 1, "end": 2, "confidence": 0.5}
    capsys.readouterr()
    for kind in ("srt", "ctm"):
        assert run(words[0], "--format", kind) == 0
        assert capsys.readouterr().out == (out / f"a.{kind}").read_text()
    assert run(*words, "--format", "ctm", "--nj", 2) == 0
    assert capsys.readouterr().out == (out / "a.ctm").read_text() + (out / "b.ctm").read_text()
    assert run(folder, "--format", "ctm") == 0
    named = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {"x/a", "y/a.wav", "y/a.mp3"} <= named
    assert run(*words, "--format", "srt") == 1
    assert "--output-dir" in capsys.readouterr().err


def test_a_decoder_without_times_of_words_fails_at_captions_alone(folder, tmp_path, capsys):
    assert run(folder / "y", "--output-dir", tmp_path / "out", "--format", "vtt") == 1
    assert "vtt" in capsys.readouterr().err and not list((tmp_path / "out").rglob("*.vtt"))


def test_files_of_one_name_from_different_folders_keep_their_folders(folder, tmp_path):
    out = tmp_path / "out"
    words = [folder / "x/a.wav", folder / "y/a.wav", folder / "y/../x/a.wav", folder / "x/deep/b.flac"]
    assert run(*words, "--output-dir", out) == 0
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {"x/a.wav.txt", "y/a.wav.txt", "b.txt", "manifest.jsonl"}


def test_what_is_done_is_not_done_again(folder, tmp_path, capsys, opened):
    """Until asked to; a file that has only one of two outputs isn't done."""
    out = tmp_path / "out"
    assert run(folder, "--output-dir", out) == 0
    (out / "x/a.txt").write_text("corrected by hand\n")
    write(folder / "new.wav", 0.6)
    assert run(folder, "--output-dir", out) == 0
    assert (out / "x/a.txt").read_text() == "corrected by hand\n"
    assert (out / "new.txt").read_text() == "tenths 6\n"
    assert "4 of 5 files were done before" in capsys.readouterr().err
    assert run(folder, "--output-dir", out) == 0 and len(opened) == 2
    assert run(folder, "--output-dir", out, "--overwrite") == 0
    assert (out / "x/a.txt").read_text() == "tenths 2\n"
    (out / "x/a.txt").write_text("corrected by hand\n")
    assert run(folder, "--output-dir", out, "--format", "both") == 0
    assert (out / "x/a.txt").read_text() == "tenths 2\n" and (out / "x/a.json").is_file()


def test_a_broken_file_is_named_and_the_rest_is_done(folder, tmp_path, capsys):
    """Empty, cut off, not audio, not readable here, NaN, of 1 Hz, missing: status 1 and a list at the end."""
    out = tmp_path / "out"
    (folder / "empty.wav").touch()
    (folder / "cut.wav").write_bytes((folder / "x/a.wav").read_bytes()[:-1000])
    (folder / "text.mp3").write_text("no sound")
    (folder / "phone.m4a").write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(4000))
    soundfile.write(folder / "nan.wav", np.full(1000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(folder / "once.wav", np.zeros(16000), 1)
    broken = ["cut.wav", "empty.wav", "nan.wav", "once.wav", "phone.m4a", "text.mp3"]
    assert run(folder, folder / "missing.wav", "--output-dir", out) == 1
    error = capsys.readouterr().err
    assert len(list(out.rglob("*.txt"))) == 4
    for name in (*broken, "missing.wav"):
        assert f"transcribe: {folder}/{name}: " in error
    names = ", ".join(f"{folder}/{name}" for name in (*broken, "missing.wav"))
    assert error.splitlines()[-1] == f"transcribe: 7 of 11 files were not transcribed: {names}"
    assert "ffmpeg" in error


@pytest.mark.parametrize("failing", [1, 2])
def test_a_channel_that_fails_leaves_every_other_text_where_it_belongs(
    tmp_path, monkeypatch, capsys, failing
):
    """Also the file's own other channel; the file counts as failed, and a second call tries it again."""
    folder, out, calls = tmp_path / "in", tmp_path / "out", []
    folder.mkdir()
    write(folder / "a.wav", 0.2, channels=2)
    write(folder / "b.wav", 0.3)
    write(folder / "c.wav", 0.4)

    def fails_once(waveforms):
        texts = decoder(waveforms)
        calls.extend(texts)
        if "tenths 2" in texts and calls.count("tenths 2") == failing:
            raise FloatingPointError("not finite")
        return texts

    fails_once.sampling_rate = 16000
    monkeypatch.setattr(Speech2Text, "from_pretrained", lambda *args, **options: Speech2Text(fails_once))
    words = folder, "--output-dir", out, "--channel", "all", "--batch-seconds", "0.1"
    assert run(*words) == 1
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == f"transcribe: 1 of 3 files were not transcribed: {folder}/a.wav"
    assert "2 files, " in error
    texts = {"a.channel1": 2, "a.channel2": 2, "b.channel1": 3, "c.channel1": 4}
    del texts[f"a.channel{failing}"]
    assert {path.stem: path.read_text() for path in out.glob("*.txt")} == {
        name: f"tenths {tenths}\n" for name, tenths in texts.items()
    }
    assert run(*words) == 0
    assert (out / f"a.channel{failing}.txt").read_text() == "tenths 2\n"


@pytest.mark.parametrize("changed", ["model.onnx", "tokens.txt"])
@pytest.mark.parametrize("named", ["", "model.onnx"])
def test_another_exported_model_transcribes_again(folder, tmp_path, monkeypatch, changed, named):
    model, words = tmp_path / "onnx", ["--engine", "onnx", "--output-dir", str(tmp_path / "out")]
    model.mkdir()
    for name in ("model.onnx", "tokens.txt"):
        (model / name).write_text("old")
    monkeypatch.setattr("imlspike.export.engine.OnnxDecoder", lambda *args: decoder)
    words += ["--model", str(model / named), str(folder)]
    assert transcribe.main(words) == 0
    (tmp_path / "out/x/a.txt").write_text("corrected by hand\n")
    assert transcribe.main(words) == 0
    assert (tmp_path / "out/x/a.txt").read_text() == "corrected by hand\n"
    (model / changed).write_text("new")
    assert transcribe.main(words) == 0
    assert (tmp_path / "out/x/a.txt").read_text() == "tenths 2\n"


def test_another_named_language_model_transcribes_again_though_its_weight_is_the_bundle_s(folder, tmp_path):
    lm, out = tmp_path / "lm", tmp_path / "out"
    lm.mkdir()
    words = [str(each) for each in (folder, "--output-dir", out, "--decoding", "beam", "--lm", lm)]
    (lm / "config.yaml").write_text("old")
    assert transcribe.main([*words, "--model", "some"]) == 0
    (out / "x/a.txt").write_text("corrected by hand\n")
    assert transcribe.main([*words, "--model", "some"]) == 0
    assert (out / "x/a.txt").read_text() == "corrected by hand\n"
    (lm / "config.yaml").write_text("another")
    assert transcribe.main([*words, "--model", "some"]) == 0
    assert (out / "x/a.txt").read_text() == "tenths 2\n"


@pytest.mark.parametrize("given", [True, False])
def test_another_language_model_transcribes_again_by_search_alone(folder, tmp_path, given):
    """One that is named, and one beside the experiment."""
    out, lm, model = tmp_path / "out", tmp_path / "exp/lm", tmp_path / "exp/quick"
    for made in (lm, model):
        made.mkdir(parents=True)
        (made / "config.yaml").write_text("old")
    named = ["--lm", lm] if given else []
    search = ["--decoding", "beam", "--lm-weight", "1", *named]
    for words, text in ((search, "tenths 2\n"), ([], "corrected by hand\n")):
        words = [str(word) for word in (folder, "--model", model, "--output-dir", out, *words)]
        assert transcribe.main([*words, "--overwrite"]) == 0
        (out / "x/a.txt").write_text("corrected by hand\n")
        (lm / "config.yaml").write_text(f"{text} is newer")
        assert transcribe.main(words) == 0
        assert (out / "x/a.txt").read_text() == text


def test_channels_count_apart_in_the_seconds(tmp_path, capsys):
    write(tmp_path / "a.wav", 6, channels=2)
    assert run(tmp_path / "a.wav", "--channel", "all", "--output-dir", tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "1 files, 0.2 min of audio; opening" in error and "1 files, 0.2 min of audio in" in error


def test_a_file_without_a_word_is_told(folder, tmp_path, capsys):
    write(folder / "short.wav", 0.05)
    assert run(folder / "short.wav", "--output-dir", tmp_path) == 0
    assert (tmp_path / "short.txt").read_text() == ""
    assert f"without a recognised word: {folder}/short.wav" in capsys.readouterr().err


def test_a_folder_without_audio_is_an_error(folder, tmp_path, capsys, opened):
    (tmp_path / "none").mkdir()
    (tmp_path / "none/a.txt").touch()
    assert run(tmp_path / "none") == 1 and not opened
    assert "none: no audio in this folder (1 files of other kinds)" in capsys.readouterr().err
    assert run(tmp_path / "none", folder / "x/a.wav") == 1 and len(opened) == 1


def test_a_model_that_is_not_there_is_one_line(folder, monkeypatch, capsys):
    monkeypatch.undo()
    assert run(folder) == 1
    assert "transcribe: error: exp/some: no such file or folder; expected" in capsys.readouterr().err


def test_interrupted_it_leaves_whole_files_and_says_how_to_go_on(folder, tmp_path, monkeypatch, capsys):
    """The second file's output is under way when the key is pressed."""
    dump = transcribe.dump

    def interrupted(result, *more):
        if "deep" in result.file:
            raise KeyboardInterrupt
        return dump(result, *more)

    monkeypatch.setattr(transcribe, "dump", interrupted)
    assert run(folder / "x", "--output-dir", tmp_path / "out", "--format", "json") == 130
    assert {path.name for path in (tmp_path / "out").rglob("*")} == {"a.json", "manifest.jsonl", "deep"}
    assert "interrupted" in capsys.readouterr().err


def test_options_of_joint_decoding_on_the_command_line_and_in_a_yaml(folder, tmp_path, opened, capsys):
    """Without a YAML nothing else is set."""
    yaml, words = (
        tmp_path / "decode.yaml",
        ["--beam-size", 3, "--lm-weight", 0.3, "--lm", "exp/lm", "--weight-bits", 8],
    )
    joint = ["--decoding", "joint", "--device", "cpu:0", "--model-file", "best.pth"]
    yaml.write_text("beam_size: 5\nctc_weight: 0.3\n")
    for more in ([*words], ["--decode-config", yaml], [*words, "--decode-config", yaml]):
        assert run(folder / "x/a.wav", *joint, *more) == 0
    (args, alone), (_, read), (_, over) = opened
    assert args == ("exp/some", "joint", "cpu:0", "best.pth")
    assert alone == {"beam_size": 3, "lm_weight": 0.3, "lm": "exp/lm", "weight_bits": 8}
    assert (read["beam_size"], read["ctc_weight"]) == (5, 0.3)
    assert over == alone | {"ctc_weight": 0.3}  # what it doesn't say is the bundle's
    yaml.write_text("beamsize: 5\n")
    assert run(folder / "x/a.wav", *joint, "--decode-config", yaml) == 1
    assert "did you mean 'beam_size'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "both"], "needs --output-dir"),
        (["--format", "txt,srtt"], "'srtt' is none of"),
        (["--nj", "0"], "'0' is no whole number from 1 to"),
        (["--lm-weight", "0.3"], "--lm-weight is for --decoding beam"),
        (["--beam-size", "x"], "'x' is no whole number from 1 to"),
        (["--decode-config", "a.yaml"], "for --decoding beam"),
        (["--batch-seconds", "0"], "'0' is no number from 0.1 to"),
        (["--batch-seconds", "1e300"], "'1e300' is no number from 0.1 to"),
        (["--beam-size", "0"], "'0' is no whole number from 1 to"),
        (["--beam-size", "1e6"], "'1e6' is no whole number from 1 to"),
        (["--ctc-weight", "nan"], "'nan' is no number from 0 to 1"),
        (["--lm-weight", "-1"], "'-1' is no number from 0 to"),
        (["--max-seconds", "nan"], "'nan' is no number from 1 to"),
        (["--max-seconds", "inf"], "'inf' is no number from 1 to"),
    ],
)
def test_senseless_options_are_refused(words, message, capsys):
    with pytest.raises(SystemExit):
        run("a.wav", *words)
    assert message in capsys.readouterr().err

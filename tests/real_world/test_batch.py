"""Runs over many files: a bad one is named and the others are done; done means done; stdout holds results."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest
import soundfile

from imlspike import Speech2Text
from imlspike.bin import main, tokens, transcribe, vocode
from imlspike.bin._command import command
from imlspike.data.files import atomic_write, read_kaldi
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.data.model_files import load_checkpoint
from imlspike.data.write_audio import write_audio
from imlspike.data.yaml_file import ConfigError
from imlspike.inference.decoding import decode_dir
from tests.inference.small_vocoder import save, small_model
from tests.real_world.sounds import RATE, interleaved, speech, wav
from tests.small_disk import small_disk


def decoder(waveforms):
    """Tells how many tenths of a second it hears."""
    return [f"tenths {len(wave) // 1600}" for wave in waveforms]


decoder.sampling_rate = RATE


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp") / "small"
    save(small_model("imls"), folder)
    return folder


@pytest.fixture
def run(monkeypatch, tmp_path):
    """`imlspike transcribe` with these words and a model that is a file."""
    monkeypatch.setattr(Speech2Text, "from_pretrained", lambda *args, **options: Speech2Text(decoder))
    model = tmp_path / "model.zip"
    model.write_text("one")
    return lambda *words: transcribe.main([str(word) for word in (*words, "--model", model)])


def put(path, seconds=0.2, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content or wav((speech(seconds) * 32767).astype("<i2").tobytes()))
    return path


def in_a_fork(work) -> int:
    """Run it in another process; the process's number."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = work()
        except SystemExit as ended:
            status = ended.code
        finally:
            os._exit(status)
    return child


BAD = {
    "empty.wav": lambda path: path.touch(),
    "dangling.wav": lambda path: path.symlink_to("nowhere.wav"),
    "loop.wav": lambda path: path.symlink_to("loop.wav"),
    "pipe.wav": os.mkfifo,
    "once_a_second.wav": lambda path: put(path, content=wav(rate=1)),
    "text.mp3": lambda path: path.write_text("no sound"),
    "half.wav": lambda path: put(path, content=wav(size=16000)),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("folder", [True, False])
def test_a_bad_file_is_named_and_the_others_are_done(tmp_path, run, capsys, name, folder):
    """Among them one of a name that isn't UTF-8, one with a colon, and a folder that is named like a file."""
    place = tmp_path / "in"
    good = [
        put(place / os.fsdecode(b"\xff\xfe.wav")),
        put(place / "12:30.wav", 0.3),
        put(place / "of.wav/a.wav", 0.4),
    ]
    BAD[name](place / name)
    words = [place] if folder else [place / name, *good]
    assert run(*words) == 1
    shown = capsys.readouterr()
    assert sorted(line.split("\t")[1] for line in shown.out.splitlines()) == [
        "tenths 2",
        "tenths 3",
        "tenths 4",
    ]
    assert f"{place}/{name}: " in shown.err and "1 of 4 files were not transcribed" in shown.err
    assert "Traceback" not in shown.err
    assert run(*words, "--output-dir", tmp_path / "out", "--format", "both") == 1
    assert len(list((tmp_path / "out").rglob("*.json"))) == 3


def test_any_exception_is_that_files_own(tmp_path, vocoder, monkeypatch, capsys):
    """Whatever a library raises of a file."""
    real = vocode.vocode_one

    def one(vocoder, path, *more):
        if path.name == "b.wav":
            raise IndexError("out of bounds")
        real(vocoder, path, *more)

    monkeypatch.setattr(vocode, "vocode_one", one)
    files = [str(put(tmp_path / name)) for name in ("a.wav", "b.wav", "c.wav")]
    assert vocode.main([*files, str(tmp_path / "out"), "--model", str(vocoder)]) == 1
    assert {path.name for path in (tmp_path / "out").glob("*.wav")} == {"a.wav", "c.wav"}
    assert "b.wav: IndexError: out of bounds" in capsys.readouterr().err


class TestDone:
    """The same source, the same model, the same options."""

    @pytest.fixture
    def out(self, tmp_path, run):
        assert run(put(tmp_path / "mon/talk.wav", 0.2), "--output-dir", tmp_path / "out") == 0
        return tmp_path / "out"

    def test_then_it_is_not_done_again(self, tmp_path, run, out, capsys):
        (out / "talk.txt").write_text("corrected by hand")
        assert run(tmp_path / "mon/talk.wav", "--output-dir", out) == 0
        assert (out / "talk.txt").read_text() == "corrected by hand"
        assert "1 of 1 files were done before" in capsys.readouterr().err

    def test_a_copy_of_the_source_is_the_same_source(self, tmp_path, run, out):
        put(tmp_path / "tue/talk.wav", 0.2)
        assert run(tmp_path / "tue/talk.wav", "--output-dir", out) == 0

    def test_another_source_of_the_name_is_refused(self, tmp_path, run, out, capsys):
        put(tmp_path / "tue/talk.wav", 0.5)
        assert run(tmp_path / "tue/talk.wav", "--output-dir", out) == 1
        assert (out / "talk.txt").read_text() == "tenths 2\n"
        assert "mon/talk.wav" in capsys.readouterr().err
        assert run(tmp_path / "tue/talk.wav", "--output-dir", out, "--overwrite") == 0
        assert (out / "talk.txt").read_text() == "tenths 5\n"

    @pytest.mark.parametrize("change", ["recording", "model", "option", "channel", "killed"])
    def test_a_change_makes_it_anew(self, tmp_path, run, out, change):
        (out / "talk.txt").write_text("old")
        options = {"option": ["--max-seconds", 2], "channel": ["--channel", 1]}.get(change, [])
        if change == "recording":
            put(tmp_path / "mon/talk.wav", 0.4)
        elif change == "model":
            (tmp_path / "model.zip").write_text("another")
        elif change == "killed":  # between the output and the manifest's second line
            lines = (out / "manifest.jsonl").read_text().splitlines()
            (out / "manifest.jsonl").write_text(f"{lines[0]}\n{lines[1][:20]}")
        assert run(tmp_path / "mon/talk.wav", "--output-dir", out, *options) == 0
        assert (out / "talk.txt").read_text() == ("tenths 4\n" if change == "recording" else "tenths 2\n")

    def test_an_output_that_nobody_knows_is_not_replaced(self, tmp_path, run, out, capsys):
        put(tmp_path / "mon/other.wav")
        (out / "other.txt").write_text("mine")
        assert run(tmp_path / "mon", "--output-dir", out) == 1
        assert (out / "other.txt").read_text() == "mine" and "other.txt" in capsys.readouterr().err

    def test_of_vocode_too(self, tmp_path, vocoder, capsys):
        words = [str(tmp_path / "out"), "--model", str(vocoder)]
        assert vocode.main([str(put(tmp_path / "mon/talk.wav", 0.2)), *words]) == 0
        assert vocode.main([str(put(tmp_path / "tue/talk.wav", 0.3)), *words]) == 1
        assert soundfile.info(tmp_path / "out/talk.wav").duration == pytest.approx(0.2)
        assert "mon/talk.wav" in capsys.readouterr().err


def test_a_name_takes_one_line(tmp_path, run, capsys):
    put(tmp_path / "a\tb\n.wav")
    assert run(tmp_path) == 0
    assert capsys.readouterr().out == f"{tmp_path}/a\\tb\\n.wav\ttenths 2\n"


def test_each_channel_apart(tmp_path, run, vocoder, capsys):
    """One and two channels, printed, written, vocoded; a number that one of the files hasn't."""
    put(tmp_path / "in/a.wav", content=wav(interleaved(speech(0.2), -speech(0.2)), channels=2))
    put(tmp_path / "in/b.wav", 0.3)
    assert run(tmp_path / "in", "--channel", "all", "--format", "json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["text"], one["channel"]) for one in told] == [
        ("tenths 2", 1),
        ("tenths 2", 2),
        ("tenths 3", 1),
    ]
    assert run(tmp_path / "in", "--channel", "all", "--output-dir", tmp_path / "out") == 0
    names = {path.name for path in (tmp_path / "out").glob("*.txt")}
    assert names == {"a.channel1.txt", "a.channel2.txt", "b.channel1.txt"}
    assert run(tmp_path / "in", "--channel", "2") == 1
    assert "b.wav: has 1 channel" in capsys.readouterr().err
    assert (
        vocode.main([str(tmp_path / "in"), str(tmp_path / "v"), "--channel", "all", "--model", str(vocoder)])
        == 0
    )
    assert {path.name for path in (tmp_path / "v").glob("*.wav")} == {name[:-3] + "wav" for name in names}
    assert run(tmp_path / "in/a.wav") == 0
    assert "2 turned (opposite phase)" in capsys.readouterr().err


@pytest.mark.parametrize("choice", ["0", "-1", "left", "1.5", ""])
def test_a_channel_that_none_can_be_is_refused(run, capsys, choice):
    with pytest.raises(SystemExit):
        run("a.wav", f"--channel={choice}")
    assert "--channel" in capsys.readouterr().err


def test_stdout_holds_results_alone(tmp_path, run, capfd, monkeypatch):
    """Whatever a library prints, in Python or in C; before and after it is as ever."""

    def chatty(waveforms):
        print("from a library")
        os.write(1, b"from a library in C\n")
        return decoder(waveforms)

    chatty.sampling_rate = RATE
    monkeypatch.setattr(Speech2Text, "from_pretrained", lambda *args, **options: Speech2Text(chatty))
    shown, file = tmp_path / "shown", put(tmp_path / "a.wav")

    def work():
        os.dup2(os.open(shown, os.O_WRONLY | os.O_CREAT), 1)
        sys.stdout = open(1, "w", closefd=False)
        print("before", flush=True)
        status = run(file, "--format", "json")
        print("after", flush=True)
        return status

    assert os.waitstatus_to_exitcode(os.waitpid(in_a_fork(work), 0)[1]) == 0
    before, result, after = shown.read_text().splitlines()
    assert (before, json.loads(result)["text"], after) == ("before", "tenths 2", "after")
    told = capfd.readouterr().err
    assert "from a library\n" in told and "in C" in told


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
def test_a_closed_stream_is_nobody_who_reads(tmp_path, run, monkeypatch, capsys, closed):
    """What is told goes nowhere, not into the results."""
    file = put(tmp_path / "a.wav")
    monkeypatch.setattr(sys, closed, None)
    assert run(file) == 0
    assert capsys.readouterr().out == ("" if closed == "stdout" else f"{file}\ttenths 2\n")


def test_quiet_tells_of_errors_only_and_verbose_where_they_arose(tmp_path, run, capsys, monkeypatch):
    good, bad = put(tmp_path / "a.wav"), tmp_path / "b.wav"
    assert run(good, "--quiet") == 0
    assert capsys.readouterr() == (f"{good}\ttenths 2\n", "")
    assert run(good, bad, "--quiet") == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(str(bad) in line for line in lines)
    assert run(good) == 0 and "1 files" in capsys.readouterr().err

    def broken(*args, **options):
        raise LookupError("a key")

    monkeypatch.setattr(Speech2Text, "from_pretrained", broken)
    assert run(good) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("transcribe: error: LookupError: a key (at ")
    with pytest.raises(LookupError):
        run(good, "--verbose")


def test_a_reader_who_leaves_ends_it_quietly(tmp_path, run, capfd):
    """As `| head -1` does."""
    files = [put(tmp_path / f"{n}.wav") for n in range(4)]

    def work():
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
        sys.stdout = open(1, "w", closefd=False)
        return run(*files)

    assert os.waitstatus_to_exitcode(os.waitpid(in_a_fork(work), 0)[1]) == 141
    assert "rror" not in capfd.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(tmp_path, number):
    @command
    def main(argv=None):
        with atomic_write(tmp_path / "a.wav", "wb") as out:
            out.write(b"half")
            out.flush()
            (tmp_path / "ready").touch()
            time.sleep(60)

    before = signal.signal(number, signal.SIG_DFL)  # nohup has the tests ignore SIGHUP
    child = in_a_fork(lambda: main([]))
    signal.signal(number, before)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert any(path.name.endswith(".tmp") for path in tmp_path.iterdir())
    os.kill(child, number)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + number
    assert [path.name for path in tmp_path.iterdir()] == ["ready"]


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_full_disk_is_one_line_and_no_half_file(tmp_path, capfd, name):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (40, RATE))
    with small_disk(20_000), pytest.raises(OSError, match=name):
        write_audio(tmp_path / name, noise, RATE)
    assert not list(tmp_path.iterdir()) and capfd.readouterr().err == ""


def test_a_full_disk_is_each_files_own(tmp_path, vocoder, capsys):
    files = [str(put(tmp_path / name, 0.4 + 1.5 * (name == "b.wav"), None)) for name in ("a.wav",)]
    long = tmp_path / "b.flac"
    soundfile.write(long, np.zeros(5 * 8000), 8000)
    with small_disk(20_000):
        assert vocode.main([str(long), *files, str(tmp_path / "out"), "--model", str(vocoder)]) == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.wav", "manifest.jsonl"}
    assert "1 of 2 files were not vocoded" in capsys.readouterr().err


@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_segments_are_the_utterances(tmp_path, bom, end):
    """Whatever editor saved the tables."""
    for name, seconds in (("one", 2.0), ("two", 1.0)):
        put(tmp_path / f"{name}.wav", seconds)
    tables = {
        "wav.scp": f"one {tmp_path}/one.wav\ntwo {tmp_path}/two.wav\n",
        "segments": "a one 0.0 0.5\nb one 0.5 1.75\nc two 0.25 -1\nd one 1.0 2.2\n",
    }
    for name, content in tables.items():
        (tmp_path / name).write_bytes((bom + content.replace("\n", end)).encode())
    decode_dir(decoder, tmp_path, tmp_path / "text")
    heard = {"a": "tenths 5", "b": "tenths 12", "c": "tenths 7", "d": "tenths 10"}
    assert read_kaldi(tmp_path / "text") == heard


@pytest.mark.parametrize(
    "line",
    [
        "b one 3 4",
        "b one 0 9",
        "b three 0 1",
        "b one 1 0.5",
        "b one",
        "b one x 1",
        "b one 0 nan",
        "b one 0 inf",
    ],
)
def test_a_segment_that_is_none_is_refused_by_name(tmp_path, line):
    put(tmp_path / "one.wav", 2.0)
    (tmp_path / "wav.scp").write_text(f"one {tmp_path}/one.wav\n")
    (tmp_path / "segments").write_text(f"a one 0 1\n{line}\n")
    with pytest.raises(ValueError, match="b"):
        decode_dir(decoder, tmp_path, tmp_path / "text")
    assert not (tmp_path / "text").exists()


@pytest.mark.parametrize("texts", [[], ["", " "]])
def test_tokens_of_nothing_are_refused(tmp_path, capsys, texts):
    write_data_dir(
        tmp_path, [Utterance(f"u{n}", "a.wav", text.strip(), "s", 1.0) for n, text in enumerate(texts)]
    )
    assert tokens.main(["--train", str(tmp_path), "--output-dir", str(tmp_path / "tokens")]) == 1
    assert str(tmp_path) in capsys.readouterr().err and not (tmp_path / "tokens").exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "text", "a byte"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path, damage):
    import torch

    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, path)
    assert load_checkpoint(path, str)["state_dict"]["w"].shape == (1000,)
    content = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "cut": content[:-500],
            "zeros": bytes(len(content)),
            "text": b"<html>502 Bad Gateway</html>",
            "a byte": content.replace(b"data.pkl", b"data.pkX"),
        }[damage]
    )
    with pytest.raises(ConfigError, match=r"last\.ckpt: damaged.*best\.ckpt"):
        load_checkpoint(path, lambda: "go on with best.ckpt")


@pytest.mark.parametrize("writable", [True, False])
def test_numba_has_a_cache_where_home_cannot_be_written(monkeypatch, tmp_path, writable):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "to be restored")
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home/nobody"))
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    main.give_numba_a_cache()
    assert os.path.isdir(os.environ.get("NUMBA_CACHE_DIR", "")) is not writable

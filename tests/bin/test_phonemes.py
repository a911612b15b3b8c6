"""`imlspike phonemes`: a data directory in symbols, and what can't be spoken."""


from imlspike.bin.phonemes import main
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.text.phonemes import front_end, symbols_of
from imlspike.text.tokens import read_tokens

TEXTS = {"a1": "Дом, во поле.", "a2": "Вол+ос?"}


def data_dir(folder, texts, excluded=None):
    utterances = [Utterance(name, f"{name}.wav", text, "s", 1.0) for name, text in texts.items()]
    write_data_dir(folder, utterances, excluded)
    return folder


def run(folder, *options, front="russian"):
    out = folder.parent / "out"
    arguments = ["--front-end", front, "--data-dir", folder, "--output-dir", out, *options]
    return main(list(map(str, arguments))), out


def test_symbols_are_the_front_ends_and_all_else_is_kept(tmp_path):
    folder = data_dir(tmp_path / "in", TEXTS, {"a3": "broken"})
    status, out = run(folder, "--write-tokens", tmp_path / "tokens.txt")
    assert status == 0
    for before, after in zip(read_data_dir(folder), read_data_dir(out), strict=True):
        assert after.text.split(" ") == front_end("russian")(before.text, before.id)
        assert (after.id, after.wav, after.speaker, after.seconds) == (before.id, before.wav, "s", 1.0)
    assert read_excluded(out) == {"a3": "broken"}
    assert read_tokens(tmp_path / "tokens.txt")[2:-1] == symbols_of("russian")


def test_what_cannot_be_spoken_is_left_out_and_listed_up_to_the_limit(tmp_path, capsys):
    folder = data_dir(tmp_path / "in", TEXTS | {"b1": "5 домов", "b2": "Wolga"}, {"a3": "broken"})
    status, out = run(folder)
    assert status == 1 and not out.exists() and "b1: character '5'" in capsys.readouterr().err
    status, out = run(folder, "--max-left-out", "0.5")
    assert status == 0 and [u.id for u in read_data_dir(out)] == ["a1", "a2"]
    assert list(read_excluded(out)) == ["a3", "b1", "b2"] and "'w'" in read_excluded(out)["b2"]


def test_symbols_that_the_training_set_lacks_are_named_with_the_utterance(tmp_path, capsys):
    train, test = data_dir(tmp_path / "in", {"a": "ab c"}), data_dir(tmp_path / "test", {"t": "abd!"})
    assert run(train, "--write-tokens", tmp_path / "tokens.txt", front="characters")[0] == 0
    assert read_kaldi(tmp_path / "out" / "text") == {"a": "a b <space> c"}
    assert run(test, "--tokens", tmp_path / "tokens.txt", front="characters")[0] == 1
    assert "t: not among" in (told := capsys.readouterr().err) and "'d', '!'" in told


def test_symbols_never_heard_are_told(tmp_path, capsys):
    folder = data_dir(tmp_path / "in", TEXTS)
    run(folder, "--write-tokens", tmp_path / "tokens.txt")
    unseen = capsys.readouterr().out.split("can't be learned: ")[1].splitlines()[0].split()
    seen = {symbol for name, text in TEXTS.items() for symbol in front_end("russian")(text, name)}
    assert set(unseen) == set(symbols_of("russian")) - seen and seen


def test_the_corpus_own_pinyin_is_read_and_must_be_whole(tmp_path, capsys):
    folder = data_dir(tmp_path / "in", {"a": "你好", "b": "好"})
    write_kaldi(folder / "pinyin", {"a": "ni2 hao3", "b": "hao3"})
    assert run(folder, "--table", "pinyin", front="pinyin")[0] == 0
    assert read_kaldi(tmp_path / "out" / "text") == {"a": "n i2 h ao3", "b": "h ao3"}
    write_kaldi(folder / "pinyin", {"a": "ni2 hao3"})
    assert run(folder, "--table", "pinyin", front="pinyin")[0] == 1
    assert "pinyin: no line for b" in capsys.readouterr().err
    assert run(folder, "--table", "phones", front="pinyin")[0] == 1
    assert "no table phones" in capsys.readouterr().err


def test_unknown_front_ends_are_refused(tmp_path, capsys):
    assert run(data_dir(tmp_path / "in", TEXTS), front="russain")[0] == 1
    assert "'russian'" in capsys.readouterr().err

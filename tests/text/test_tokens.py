import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlspike.bin.tokens import main
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.text.tokens import (
    char_tokens,
    load_tokenizer,
    read_tokens,
    uncovered,
    write_bpe_tokens,
    write_char_tokens,
)

SENTENCES = ["мир дом", "дом у леса", "снег у дома", "вода и лес", "трава и вода", "лес и снег и мир"]


def data_dir(path, texts):
    write_data_dir(
        path, [Utterance(f"ru_{n}", f"/{n}.wav", text, "nsh", 2.0) for n, text in enumerate(texts, start=1)]
    )
    return path


def test_characters_by_falling_count_between_the_special_tokens(tmp_path):
    tokens = read_tokens(write_char_tokens(["бба", "б а"], tmp_path))
    assert tokens == ["<blank>", "<unk>", "б", "а", "<space>", "<sos/eos>"]


@given(st.lists(st.text("абвё ", max_size=10).map(str.strip), min_size=1, max_size=5))
def test_the_characters_of_a_text_cover_it(tmp_path_factory, texts):
    tokens = read_tokens(write_char_tokens(texts, tmp_path_factory.mktemp("tokens")))
    assert set(tokens[2:-1]) == {token for text in texts for token in char_tokens(text)}
    assert uncovered(dict(enumerate(texts)), tokens, char_tokens) == {}


def test_pieces_join_to_the_text_and_cover_it(tmp_path):
    tokens = read_tokens(write_bpe_tokens(SENTENCES, tmp_path, nbpe=30))
    tokenize = load_tokenizer(tmp_path / "bpe.model")
    assert len(tokens) == 30 and tokens[:2] == ["<blank>", "<unk>"] and tokens[-1] == "<sos/eos>"
    for sentence in SENTENCES:
        pieces = tokenize(sentence)
        assert set(pieces) <= set(tokens)
        assert "".join(pieces).replace("▁", " ").strip() == sentence
    assert any(len(tokenize(sentence)) < len(sentence) for sentence in SENTENCES)


def test_espnet_tokenizes_and_numbers_alike(tmp_path):
    build = pytest.importorskip("espnet2.text.build_tokenizer").build_tokenizer
    converter = pytest.importorskip("espnet2.text.token_id_converter").TokenIDConverter
    for kind in ("char", "bpe"):
        out = tmp_path / kind
        path = (
            write_char_tokens(SENTENCES, out) if kind == "char" else write_bpe_tokens(SENTENCES, out, nbpe=30)
        )
        model = None if kind == "char" else str(out / "bpe.model")
        espnet = build(token_type=kind, bpemodel=model)
        tokens, tokenize = read_tokens(path), load_tokenizer(model)
        for sentence in SENTENCES:
            assert list(espnet.text2tokens(sentence)) == list(tokenize(sentence))
            ids = converter(str(path)).tokens2ids(tokenize(sentence))
            assert ids == [tokens.index(token) for token in tokenize(sentence)]


@pytest.mark.parametrize("nbpe", [5, 5000])
def test_an_impossible_number_of_pieces_is_refused(tmp_path, nbpe):
    with pytest.raises(ValueError, match="--nbpe"):
        write_bpe_tokens(SENTENCES, tmp_path, nbpe)
    assert not (tmp_path / "tokens.txt").exists()


@pytest.mark.parametrize(
    "content", ["<blank>\n<unk>\na\n", "a\n<sos/eos>\n", "", "<blank>\n<unk>\na\na\n<sos/eos>\n"]
)
def test_a_list_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "tokens.txt").write_text(content)
    with pytest.raises(ValueError, match="tokens.txt"):
        read_tokens(tmp_path / "tokens.txt")


@pytest.mark.parametrize("kind", [["--type", "char"], ["--type", "bpe", "--nbpe", "30"]])
def test_a_character_outside_the_list_names_the_utterance(tmp_path, capsys, kind):
    train, test = data_dir(tmp_path / "train", SENTENCES), data_dir(tmp_path / "test", ["мир", "щи дома"])
    argv = ["--train", str(train), "--check", str(test), "--output-dir", str(tmp_path / "tokens"), *kind]
    assert main(argv) == 1
    error = capsys.readouterr().err
    assert "ru_2: not in the token list: 'щ'" in error and "test" in error and "--on-unknown exclude" in error
    assert len(read_data_dir(test)) == 2, "an error changes nothing"
    assert main([*argv, "--on-unknown", "keep"]) == 0
    assert "2 utterances, 1 not wholly covered, kept" in capsys.readouterr().out
    assert len(read_data_dir(test)) == 2
    unknown = (tmp_path / "tokens/unknown.tsv").read_text(encoding="utf-8")
    assert unknown == f"{test}/ru_2\tnot in the token list: 'щ'\n"
    assert main([*argv, "--on-unknown", "exclude"]) == 0
    assert [u.id for u in read_data_dir(test)] == ["ru_1"]
    assert read_excluded(test) == {"ru_2": "not in the token list: 'щ'"}
    assert "1 utterances covered, 1 left out" in capsys.readouterr().out


def test_no_text_makes_no_list(tmp_path, capsys):
    data_dir(tmp_path / "train", [])
    assert main(["--train", f"{tmp_path}/train", "--output-dir", f"{tmp_path}/tokens"]) == 1
    assert "train" in capsys.readouterr().err and not (tmp_path / "tokens").exists()


def test_a_special_token_in_a_text_is_not_covered():
    assert "ru_1" in uncovered({"ru_1": "<unk>"}, ["<blank>", "<unk>", "a", "<sos/eos>"], lambda text: [text])

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imlspike.bin.fit import main
from imlspike.data.filter_lengths import (
    EACH_FRAME,
    SUBSAMPLING,
    ctc_frames,
    encoder_frames,
    fault,
    feature_frames,
    filter_data_dir,
)
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.models import IMLSpikeformerEncoder
from imlspike.text.tokens import char_tokens

LAYERS = list(SUBSAMPLING)


def too_short_or_long(utterances, *args, **limits):
    return {u.id: reason for u in utterances if (reason := fault(u, *args, **limits))}


@given(st.lists(st.integers(1, 3), min_size=1, max_size=8), st.integers(1, 20))
def test_ctc_has_a_finite_loss_exactly_from_the_minimum_on(tokens, frames):
    """torch's CTC knows nothing of our rule; its loss is finite if and only if an alignment exists."""
    loss = torch.nn.functional.ctc_loss(
        torch.randn(frames, 1, 4).log_softmax(-1),
        torch.tensor([tokens]),
        torch.tensor([frames]),
        torch.tensor([len(tokens)]),
        reduction="sum",
    )
    assert bool(torch.isfinite(loss)) == (frames >= ctc_frames(tokens))


@pytest.mark.parametrize("layer", LAYERS)
def test_lengths_are_those_of_espnets_own_layers(layer):
    module = pytest.importorskip("espnet.nets.pytorch_backend.transformer.subsampling")
    names = {"conv2d": "Conv2dSubsampling", "conv1d2": "Conv1dSubsampling2"}
    espnet_class = getattr(module, names.get(layer, f"Conv2dSubsampling{layer[-1]}"))
    espnet = espnet_class(idim=20, odim=2, dropout_rate=0.0).eval()
    for frames in range(1, 90):
        too_short, _ = module.check_short_utt(espnet, frames)
        expected = 0
        if not too_short:
            with torch.no_grad():
                ys, mask = espnet(torch.zeros(1, frames, 20), torch.ones(1, 1, frames, dtype=torch.bool))
            expected = int(mask.sum())
            assert ys.shape[1] == expected
        assert encoder_frames(frames, layer) == expected, f"{frames} frames"


@pytest.mark.parametrize("layer", LAYERS)
def test_lengths_are_those_of_our_own_encoder(layer):
    """Data knows nothing of the layers, so the rule is written twice; the two must agree."""
    small = {"attention_heads": 2, "linear_units": 16, "num_blocks": 1}
    encoder = IMLSpikeformerEncoder(80, 16, input_layer=layer, **small)
    assert [encoder_frames(n, layer) for n in range(200)] == [encoder.output_lengths(n) for n in range(200)]


def test_all_our_subsamplings_are_known_and_of_other_layers_a_token_is_a_frame():
    from imlspike.layers.subsampling import STAGES, WHOLE

    assert SUBSAMPLING == STAGES and EACH_FRAME == WHOLE
    assert [encoder_frames(n, "linear") for n in range(5)] == [0, 1, 2, 3, 4]


def test_feature_frames_are_those_of_espnets_frontend():
    stft = pytest.importorskip("espnet2.layers.stft").Stft(n_fft=512, win_length=400, hop_length=160)
    for samples in [400, 1599, 1600, 1601, 16000]:
        _, lengths = stft(torch.zeros(1, samples), torch.tensor([samples]))
        assert feature_frames(samples) == int(lengths)


def utterance(name, text, seconds):
    return Utterance(name, f"/{name}.wav", text, "nsh", seconds)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_limit_is_exact(layer):
    """The shortest recording that still fits is kept, one hop less is not."""
    text = "ссора"  # 5 tokens and a repeat: 6 frames
    frames = next(n for n in range(1000) if encoder_frames(n, layer) == 6)
    just = utterance("just", text, (frames - 1) * 160 / 16000)
    short = utterance("short", text, ((frames - 1) * 160 - 1) / 16000)
    reasons = too_short_or_long([just, short], char_tokens, layer)
    assert list(reasons) == ["short"]
    assert f"5 frames after {layer}, CTC needs 6 for 5 tokens" in reasons["short"]


def test_a_recording_below_one_frame_is_left_out_even_without_text():
    assert list(too_short_or_long([utterance("a", "", 0.01), utterance("b", "", 1.0)], char_tokens)) == ["a"]


def test_limits_of_duration_are_allowed_themselves():
    utterances = [utterance(str(n), "а", n / 2) for n in range(1, 9)]
    reasons = too_short_or_long(utterances, char_tokens, min_seconds=1.0, max_seconds=3.0)
    assert list(reasons) == ["1", "7", "8"] and "3.50 s" in reasons["7"]


def test_durations_alone_can_be_looked_at(tmp_path, capsys):
    long, crammed = utterance("long", "а", 4.0), utterance("crammed", "много букв", 0.3)
    assert list(too_short_or_long([long, crammed], char_tokens, None, max_seconds=3.0)) == ["long"]
    write_data_dir(tmp_path / "train", [long, crammed])
    limits = ["--input-layer", "none", "--max-seconds", "3"]
    assert main([str(tmp_path / "train"), "--output-dir", str(tmp_path / "fit"), *limits]) == 0
    assert read_data_dir(tmp_path / "fit") == [crammed]
    assert "left out long: 4.00 s" in capsys.readouterr().out


def test_a_voice_needs_a_frame_for_each_symbol(tmp_path, capsys):
    """As many symbols as frames are kept, repeated ones too; one more isn't."""
    write_data_dir(
        tmp_path / "train", [utterance("just", "aa b b ,", 0.048), utterance("short", "aa b b , c", 0.048)]
    )
    argv = [tmp_path / "train", "--output-dir", tmp_path / "fit", "--input-layer", "voice", "--hop", "256"]
    assert main(list(map(str, argv))) == 0
    assert [kept.id for kept in read_data_dir(tmp_path / "fit")] == ["just"]
    assert "4 frames of mel, a voice needs 5 for 5 tokens" in capsys.readouterr().out


def test_what_does_not_fit_is_named_counted_and_left_out(tmp_path, capsys):
    good, bad = utterance("ru_1", "дом", 1.0), utterance("ru_2", "очень длинный текст", 0.3)
    write_data_dir(tmp_path / "train", [good, bad], {"ru_3": "audio without transcript"})
    argv = [str(tmp_path / "train"), "--output-dir", str(tmp_path / "fit")]
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "left out ru_2: too short for its transcript" in out and "1 utterances, 1 left out" in out
    assert read_data_dir(tmp_path / "fit") == [good]
    assert list(read_excluded(tmp_path / "fit")) == ["ru_2", "ru_3"]
    assert len(read_data_dir(tmp_path / "train")) == 2, "the source stays as it was"


def test_in_place_and_again_gives_the_same(tmp_path):
    write_data_dir(tmp_path, [utterance("ru_1", "дом", 1.0), utterance("ru_2", "дом", 0.05)])
    filter_data_dir(tmp_path, tmp_path, char_tokens)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    filter_data_dir(tmp_path, tmp_path, char_tokens)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == first
    assert b"ru_2\ttoo short" in first["excluded.tsv"]


def test_nothing_left_is_an_error(tmp_path, capsys):
    write_data_dir(tmp_path / "train", [utterance("ru_1", "дом", 0.01)])
    assert main([str(tmp_path / "train"), "--output-dir", str(tmp_path / "fit")]) == 1
    assert "no utterance is left; ru_1: too short" in capsys.readouterr().err
    assert not (tmp_path / "fit").exists()

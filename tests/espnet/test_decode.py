"""CTC greedy decoding of the tiny recogniser."""

from itertools import groupby

import pytest
import soundfile
import torch

from imlspike.bin.decode import main
from imlspike.data.audio import AudioError
from imlspike.data.files import read_kaldi, write_kaldi
from tests.espnet.tiny import TEXTS


@pytest.fixture(scope="module")
def experiment(tiny_experiment, tmp_path_factory):
    """The tiny recogniser with random large CTC weights, so that it says more than blanks."""
    states = torch.load(tiny_experiment / "valid.loss.ave.pth", weights_only=True)
    torch.manual_seed(1)
    states["ctc.ctc_lo.weight"].normal_(std=10)
    folder = tmp_path_factory.mktemp("talkative")
    torch.save(states, folder / "valid.loss.ave.pth")
    (folder / "config.yaml").write_text((tiny_experiment / "config.yaml").read_text())
    return folder


@pytest.fixture(scope="module")
def decoder(experiment):
    """A greedy decoder of the talkative recogniser."""
    from imlspike.espnet.decode import GreedyDecoder

    return GreedyDecoder(experiment / "config.yaml", experiment / "valid.loss.ave.pth")


@pytest.fixture(scope="module")
def waves(tiny_data):
    """The tiny corpus as tensors."""
    return [torch.from_numpy(soundfile.read(tiny_data / f"{u}.wav", dtype="float32")[0]) for u in TEXTS]


def test_folded_greedy_equals_espnet_and_groupby(experiment, decoder, waves):
    """Folded and in a batch, it says what ESPnet's unfolded model says, collapsed the plain way."""
    from espnet2.tasks.asr import ASRTask

    model, _ = ASRTask.build_model_from_file(experiment / "config.yaml", experiment / "valid.loss.ave.pth")
    model.eval()
    expected = []
    for wave in waves:
        encoded, _ = model.encode(wave[None], torch.tensor([len(wave)]))
        best = [token for token, _ in groupby(model.ctc.argmax(encoded)[0].tolist())]
        tokens = [model.token_list[token] for token in best if token not in (0, model.eos)]
        expected.append(" ".join("".join(tokens).replace("<space>", " ").split()))
    assert decoder(waves) == expected
    assert len(set(expected)) > 1


def test_transcript_does_not_depend_on_the_batch(decoder, waves):
    """Each utterance alone gives what it gives among others."""
    assert [text for wave in waves for text in decoder([wave])] == decoder(waves)


def test_command_decodes_a_directory(tiny_data, experiment, decoder, waves, tmp_path, capsys):
    """The command finds the averaged model, writes one line an utterance, and lists what is too short."""
    soundfile.write(tmp_path / "short.wav", [0.1] * 300, 16000)
    soundfile.write(tmp_path / "tiny.wav", [0.1] * 3, 16000)
    extra = {"short": f"{tmp_path}/short.wav", "tiny": f"{tmp_path}/tiny.wav"}
    write_kaldi(tmp_path / "wav.scp", read_kaldi(tiny_data / "wav.scp") | extra)
    output = tmp_path / "hyp" / "text"
    paths = {"--config": experiment / "config.yaml", "--data-dir": tmp_path, "--output": output}
    assert main([*(str(word) for pair in paths.items() for word in pair), "--batch-seconds", "2"]) == 0
    transcripts = {key: text.split() for key, text in read_kaldi(output).items()}
    expected = dict(zip(TEXTS, decoder(waves), strict=True)) | {"short": "", "tiny": ""}
    assert transcripts == {key: text.split() for key, text in expected.items()}
    assert "2 too short, empty transcript: short tiny" in capsys.readouterr().out


def test_bad_audio_is_named_and_nothing_is_written(decoder, tmp_path):
    """Audio at another rate is refused by name; the table of an earlier run stays as it was."""
    from imlspike.espnet.decode import decode_dir

    soundfile.write(tmp_path / "a.wav", [0.1] * 8000, 8000)
    write_kaldi(tmp_path / "wav.scp", {"slow": str(tmp_path / "a.wav")})
    (tmp_path / "text").write_text("slow before\n")
    with pytest.raises(AudioError, match="slow .*8000 Hz.*expected 16000 Hz"):
        decode_dir(decoder, tmp_path, tmp_path / "text")
    assert (tmp_path / "text").read_text() == "slow before\n"
    assert decode_dir(decoder, tmp_path, tmp_path / "text", on_mismatch="convert").texts.keys() == {"slow"}


def test_output_that_is_not_finite_is_named(tiny_data, tmp_path):
    """Diverged weights don't become empty transcripts."""
    from imlspike.espnet.decode import decode_dir

    def diverged(waveforms):
        raise FloatingPointError("the encoder's output isn't finite")

    with pytest.raises(FloatingPointError, match="u1.*isn't finite"):
        decode_dir(diverged, tiny_data, tmp_path / "text")
    assert not (tmp_path / "text").exists()


def test_model_file_that_does_not_fit(experiment, tmp_path):
    """A missing model file lists those there are; one of another model names what doesn't fit."""
    from imlspike.espnet.decode import GreedyDecoder

    with pytest.raises(ValueError, match="no such model file; in .* there is valid.loss.ave.pth"):
        GreedyDecoder(experiment / "config.yaml", experiment / "best.pth")
    states = torch.load(experiment / "valid.loss.ave.pth", weights_only=True)
    states.pop("ctc.ctc_lo.bias")
    torch.save(states, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="(?s)other.pth doesn't belong to .*ctc.ctc_lo.bias"):
        GreedyDecoder(experiment / "config.yaml", tmp_path / "other.pth")

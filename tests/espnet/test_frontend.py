"""The front end that training has is the one that inference has; augmentation is what it says."""

import math

import pytest
import torch

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.espnet.frontend import Augment, LateSpecAug, LevelLogMel  # noqa: E402
from imlspike.inference.recognizer import SpeechFeatures  # noqa: E402
from tests.espnet.tiny import tone  # noqa: E402

CONF = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40}


@pytest.fixture(scope="module")
def wave() -> torch.Tensor:
    return torch.from_numpy(tone("ab ba")).float()


@pytest.mark.parametrize("causal", [False, True])
def test_it_is_the_recognizers_whatever_the_batch_and_the_gain(wave, causal):
    frontend = LevelLogMel(**CONF, causal_level=causal, augment={"noise": 1.0}).eval()
    alone = SpeechFeatures(16000, **CONF, normalize="none", level=-20.0, causal_level=causal, floor=-60.0)
    alone.bands.copy_(frontend.logmel.melmat)
    short = 0.01 * wave[:9999]
    batch = torch.nn.utils.rnn.pad_sequence([wave, short], batch_first=True)
    features, lengths = frontend(batch, torch.tensor([len(wave), len(short)]))
    louder = short if causal else 100 * short  # whose gain is bounded at its begin
    for one, found, length in zip((wave, louder), features, lengths.tolist(), strict=True):
        torch.testing.assert_close(found[:length], alone(one), rtol=0, atol=1e-3)
        assert (found[length:] == 0).all()


def test_silence_is_the_floor(wave):
    frontend = LevelLogMel(**CONF, floor=-50.0).eval()
    features, _ = frontend(torch.cat([torch.zeros(8000), wave])[None], torch.tensor([8000 + len(wave)]))
    torch.testing.assert_close(features[0, :40], torch.full((40, 40), -5 * math.log(10)))


def test_one_too_short_for_a_window_trains(wave):
    features, lengths = LevelLogMel(**CONF)(torch.stack([wave, wave]), torch.tensor([len(wave), 10]))
    assert lengths.tolist()[1] == 2 and features.isfinite().all()


@pytest.mark.parametrize("kind", Augment.KINDS)
def test_augmentation_is_for_training_alone_and_follows_torchs_seed(kind, wave):
    frontend, batch = LevelLogMel(**CONF, augment={kind: 1.0}), (wave[None], torch.tensor([len(wave)]))
    plain, _ = LevelLogMel(**CONF).eval()(*batch)
    torch.testing.assert_close(frontend.eval()(*batch)[0], plain)
    frontend.train()
    first, second = (torch.manual_seed(seed) and frontend(*batch)[0] for seed in (1, 1))
    torch.testing.assert_close(first, second)
    if kind != "gain":  # which the level takes out again, but for what is cut off
        assert first.shape != plain.shape or (first - plain).abs().max() > 0.1


def test_augmentation_and_masks_begin_after_a_number_of_training_batches_and_checkpoints_know_it(wave):
    batch = wave[None], torch.tensor([len(wave)])
    conf = {"apply_time_warp": False, "num_time_mask": 2, "time_mask_width_range": [20, 30]}
    plain, lengths = LevelLogMel(**CONF).eval()(*batch)

    def parts():
        torch.manual_seed(0)
        return LevelLogMel(**CONF, augment={"noise": 1.0}, augment_after=3), LateSpecAug(after=3, **conf)

    def changed(frontend, masks):
        frontend.eval()(*batch)  # validation doesn't count
        return not torch.equal(frontend.train()(*batch)[0], plain), not torch.equal(
            masks(plain.clone(), lengths)[0], plain
        )

    assert [changed(*now) for now in [parts()] * 5] == [(False, False)] * 3 + [(True, True)] * 2
    first = parts()
    assert [changed(*first) for _ in range(2)] == [(False, False)] * 2
    resumed = parts()
    for new, old in zip(resumed, first, strict=True):
        new.load_state_dict(old.state_dict())
    assert [changed(*resumed) for _ in range(2)] == [(False, False), (True, True)]


def test_without_a_late_begin_the_parameters_are_those_of_older_checkpoints():
    assert LevelLogMel(**CONF, augment={"noise": 1.0}).state_dict().keys() == {"logmel.melmat"}
    assert not LateSpecAug(apply_time_mask=False).state_dict()
    for wrong in (-1, 1.5, True, "3"):
        with pytest.raises(ValueError, match="after"):
            LevelLogMel(**CONF, augment_after=wrong)


def test_what_augmentation_does(wave):
    torch.manual_seed(0)
    augment = Augment(16000)

    def share(signal: torch.Tensor, above: float) -> float:
        power = torch.fft.rfft(signal).abs().square()
        return (power[int(above / 8000 * len(power)) :].sum() / power.sum()).item()

    hiss = torch.randn(16000) * 0.1
    assert share(augment.telephone(hiss), 4200) < 0.01 < share(hiss, 4200)
    assert share(augment.band(hiss), 7900) < share(hiss, 7900)
    ratios = [10 * math.log10((augment.noise(wave) - wave).square().mean()) for _ in range(20)]
    speech = 10 * math.log10(wave[wave.abs() > 0].square().mean())
    assert min(ratios) > speech - 56 and max(ratios) < speech - 4 and max(ratios) - min(ratios) > 10
    assert max(augment.gain(wave).abs().max() for _ in range(20)) <= 1
    padded = augment.padding(wave)
    assert len(wave) <= len(padded) <= len(wave) + 4 * 16000
    assert (padded.unfold(0, 400, 1) - wave[:400]).abs().amax(1).min() == 0


@pytest.mark.parametrize(("conf", "key"), [({"nois": 0.5}, "nois"), ({"noise": 1.5}, "noise")])
def test_wrong_augmentation_is_named(conf, key):
    with pytest.raises(ValueError, match=key):
        LevelLogMel(**CONF, augment=conf)

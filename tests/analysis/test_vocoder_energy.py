"""The paper's energies from its stated inputs."""

import pytest

from imlspike.analysis.vocoder_energy import spiking_vocos_energy

# Table 3 of arXiv 2509.13049: steps, firing rate, energy in pJ at L = 1000.
TABLE_3 = {
    "Vocos": (None, None, 58.0e9),
    "Spiking Vocos (8-step)": (8, 0.147, 14.4e9),
    "Spiking Vocos (4-step)": (4, 0.129, 6.4e9),
    "+ TSM": (4, 0.141, 6.9e9),
    "+ Distillation": (4, 0.180, 8.7e9),
    "+ TSM & Distillation": (4, 0.176, 8.5e9),
}


@pytest.mark.parametrize(("steps", "rate", "printed"), TABLE_3.values(), ids=TABLE_3)
def test_table_3_follows_from_its_inputs(steps, rate, printed):
    energy = spiking_vocos_energy(frames=1000, rate=rate, steps=steps or 1)
    assert energy.blocks == pytest.approx(printed, abs=0.05e9)  # as the paper rounds


def test_the_papers_ratio_and_the_one_with_embedding_and_head():
    ann, final = spiking_vocos_energy(), spiking_vocos_energy(rate=0.176)
    assert 100 * final.blocks / ann.blocks == pytest.approx(14.65, abs=0.01)
    assert 100 * final.model / ann.model == pytest.approx(20.2, abs=0.05)
    assert (ann.embedding, ann.head) == (final.embedding, final.head)
    # by hand: 7 * 100 * 512 and 512 * 1026 MACs a frame
    assert ann.embedding + ann.head == pytest.approx(1000 * (358400 + 525312) * 4.6)


def test_rates_of_layers_count_as_their_mean():
    rates = [0.1] * 8 + [0.3] * 8
    assert spiking_vocos_energy(rate=rates).blocks == pytest.approx(spiking_vocos_energy(rate=0.2).blocks)
    assert spiking_vocos_energy(rate=0).blocks == pytest.approx(4 * 8 * 7 * 512 * 1000 * 4.6)
    with pytest.raises(ValueError, match="3 rates for 16 neuron layers"):
        spiking_vocos_energy(rate=[0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match="0 to 1"):
        spiking_vocos_energy(rate=17.6)

"""The voice recipes of LJSpeech, Baker, LibriTTS and AISHELL-3: stages 1 to 3 on miniatures in their exact
layout, and what their models are."""

import re
import subprocess
from pathlib import Path

import pytest
import soundfile
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.espnet.config import resolve  # noqa: E402
from imlspike.espnet.tts import SpikeVoiceTTS  # noqa: E402
from imlspike.models import SpikingVocos  # noqa: E402
from imlspike.text.phonemes import front_end, symbols_of  # noqa: E402
from imlspike.text.tokens import read_tokens  # noqa: E402
from tests.recipes.corpora import make_libritts  # noqa: E402
from tests.recipes.running import EGS, finish, start, table  # noqa: E402
from tests.recipes.tts_corpora import make_aishell3, make_baker, make_ljspeech  # noqa: E402

pytestmark = pytest.mark.timeout(3000)
CONF = EGS.parent / "conf"
MAKE = {
    "ljspeech": make_ljspeech,
    "baker": make_baker,
    "libritts": lambda root: make_libritts(root, {"train-clean-100": 24}),
    "aishell3": make_aishell3,
}
RATES = {"ljspeech": 22050, "baker": 22050, "libritts": 24000, "aishell3": 22050}


def called(corpus: str) -> str:
    """What the recipe's run.sh calls tts.sh with."""
    return re.sub(r"\\\n", " ", (EGS / corpus / "tts1/run.sh").read_text()).split("exec ")[1]


def stages(corpus: str, root: Path, *options: str) -> tuple[Path, str]:
    """Runs stages 1 to 3; where, and what was printed."""
    MAKE[corpus](root / "corpus")
    given = ["--corpus_dir", root / "corpus", "--ngpu", "0", "--nj", "1", "--stop_stage", "3", *options]
    return root / "work", finish(start(f"{corpus}/tts1", root / "work", *given, "--ann", "false"))


def test_ljspeech_speaks_its_normalised_text_with_its_punctuation(tmp_path):
    work, _ = stages("ljspeech", tmp_path)
    check(work, "ljspeech", "english", "text")
    assert "," in table(work / "dump/phn/train/text")["LJ001-0001"].split()


def test_baker_is_trained_on_its_own_pinyin_and_will_read_characters(tmp_path):
    work, _ = stages("baker", tmp_path)
    check(work, "baker", "pinyin", "pinyin")
    known = set(read_tokens(work / "dump/symbols/tokens.txt"))
    assert set(front_end("mandarin")(table(work / "data/test/text")["000050"])) <= known
    assert "--voice_front_end mandarin" in called("baker")


def test_aishell3_speaks_with_the_voices_of_its_training_set_only(tmp_path):
    work, printed = stages("aishell3", tmp_path)
    check(work, "aishell3", "pinyin", "pinyin")
    voices = {
        name: set(table(work / f"dump/phn/{name}/utt2spk").values()) for name in ("train", "valid", "test")
    }
    assert voices["train"] == voices["valid"] == voices["test"] == {"SSB0005", "SSB0009"}
    left_out = table(work / "dump/symbols/test/excluded.tsv")
    assert set(left_out) == {name for name in table(work / "data/test/text") if name.startswith("SSB0784")}
    assert f"{len(left_out)} left out (speakers not in" in printed


def test_libritts_holds_out_sentences_of_each_reader(tmp_path):
    work, _ = stages("libritts", tmp_path, "--hold_out_every", "4")
    check(work, "libritts", "english", "text")
    sets = {name: table(work / f"data/{name}/utt2spk") for name in ("train", "valid", "test")}
    assert all(set(speakers.values()) == {"84", "85"} for speakers in sets.values())
    assert [len(speakers) for speakers in sets.values()] == [12, 6, 6]
    assert {k for speakers in sets.values() for k in speakers} == table(
        work / "data/train_clean_100/text"
    ).keys()


def check(work: Path, corpus: str, front: str, text_table: str) -> None:
    """Symbols are the front end's of that table, the list has them all, and the audio is of one rate."""
    known = read_tokens(work / "dump/symbols/tokens.txt")[2:-1]
    assert known == symbols_of(front)
    for name in ("train", "valid", "test"):
        source, spoken = table(work / f"data/{name}" / text_table), table(work / f"dump/phn/{name}/text")
        assert spoken and spoken.keys() <= source.keys()
        for utterance, symbols in spoken.items():
            assert symbols.split(" ") == front_end(front)(source[utterance])
        audio = table(work / f"dump/phn/{name}/wav.scp").values()
        assert {soundfile.info(work / file).samplerate for file in audio} == {RATES[corpus]}


@pytest.mark.parametrize("corpus", [*MAKE, "msu_ru_nsh"])
def test_configurations_resolve_to_the_published_model_its_ablation_and_its_twin(corpus):
    words = called(corpus).split()
    base, folder = (
        EGS.parent / words[words.index("--config") + 1],
        EGS.parent / words[words.index("--overrides") + 1],
    )
    changes = [EGS.parent / words[words.index("--changes") + 1]] if "--changes" in words else []
    attentions = {}
    for file in sorted(folder.glob("*.yaml")):
        config = resolve(base, [*changes, file], task="tts")
        model = SpikeVoiceTTS(40, config["feats_extract_conf"]["n_mels"], **config["tts_conf"]).spikevoice
        attentions[file.stem] = (model.config["neuron"], model.config["attention"], model.config["steps"])
        for part in ("pitch_extract", "energy_extract"):
            for key in ("fs", "n_fft", "hop_length"):
                assert config[f"{part}_conf"][key] == config["feats_extract_conf"][key]
        if corpus != "msu_ru_nsh" and file.stem == "spikevoice":
            published = dict(dim=256, heads=2, encoder_layers=4, decoder_layers=6, hidden_dim=1024, kernel=9)
            assert published.items() <= model.config.items()
            assert config["optim_conf"]["betas"] == [0.9, 0.98] and config["batch_size"] == 48
            assert (config["scheduler"], config["scheduler_conf"]["warmup_steps"]) == ("noamlr", 4000)
            assert config["feats_extract_conf"]["fs"] == RATES[corpus]
    assert attentions["spikevoice"] == ("lif", "stsa", 4) and attentions["sequential"] == (
        "lif",
        "sequential",
        4,
    )
    assert attentions["ann"][0] == "none" and attentions["imls"] == ("imls", "sequential", 4)


@pytest.mark.parametrize(
    ("tts", "vocoder"),
    [
        ([CONF / "spikevoice_small.yaml"], CONF / "voc_small.yaml"),
        (
            [CONF / "spikevoice.yaml", EGS / "libritts/tts1/conf/features.yaml"],
            EGS / "libritts/voc1/conf/train_vocos.yaml",
        ),
    ],
)
def test_the_voices_mel_is_that_of_the_corpus_vocoder(tts, vocoder):
    mel = resolve(tts[0], tts[1:], task="tts")["feats_extract_conf"]
    speaks = SpikingVocos.from_config(yaml.safe_load(vocoder.read_text())["generator"]).config
    names = {"fs": "sampling_rate", "n_fft": "n_fft", "hop_length": "hop_length", "n_mels": "n_mels"}
    names |= {"fmin": "f_min", "fmax": "f_max"}
    assert {names[key]: value for key, value in mel.items()} == {
        name: speaks[name] for name in names.values()
    }


def test_hold_out_refuses_what_leaves_a_set_empty(tmp_path):
    make_ljspeech(tmp_path / "corpus", {"train": 4, "valid": 1, "test": 1})
    options = ["--corpus_dir", tmp_path / "corpus", "--ngpu", "0", "--ann", "false", "--stop_stage", "1"]
    options += ["--train_set", "a", "--valid_set", "b", "--test_set", "c", "--hold_out_from", "train"]
    process: subprocess.Popen = start("ljspeech/tts1", tmp_path / "work", *options)
    printed, _ = process.communicate(timeout=1500)
    assert (
        process.returncode != 0 and "nothing is left for" in printed and "--every 50 is too much" in printed
    )

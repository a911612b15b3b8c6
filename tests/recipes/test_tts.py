"""The voices' recipes: each stage in process with fakes for ESPnet's programs, and one in full."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.espnet.config import resolve  # noqa: E402
from imlspike.espnet.tts import SpikeVoiceTTS  # noqa: E402
from imlspike.models import SpikingVocos  # noqa: E402
from imlspike.text.phonemes import front_end, languages_of, symbols_of  # noqa: E402
from imlspike.text.tokens import read_tokens  # noqa: E402
from tests.recipes.corpora import make_libritts  # noqa: E402
from tests.recipes.corpus import write_corpus  # noqa: E402
from tests.recipes.fakes import EGS, HERE, Programs, run, table, use_forks  # noqa: E402
from tests.recipes.tts_corpora import make_aishell3, make_baker, make_fillets, make_ljspeech  # noqa: E402

CONF = EGS.parent / "conf"
MAKE = {
    "ljspeech": make_ljspeech,
    "baker": make_baker,
    "libritts": lambda root: make_libritts(root, {"train-clean-100": 24}),
    "aishell3": make_aishell3,
    "fillets": make_fillets,
}
RULES = "--front_end english"
RATES = {"ljspeech": 22050, "baker": 22050, "libritts": 24000, "aishell3": 22050, "fillets": 22050}


@pytest.fixture
def programs(monkeypatch) -> Programs:
    return Programs(monkeypatch)


def stages(corpus: str, root: Path, options: str = "") -> Path:
    """Run stages 1 to 3; where."""
    MAKE[corpus](root / "corpus")
    given = f"--corpus_dir {root}/corpus --ngpu 0 --nj 1 --ann false --stop_stage 3 {options}"
    assert run(f"{corpus}/tts1", root / "work", given) == 0
    return root / "work"


def check(work: Path, corpus: str, front: str, text_table: str) -> None:
    """Symbols are the front end's of that table, the list has them all, and the audio is of one rate."""
    assert read_tokens(work / "dump/symbols/tokens.txt")[2:-1] == symbols_of(front)
    check_symbols(work, corpus, front, text_table)


def check_symbols(work: Path, corpus: str, front: str, text_table: str) -> None:
    languages = languages_of(front)
    fronts = {language: front_end(front, language=language) for language in languages or (None,)}
    for name in ("train", "valid", "test"):
        language_of = table(work / f"data/{name}/utt2lang") if languages else {}
        source, spoken = table(work / f"data/{name}" / text_table), table(work / f"dump/phn/{name}/text")
        assert spoken and spoken.keys() <= source.keys()
        for utterance, symbols in spoken.items():
            assert symbols.split(" ") == fronts[language_of.get(utterance)](source[utterance])
        audio = table(work / f"dump/phn/{name}/wav.scp").values()
        assert {soundfile.info(work / file).samplerate for file in audio} == {RATES[corpus]}


def test_ljspeech_speaks_its_normalised_text_with_its_punctuation(programs, tmp_path):
    work = stages("ljspeech", tmp_path, RULES)
    check(work, "ljspeech", "english", "text")
    assert "," in table(work / "dump/phn/train/text")["LJ001-0001"].split()


def test_baker_is_trained_on_its_own_pinyin_and_will_read_characters(programs, tmp_path):
    work = stages("baker", tmp_path)
    check(work, "baker", "pinyin", "pinyin")
    known = set(read_tokens(work / "dump/symbols/tokens.txt"))
    assert set(front_end("mandarin")(table(work / "data/test/text")["000050"])) <= known


def test_aishell3_speaks_with_the_voices_of_its_training_set_only(programs, tmp_path, capsys):
    work = stages("aishell3", tmp_path)
    check(work, "aishell3", "pinyin", "pinyin")
    for name in ("train", "valid", "test"):
        assert set(table(work / f"dump/phn/{name}/utt2spk").values()) == {"SSB0005", "SSB0009"}
    left_out = table(work / "dump/symbols/test/excluded.tsv")
    assert set(left_out) == {name for name in table(work / "data/test/text") if name.startswith("SSB0784")}
    assert f"{len(left_out)} left out (speakers not in" in capsys.readouterr().out
    given = (
        f"--corpus_dir {tmp_path}/corpus --ngpu 0 --stage 4 --stop_stage 5 --models spikevoice --ann false"
    )
    assert run("aishell3/tts1", work, given) == 0
    voice = yaml.safe_load((work / "exp/spikevoice/voice.yaml").read_text())
    assert voice["front_end"] == "mandarin" and voice["speakers"] == ["SSB0005", "SSB0009"]
    assert set(table(work / "dump/phn/train/utt2sid").values()) == {"1", "2"}
    config = yaml.safe_load((work / "exp/spikevoice/run.yaml").read_text())
    assert config["tts_conf"]["speakers"] == 3
    assert ["dump/phn/train/utt2sid", "sids", "text_int"] in config["train_data_path_and_name_and_type"]


def test_fillets_is_one_voice_of_two_languages_or_a_voice_each(programs, tmp_path):
    front = "espeak:nl+cs"
    changes = " ".join(f"{EGS}/fillets/tts1/conf/{name}.yaml" for name in ("features", "both"))
    given = f"--corpus fillets --front_end {front} --changes '{changes}'"
    work = stages("fillets", tmp_path, f"{given} --max_left_out 0.5")
    check_symbols(work, "fillets", front, "text")
    symbols = {name: text.split() for name, text in table(work / "dump/phn/train/text").items()}
    sentences = {name: text for name, text in table(work / "data/train/text").items() if name in symbols}
    dutch = next(name for name in sentences if name[:2] == "nl")
    assert symbols[dutch] == front_end("espeak:nl")(sentences[dutch])
    words = "--stage 4 --stop_stage 5 --models spikevoice --ann false --corpus_dir"
    assert run("fillets/tts1", work, f"{given} {words} {tmp_path}/corpus") == 0
    voice = yaml.safe_load((work / "exp/spikevoice/voice.yaml").read_text())
    assert voice["front_end"] == front and voice["speakers"] == ["cs-big", "cs-small", "nl-big", "nl-small"]
    assert voice["languages"] == {speaker: speaker[:2] for speaker in voice["speakers"]}
    cut = "--hold_out_from train --train_set a --valid_set b --test_set c --hold_out_every 4 --stop_stage 2"
    held = f"{given} {cut} --corpus_dir {tmp_path}/corpus --max_left_out 0.9"
    assert run("fillets/tts1", tmp_path / "cut", held) == 0
    for name in "abc":
        languages = table(tmp_path / f"cut/data/{name}/utt2lang")
        assert languages == {u: u[:2] for u in table(tmp_path / f"cut/data/{name}/text")} != {}
    assert (
        run(
            "fillets/tts1",
            tmp_path / "nl",
            f"--corpus_dir {tmp_path}/corpus --max_left_out 0.5 --stop_stage 3",
        )
        == 0
    )
    assert set(table(tmp_path / "nl/dump/phn/train/utt2spk").values()) == {"small", "big"}
    for where, known in ((work, {"nl", "cs"}), (tmp_path / "nl", {"nl"})):
        languages = table(where / "dump/test/utt2lang")
        assert set(languages.values()) == known and languages.keys() == table(where / "dump/test/text").keys()


def test_libritts_holds_out_sentences_of_each_reader(programs, tmp_path, capsys):
    work = stages("libritts", tmp_path, f"--hold_out_every 4 {RULES}")
    check(work, "libritts", "english", "text")
    sets = {name: table(work / f"data/{name}/utt2spk") for name in ("train", "valid", "test")}
    assert all(set(speakers.values()) == {"84", "85"} for speakers in sets.values())
    assert [len(speakers) for speakers in sets.values()] == [12, 6, 6]
    assert {k for s in sets.values() for k in s} == table(work / "data/train_clean_100/text").keys()
    given = f"--ngpu 0 --corpus_dir {tmp_path}/corpus --stop_stage 1 {RULES}"
    assert run("libritts/tts1", work, given) == 1
    assert "nothing is left for" in (told := capsys.readouterr().err) and "--hold_out_every 50" in told


def test_an_unspeakable_text_is_left_out_listed_and_counted(programs, tmp_path, capsys):
    lines = make_ljspeech(tmp_path / "corpus") / "LJSpeech-1.1/metadata.csv"
    lines.write_text(lines.read_text().replace(" two.", " два.", 1))
    words = f"--corpus_dir {tmp_path}/corpus --stop_stage 2 --ngpu 0 --ann false {RULES}"
    assert run("ljspeech/tts1", tmp_path / "work", words) == 1
    assert "--max-left-out" in capsys.readouterr().err
    assert run("ljspeech/tts1", tmp_path / "work", f"{words} --max-left-out 0.1") == 0
    assert "left out LJ001-0001" in capsys.readouterr().out
    assert "LJ001-0001" in table(tmp_path / "work/dump/symbols/train/excluded.tsv")
    assert "LJ001-0001" not in table(tmp_path / "work/dump/symbols/train/text")


@pytest.mark.parametrize("corpus", [*MAKE, "msu_ru_nsh"])
def test_configurations_resolve_to_the_published_model_its_ablation_and_its_twin(corpus):
    script = (EGS / corpus / "tts1/run.sh").read_text()
    base = EGS.parent / re.search(r"--config (\S+)", script)[1]
    changes = [EGS / corpus / "tts1/conf/features.yaml"] if "--changes" in script else []
    attentions = {}
    for file in sorted((CONF / "tts").glob("*.yaml")):
        config = resolve(base, [*changes, file], task="tts")
        model = SpikeVoiceTTS(40, config["feats_extract_conf"]["n_mels"], **config["tts_conf"]).spikevoice
        attentions[file.stem] = (model.config["neuron"], model.config["attention"], model.config["steps"])
        for part in ("pitch_extract", "energy_extract"):
            for key in ("fs", "n_fft", "hop_length"):
                assert config[f"{part}_conf"][key] == config["feats_extract_conf"][key]
        if base.stem == "spikevoice" and file.stem == "spikevoice":
            published = dict(dim=256, heads=2, encoder_layers=4, decoder_layers=6, hidden_dim=1024, kernel=9)
            assert published.items() <= model.config.items()
            assert config["optim_conf"]["betas"] == [0.9, 0.98] and config["batch_size"] == 48
            assert (config["scheduler"], config["scheduler_conf"]["warmup_steps"]) == ("noamlr", 4000)
            assert config["feats_extract_conf"]["fs"] == RATES[corpus]
    assert attentions.pop("ann")[0] == "none"
    sequential = {"sequential": ("lif", "sequential", 4), "imls": ("imls", "sequential", 4)}
    assert attentions == {"spikevoice": ("lif", "stsa", 4)} | sequential


@pytest.mark.parametrize("corpus", ["msu_ru_nsh", "libritts", "fillets"])
def test_the_voices_mel_is_that_of_the_corpus_vocoder(corpus):
    tts, vocoder = [CONF / "spikevoice_small.yaml"], CONF / "voc_small.yaml"
    if corpus != "msu_ru_nsh":
        tts = [
            tts[0] if corpus == "fillets" else CONF / "spikevoice.yaml",
            EGS / corpus / "tts1/conf/features.yaml",
        ]
        vocoder = EGS / corpus / "voc1/conf/train_vocos.yaml"
    mel = resolve(tts[0], tts[1:], task="tts")["feats_extract_conf"]
    speaks = SpikingVocos.from_config(yaml.safe_load(vocoder.read_text())["generator"]).config
    names = {"fs": "sampling_rate", "fmin": "f_min", "fmax": "f_max"}
    assert all(speaks[names.get(key, key)] == value for key, value in mel.items()) and len(mel) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--frontend russian", "did you mean --front_end?"),
        ("--models spikvoice", "--models: there is no"),
        ("--models ann", "ann is trained by --ann true"),
        ("--models imls_imls", "there are: ann imls"),
        ("--vocoder nowhere", "--vocoder: there is no nowhere"),
        ("--asr_model whisper:nowhere", "--asr_model: there is no nowhere"),
        ("--asr_model whispr", "--asr_model: there is no whispr"),
        ("--test_set valid", "--test_set valid: "),
        ("--labels nowhere", "--labels: there is no nowhere"),
        ("--durations_from lables", "expected one of: aligner labels"),
        ("--durations_from labels --corpus_labels=", "--durations_from labels needs --labels"),
        ("--front_end=", "--front_end: "),
        ("--voice_front_end rusian", "--voice_front_end: "),
        ("--use_sid yes", "--use_sid is 'yes'"),
        ("--hold_out_from train", "--hold_out_from: train"),
        ("--hold_out_every 2", "--hold_out_every is '2'"),
        ("--score_args '--mesures mcd'", "--score_args: unrecognized arguments: --mesures mcd"),
        ("--changes no.yaml", "--changes: there is no no.yaml"),
    ],
)
def test_a_wrong_option_stops_before_anything_is_made(refused, options, message):
    assert message in refused("msu_ru_nsh/tts1", options)


def write_labels(corpus: Path) -> None:
    """Festival's labels of sentences: their phones and a pause at both ends, each as long as the next."""
    texts = dict(line[2:-3].split(' "') for line in (corpus / "etc/txt.done.data").read_text().splitlines())
    (corpus / "lab").mkdir()
    for name, text in texts.items():
        phones = ["pau", *front_end("russian:marked")(text)[:-1], "pau"]
        wav = corpus / f"wav/{name}.wav"
        step = soundfile.info(wav).duration / len(phones) if wav.exists() else 0.1
        times = [f"{(n + 1) * step:.5f} 125 {phone}\n" for n, phone in enumerate(phones)]
        (corpus / f"lab/{name}.lab").write_text("".join(["#\n", *times]))


def msu(work: Path, words: str = "") -> int:
    given = f"--corpus_dir {work.parent}/corpus --max_left_out 0.2 --models imls --nj 1 --test_utts 1"
    given += f" --config {HERE}/tiny_tts.yaml --min_wav_duration 0.2 --profile_utts 1"
    return run("msu_ru_nsh/tts1", work, f"{given} --score_args '--measures mcd --resamples 10' {words}")


def test_labels_of_a_corpus_may_be_yet_to_download(programs, tmp_path, capsys):
    fetched = "--durations_from labels --nj 1 --dry_run"
    assert run("msu_ru_nsh/tts1", tmp_path, fetched) == 0
    (tmp_path / "data/train").mkdir(parents=True)
    assert run("msu_ru_nsh/tts1", tmp_path, fetched) == 1
    assert "lab/ in downloads" in capsys.readouterr().err


def test_durations_can_be_those_of_labels(programs, tmp_path):
    write_corpus(tmp_path / "corpus")
    write_labels(tmp_path / "corpus")
    work = tmp_path / "work"
    assert msu(work, "--ann false --durations_from labels") == 0
    assert not any("alignment" in word for words in programs.calls for word in words)
    config = yaml.safe_load((work / "exp/imls/run.yaml").read_text())
    assert config["tts_conf"]["aligner"] is False
    tables = config["valid_data_path_and_name_and_type"]
    assert ["dump/phn/valid/durations", "durations", "text_int"] in tables
    for name, text in table(work / "dump/phn/train/text").items():
        frames = list(map(int, table(work / "dump/phn/train/durations")[name].split()))
        assert text.split() == front_end("russian:marked")(table(work / "data/train/text")[name])
        first, *others, last, _ = frames  # two labels' time, one's each, one's, and the pause
        assert abs(first - 2 * np.mean(others)) <= 2 and abs(last - np.mean(others)) <= 1
    forced = [words for words in programs.calls if words[2].endswith("synthesize") and "forced" in words]
    assert all("dump/phn/test/durations" in words for words in forced) and forced


def test_scores_energy_and_alignment_stand_under_their_model_file(programs, tmp_path, capsys):
    write_corpus(tmp_path / "corpus")
    write_labels(tmp_path / "corpus")
    work, other = tmp_path / "work", "--inference_model 1epoch.pth"
    (work / "small").mkdir(parents=True)
    heard = f"--asr_model whisper:{work}/small"
    assert msu(work) == 0 and msu(work, f"--stage 6 --stop_stage 8 {other} {heard}") == 0
    given = [dict(zip(words, words[1:], strict=False)) | {"all": words} for words in programs.calls]
    own, of_1epoch = [one for one in given if one["all"][2].endswith("score") and "--systems" in one]
    assert (own["--output-dir"], of_1epoch["--output-dir"]) == ("exp/scores", "exp/scores_1epoch")
    assert {"imls=exp/imls/free", "ann_forced=exp/ann/forced"} <= set(own["all"])
    assert "--asr-model" not in own and of_1epoch["--asr-model"] == f"whisper:{work}/small"
    assert {"imls_1epoch=exp/imls/free_1epoch", "ann_1epoch"} <= set(of_1epoch["all"])
    profiles = [(one["--model"], one["--output-dir"]) for one in given if one["all"][2].endswith("profile")]
    aligned = [one for one in given if one["all"][2].endswith("score") and "--labels" in one]
    assert ("exp/imls/1epoch.pth", "exp/imls/profile_1epoch") in profiles and len(profiles) == 4
    where = {(one["--model-file"], one["--output-dir"]) for one in aligned if one["--model"] == "exp/imls"}
    assert where == {
        ("valid.loss.ave.pth", "exp/imls/alignment"),
        ("1epoch.pth", "exp/imls/alignment_1epoch"),
    }
    assert msu(work, "--stage 9") == 0 and "exp/scores" in programs.calls[-1]
    assert msu(work, f"--stage 9 {other}") == 0
    assert {"exp/scores_1epoch", "1epoch.pth"} <= set(programs.calls[-1])
    assert msu(work, "--stage 5 --stop_stage 5 --models imls --ann false --resume false --seed 5") == 0
    left = {path.name for path in work.glob("exp/imls/*") if path.is_dir()}
    assert left == {".done"} and (work / "exp/ann/free").exists()
    for words in ("", other):
        assert msu(work, f"--stage 9 {words}") == 1
        assert "scores.json, which stage 7" in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_a_voice_and_its_twin_in_full(tmp_path, monkeypatch, capfd):
    use_forks(monkeypatch)
    write_corpus(tmp_path / "corpus")
    write_labels(tmp_path / "corpus")
    work = tmp_path / "with a blank"
    assert msu(work) == 0
    told = capfd.readouterr().out
    words, symbols = table(work / "data/test/text"), table(work / "dump/symbols/test/text")
    for name, text in words.items():
        assert text[0].isupper() and symbols[name].split(" ") == front_end("russian:marked")(text)
    assert table(work / "dump/phn/train/excluded.tsv")["ru_0027"].startswith("too short for its transcript")
    frames = table(work / "dump/phn/stats/train/speech_shape")
    pitch = table(work / "dump/phn/stats/train/collect_feats/pitch.scp")
    assert pitch.keys() == table(work / "dump/phn/train/wav.scp").keys()
    for name, file in pitch.items():
        values = np.load(work / file)
        assert values.shape == (int(frames[name]) // 256 + 1, 1) and values.dtype == np.float32
    assert np.load(work / "dump/phn/stats/train/feats_stats.npz")["sum"].dtype == np.float64
    assert not list(work.rglob("data_feats"))
    folders = {"natural_mel": "exp/natural"}
    for name in ("ann", "imls"):
        exp = work / "exp" / name
        config = yaml.safe_load((exp / "config.yaml").read_text())
        assert config["tts_conf"]["neuron"] == ("none" if name == "ann" else "imls")
        assert config["normalize"] == config["pitch_normalize"] == config["energy_normalize"] == "global_mvn"
        assert f"{name}: epoch 2/2" in told
        voice = yaml.safe_load((exp / "voice.yaml").read_text())
        assert voice == {"front_end": "russian:marked", "model_file": "valid.loss.ave.pth"}
        assert json.loads((exp / "alignment/alignment.json").read_text())
        assert (exp / "profile/energy.json").exists()
        folders |= {name: f"exp/{name}/free", f"{name}_forced": f"exp/{name}/forced"}
    scores = json.loads((work / "exp/scores/scores.json").read_text())
    assert set(folders) | {"natural"} == scores["systems"].keys()
    recording = soundfile.info(work / "dump/test/wav/ru_0012.wav")
    for name, folder in folders.items():
        spoken = soundfile.info(work / folder / "wav/ru_0012.wav")
        assert spoken.samplerate == 16000
        assert name in ("ann", "imls") or abs(spoken.frames - recording.frames) <= 256
    assert "imls" in (work / "exp/RESULTS.md").read_text()
    programs = Programs(monkeypatch)
    assert msu(work) == 0 and [name.rpartition(".")[2] for name in programs.modules()] == ["report"]

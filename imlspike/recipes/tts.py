"""A voice from a corpus to a table of results: the ANN twin (FastSpeech 2), SpikeVoice, and further models.

Models are overrides of one configuration. No aligner and no labels are needed: durations are learned from
text and sound; or they are those of phone labels (--durations_from).
"""

import shutil
from collections import Counter
from pathlib import Path

from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.kaldi import read_data_dir, read_excluded, write_data_dir
from imlspike.data.yaml_file import write_yaml
from imlspike.recipes import data, training
from imlspike.recipes.processes import RecipeError, program, verb
from imlspike.recipes.progress import Log, log
from imlspike.recipes.runner import Needs, Recipe
from imlspike.recipes.training import average, launch, statistics
from imlspike.recipes.tts_options import DUMP, FEATURES, SHARED, SOUND, STATS, TESTED, TOKENS, Tts

recipe = Recipe(Tts)
stage = recipe.stage


@stage(1)
def prepare(o: Tts):
    """Data preparation."""
    yield from data.prepare_corpus(o, [o.hold_out_from] if o.hold_out_from else o.sets, o.text_table)


@stage(1, when=lambda o: "" if o.hold_out_from else "not asked for (--hold_out_from SET)")
def hold_out(o: Tts):
    """Sets cut out of one.

    Of each speaker's utterances, in the order of their names, every n-th is test, each half-way between
    two of these valid; a speaker with few of them is in train alone.
    """
    source, n = f"data/{o.hold_out_from}", o.hold_out_every
    made = data.tables(*(f"data/{name}" for name in o.sets))
    yield Needs(data.tables(source), made, o.pick("hold_out_every"))
    sets, seen, places = {name: [] for name in o.sets}, Counter(), {0: o.test_set, n // 2: o.valid_set}
    for utterance in read_data_dir(source):
        seen[utterance.speaker] += 1
        sets[places.get(seen[utterance.speaker] % n, o.train_set)].append(utterance)
    for name, utterances in sets.items():
        if not utterances:
            raise RecipeError(f"{source}: nothing is left for {name}; --hold_out_every {n} is too much")
        write_data_dir(f"data/{name}", utterances, read_excluded(source) if name == o.train_set else {})
        log(f"  data/{name}: {len(utterances)} utterances, {sum(u.seconds for u in utterances) / 3600:.2f} h")


@stage(2)
def make_symbols(o: Tts):
    """Text to symbols.

    The training set first, which makes the list of symbols where the front end has none. Durations from
    labels are of the labels' phones, so these are the symbols then.
    """
    tables = [f"data/{name}/{table}" for name in o.sets for table in ("wav.scp", "utt2spk", o.text_table)]
    made = [f"{TOKENS}/tokens.txt", *data.tables(*(f"{TOKENS}/{name}" for name in o.sets))]
    settings = o.pick("front_end text_table use_sid durations_from max_left_out")
    yield Needs([*tables, *o.timing()], made, settings)
    tokens = "--write-tokens"
    for name in o.sets:
        out = f"{TOKENS}/{name}"
        words = ["--data-dir", f"data/{name}", "--table", o.text_table, "--output-dir", out]
        words += ["--front-end", o.front_end, "--max-left-out", o.max_left_out]
        verb("phonemes", *words, tokens, f"{TOKENS}/tokens.txt")
        if o.durations_from == "labels":
            words = ["--data-dir", out, "--symbols-dir", out, "--punctuate"]
            program(o, "durations", "--labels", o.find_labels(), *words, "--tokens", f"{TOKENS}/tokens.txt")
        if o.use_sid:
            leave_out_unknown_speakers(f"{TOKENS}/{o.train_set}", out)
        tokens = "--tokens"


def leave_out_unknown_speakers(train: str, folder: str) -> None:
    """No voice is trained for a speaker who isn't in the training set."""
    known, utterances = {u.speaker for u in read_data_dir(train)}, read_data_dir(folder)
    kept = [utterance for utterance in utterances if utterance.speaker in known]
    out = {u.id: f"speaker {u.speaker} is not in {train}" for u in utterances if u.speaker not in known}
    if not kept:
        told = "take another set, or cut one out of the training set with --hold_out_from"
        raise RecipeError(f"{folder}: none of its speakers is in {train}, so none has a voice; {told}")
    if out:
        write_data_dir(folder, kept, read_excluded(folder) | out)
        log(f"  {folder}: {len(kept)} utterances, {len(out)} left out (speakers not in {train})")


@stage(3, each=data.each_set)
def format_set(o: Tts, name: str):
    """Audio of one rate."""
    yield from data.format_audio(o, f"{TOKENS}/{name}", f"{SOUND}/{name}", "wav", o.rate)


@stage(3, each=data.trained_sets)
def limit_durations(o: Tts, name: str):
    """Removal of what is too long, too short, or has more symbols than frames."""
    yield from data.limit(o, f"{SOUND}/{name}", f"{DUMP}/{name}", "voice", hop=o.hop, sampling_rate=o.rate)


@stage(3)
def choose_test(o: Tts):
    """Choice of what is spoken and scored.

    dump/phn/<test set> in symbols, dump/test in words, with the recordings under the utterances' names.
    """
    source, spoken, texts = f"{SOUND}/{o.test_set}", f"{DUMP}/{o.test_set}", f"data/{o.test_set}/text"
    yield Needs([*data.tables(source), texts], data.tables(TESTED, spoken), o.pick("test_utts"))
    for folder in (TESTED, spoken):
        shutil.rmtree(folder, ignore_errors=True)
    data.spread(source, o.test_utts, spoken)
    data.link_audio(spoken, f"{TESTED}/wav")
    for table in ("wav.scp", "utt2spk", "utt2dur"):
        shutil.copy(f"{spoken}/{table}", TESTED)
    words = read_kaldi(texts)
    write_kaldi(f"{TESTED}/text", {name: words[name] for name in read_kaldi(f"{spoken}/text")})


@stage(3, each=data.each_set, when=lambda o: "" if o.timing() else "they are learned")
def time_symbols(o: Tts, name: str):
    """Durations by labels."""
    (made,) = o.durations(name)
    yield Needs([*data.tables(f"{DUMP}/{name}"), *o.timing()], [made], o.pick("hop"))
    words = ["--data-dir", f"{DUMP}/{name}", "--output-file", made, "--hop-length", o.hop]
    program(o, "durations", "--labels", o.find_labels(), *words)


def _stats_files() -> list[str]:
    files = ("speech_shape", "text_shape.phn", "collect_feats/pitch.scp", "collect_feats/energy.scp")
    made = [f"{STATS}/{split}/{file}" for split in training.SPLITS for file in files]
    return made + [f"{STATS}/train/{kind}_stats.npz" for kind in FEATURES]


@stage(4, jobs=lambda o: 1)
def collect_statistics(o: Tts):
    """Statistics of mel, pitch and energy.

    Sums of mel, pitch and energy, for norms; and pitch and energy themselves, which training reads:
    finding pitch takes longer than a training step.
    """
    settings = training.select(o.configs[o.first], SHARED) | o.pick("use_sid")
    yield Needs(o.data_files, _stats_files(), settings, follow=o.utterances_read())
    if o.use_sid:
        number_speakers(o)
    none = dict.fromkeys(("normalize", "pitch_normalize", "energy_normalize"))
    config = o.training_config(o.first, collected=False) | none | {"write_collected_feats": True}
    statistics(o, STATS, "tts", config, o.wavs, least=200)  # pitch takes time
    for path in [*Path(STATS).glob("*/*/*/collect_feats/data_feats"), *Path(STATS).glob("**/feats.scp")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def number_speakers(o: Tts) -> None:
    """ESPnet's numbers of speakers: those of the training set from 1 on, in the order of their names; 0 is
    nobody."""
    speakers = sorted(set(read_kaldi(f"{DUMP}/{o.train_set}/utt2spk").values()))
    numbers = {speaker: str(n) for n, speaker in enumerate(["<unk>", *speakers])}
    write_kaldi(f"{DUMP}/spk2sid", numbers)
    for name in o.sets:
        speaker_of = read_kaldi(f"{DUMP}/{name}/utt2spk")
        write_kaldi(f"{DUMP}/{name}/utt2sid", {name: numbers[who] for name, who in speaker_of.items()})
    log(f"  {len(speakers)} speakers")


@stage(5, each=data.names, jobs=lambda o: o.at_once)
def train(o: Tts, name: str):
    """Training."""
    exp, config = f"exp/{name}", o.configs[name]
    inputs = [*o.data_files, *_stats_files(), *o.durations(o.train_set), *o.durations(o.valid_set)]
    yield training.needs(exp, config, inputs, config | o.pick("seed use_sid"))
    training.describe(o, exp, config)
    voice = {"front_end": o.voice_front_end or o.front_end, "model_file": average(config)}
    if o.use_sid:
        shutil.copy(f"{DUMP}/spk2sid", exp)
        voice["speakers"] = [speaker for speaker, n in read_kaldi(f"{DUMP}/spk2sid").items() if n != "0"]
    write_yaml(f"{exp}/voice.yaml", voice)  # what 'imlspike synthesize' has to know besides ESPnet's files
    shutil.copy(f"{TOKENS}/tokens.txt", exp)
    given = {"fold_length": [240000, 150]}
    for kind, head in zip(FEATURES, ("", "pitch_", "energy_"), strict=True):
        shutil.copy(f"{STATS}/train/{kind}_stats.npz", exp)
        norm = {"stats_file": f"{Path.cwd()}/{exp}/{kind}_stats.npz"}
        given |= {f"{head}normalize": "global_mvn", f"{head}normalize_conf": norm}
    launch(o, exp, "tts", o.training_config(name, collected=True) | given | o.shapes)


def syntheses(o: Tts) -> list[tuple]:
    """Each model free and with the teacher forced; and the natural mels of the first model, which bound what
    a voice can reach with this vocoder."""
    return [(o.first, "natural"), *((name, mode) for name in o.configs for mode in ("free", "forced"))]


def spoken_in(o: Tts, name: str, mode: str) -> str:
    """The folder of a synthesis, under vocoder and model file where they aren't the default."""
    tag = f"_{Path(o.model_file(name)).stem}" if o.inference_model else ""
    tag += f"_{Path(o.vocoder).name}" if o.vocoder != "griffin_lim" else ""
    return f"exp/natural{tag}" if mode == "natural" else f"exp/{name}/{mode}{tag}"


@stage(6, each=syntheses, jobs=lambda o: o.nj)
def synthesize(o: Tts, name: str, mode: str):
    """Synthesis."""
    out, source = spoken_in(o, name, mode), f"{DUMP}/{o.test_set}"
    given = o.durations(o.test_set) if mode == "forced" else []
    vocoder = [] if o.vocoder == "griffin_lim" else [data.weights(o.vocoder)]
    inputs = [*o.model(name), *data.tables(source), *given, *vocoder]
    progress = Log(f"{name} {mode}", f"{out}/log")
    yield Needs(inputs, [f"{out}/synthesis.yaml"], o.pick("vocoder"), follow=progress)
    shutil.rmtree(f"{out}/wav", ignore_errors=True)
    for file in ("durations", "synthesis.yaml"):
        Path(out, file).unlink(missing_ok=True)
    words = ["--data-dir", source, "--output-dir", out, "--model", f"exp/{name}", "--mode", mode]
    words += ["--model-file", Path(o.model_file(name)).name, "--vocoder", o.vocoder, "--device", o.device]
    words += ["--threads", o.threads, *(word for file in given for word in ("--durations", file))]
    program(o, "synthesize", *words, log=f"{out}/log")


@stage(7, jobs=lambda o: 1)
def score(o: Tts):
    """Scores."""
    systems = {"natural_mel": spoken_in(o, o.first, "natural")}
    for name in o.configs:
        systems |= {name: spoken_in(o, name, "free"), f"{name}_forced": spoken_in(o, name, "forced")}
    inputs = [*(f"{folder}/synthesis.yaml" for folder in systems.values()), *data.tables(TESTED)]
    inputs += [data.weights(o.asr_model)] if o.asr_model else []
    settings = {"systems": systems} | o.pick("score_args asr_model hop ann")
    yield Needs(inputs, ["exp/scores/scores.json"], settings, follow=Log("scores", "exp/scores/log"))
    words = ["--data-dir", TESTED, "--systems", *(f"{name}={folder}" for name, folder in systems.items())]
    words += ["--output-dir", "exp/scores", "--nj", o.nj, *o.score_args, "--ceiling", "natural_mel"]
    words += ["--asr-model", o.asr_model] if o.asr_model else []
    words += ["--twin", "ann"] if o.ann else []
    words += ["--natural-durations", f"{systems[f'{o.first}_forced']}/durations", "--hop-length", o.hop]
    program(o, "score_voice", *words, log="exp/scores/log")
    log("  exp/scores/scores.md")


def _no_alignment(o: Tts) -> str:
    if o.durations_from == "labels":
        return "none are learned, the durations are those of labels"
    return "" if o.find_labels() else "not asked for (--labels FOLDER)"


@stage(7, each=data.names, jobs=lambda o: o.nj, when=_no_alignment)
def score_alignment(o: Tts, name: str):
    """Alignments against labels."""
    out, source, labels = f"exp/{name}/alignment", f"{DUMP}/{o.test_set}", o.find_labels()
    yield Needs([*o.model(name), labels, *data.tables(source)], [f"{out}/alignment.json"])
    words = ["--model", f"exp/{name}", "--data-dir", source, "--labels", labels, "--output-dir", out]
    program(o, "score_alignment", *words, log=f"{out}/log")
    log(f"  {out}/alignment.md")


@stage(8, each=data.names, jobs=lambda o: o.nj)
def profile(o: Tts, name: str):
    """Spikes and energy."""
    source = f"{DUMP}/{o.test_set}"
    yield from data.count_spikes(o, name, source, o.model(name), ["--exp", f"exp/{name}"])


@stage(9)
def report(o: Tts):
    """Report."""
    yield Needs(["exp/scores/scores.json"], always=True)
    words = [*(f"exp/{name}" for name in o.configs), "--scores", "exp/scores", "--command", o.command]
    program(o, "report_voice", *words, "--output", "exp/RESULTS.md")

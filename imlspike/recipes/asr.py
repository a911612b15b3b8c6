"""Speech recognition from a corpus to a table of results, in ESPnet's stages and with its options."""

import json
import os
import shutil
from collections.abc import Iterable
from glob import escape, glob
from pathlib import Path

from imlspike.data.files import atomic_write, make_folder, read_kaldi, write_kaldi
from imlspike.data.model_files import suffix
from imlspike.data.yaml_file import read_yaml, write_yaml
from imlspike.recipes import data, training
from imlspike.recipes.asr_options import LM_TEXT, Asr
from imlspike.recipes.options import ROOT
from imlspike.recipes.processes import VERBS, RecipeError, flags, program, script, verb
from imlspike.recipes.progress import Log, log
from imlspike.recipes.runner import Item, Needs, Recipe, asked
from imlspike.recipes.training import data_of, launch, shapes_of, statistics

recipe = Recipe(Asr)
stage = recipe.stage


with_lm = asked("use_lm", "true")


def with_neural_lm(o: Asr) -> str:
    """Why ESPnet trains no language model; empty if it does."""
    return with_lm(o) or ("the language model is an n-gram: stage 9" if o.ngram else "")


def with_ngram(o: Asr) -> str:
    """Why there is no n-gram; empty if there is."""
    return with_lm(o) or ("" if o.ngram else "the language model is ESPnet's: stages 6 to 8")


def _decodings(o: Asr) -> list[tuple]:
    return [(name, mode, test) for name in o.configs for mode in o.decode_modes for test in o.test_sets]


def _prepared(o: Asr) -> list[tuple]:
    """The items of data preparation: the corpus's sets, and additional text where it is asked for."""
    wanted = o.use_lm and o.lm_text_program and LM_TEXT in map(os.path.normpath, o.lm_texts["train"])
    return [(), ("text for the language model",)] if wanted else [()]


@stage(1, each=_prepared)
def prepare(o: Asr, text: str = ""):
    """Data preparation."""
    if not text:
        yield from data.prepare_corpus(o, data.unique(o.train_set, o.valid_set, *o.test_sets))
        return
    train = f"data/{o.train_set}/text"
    yield Needs([o.lm_text_program, train], [LM_TEXT])
    script(o, o.lm_text_program, train=train, output=LM_TEXT)


@stage(2, when=asked("speed_perturb_factors", "'0.9 1.0 1.1'"))
def perturb_speed(o: Asr):
    """Speed perturbation."""
    settings = o.pick("speed_perturb_factors audio_format max_left_out")
    source, made = f"data/{o.train_set}", f"data/{o.train_sets[0]}"
    yield Needs(data.tables(source), data.tables(made), settings)
    how = {"factors": o.speed_perturb_factors, "audio_format": o.audio_format or "wav"}
    program(o, "speed", source, output_dir=made, **how, **o.pick("max_left_out nj"))


@stage(3, each=lambda o: o.sets, when=asked("audio_format", "flac"))
def format_set(o: Asr, name: str):
    """Format of the audio."""
    yield from data.format_audio(o, f"data/{name}", f"{o.sound}/{name}", o.audio_format, 16000)


@stage(4, each=lambda o: o.trained)
def limit_durations(o: Asr, name: str):
    """Removal of what is too long or too short."""
    yield from data.limit(o, f"{o.sound}/{name}", f"dump/raw/{name}")


@stage(5)
def make_tokens(o: Asr):
    """Tokens."""
    train, *covers = [f"dump/raw/{name}" for name in o.trained]
    covers += [f"{o.sound}/{name}" for name in o.test_sets]
    yield Needs(data.tables(train, *covers), o.token_files, o.pick("token_type nbpe tokens_args"))
    how = {"type": o.token_type, "nbpe": o.bpe_model and o.nbpe}
    verb("tokens", *o.tokens_args, train=train, check=covers, output_dir=o.tokens, **how)


@stage(5, each=lambda o: o.trained)
def fit_transcripts(o: Asr, name: str):
    """Removal of what is too short for its transcript."""
    source, target = f"dump/raw/{name}", f"{o.dump}/{name}"
    yield Needs([*data.tables(source), *o.token_files], data.tables(target), o.pick("input_layer hop"))
    verb("fit", source, output_dir=target, **o.pick("bpe_model input_layer hop"))


def _lm_shapes(o: Asr) -> dict[str, list]:
    return shapes_of(f"{o.dump}/lm/stats", f"text_shape.{o.token_type}")


@stage(6, when=with_neural_lm)
def lm_statistics(o: Asr):
    """Statistics of the language model's text."""
    inputs = [*o.lm_texts["train"], *o.lm_texts["dev"], *o.token_files]
    yield Needs(inputs, sum(_lm_shapes(o).values(), []), o.token_config)
    folder, words = f"{o.dump}/lm", []  # a process reads its part only: the text may be large
    texts = {"train": o.lm_texts["train"], "valid": o.lm_texts["dev"]}
    tables = [join_texts(files, f"{folder}/{split}.txt") for split, files in texts.items()]
    for split in texts:
        words += [f"--{split}_data_path_and_name_and_type", f"{folder}/stats/pieces/{split}.JOB,text,text"]
    statistics(o, f"{folder}/stats", "lm", o.lm_settings | o.token_config, tables, words)


def join_texts(files: Iterable[str], target: str) -> str:
    """Texts in one table, without utterances that have no words: there is nothing to learn from."""
    make_folder(Path(target).parent)
    with atomic_write(target) as out:
        for file in files:
            with open(file, encoding="utf-8") as lines:
                out.writelines(line.rstrip("\n") + "\n" for line in lines if len(line.split()) > 1)
    return target


def refuse_another_kind(o: Asr) -> None:
    """RecipeError where an n-gram's folder is to hold a neural language model, or the reverse."""
    there = Path(o.lm, "config.yaml")
    if there.is_file() and (kind := read_yaml(there).get("lm")) != (own := o.lm_settings.get("lm")):
        if "ngram" in (kind, own):
            raise RecipeError(f"{o.lm} holds a language model of another kind; name another by --lm_tag")


@stage(7, when=with_neural_lm, jobs=lambda o: 1)
def train_lm(o: Asr):
    """Training of the language model."""
    settings = o.lm_settings | o.pick("lm_args seed")
    inputs = [*o.lm_texts["train"], *o.lm_texts["dev"], *o.token_files, *sum(_lm_shapes(o).values(), [])]
    stems = [Path(file).stem for file in glob(f"{o.lm}/*.pth")]
    results = [f"exp/*/decode_*_lm_{escape(Path(o.lm).name)}_{stem}_asr_model_*" for stem in stems]
    results += [f"{o.lm}/perplexity", *(f"exp/{made}" for made in data.REPORT)]
    yield training.needs(o.lm, o.lm_settings, inputs, settings, results)
    refuse_another_kind(o)
    if o.bpe_model:
        shutil.copy(o.bpe_model, o.lm)
    texts = data_of({split: [[f"{o.dump}/lm/{split}.txt", "text", "text"]] for split in training.SPLITS})
    config = o.lm_settings | o.token_config | texts | _lm_shapes(o) | {"fold_length": [150]}
    launch(o, o.lm, "lm", config, o.lm_args)


@stage(8, when=with_neural_lm, jobs=lambda o: 1)
def perplexity(o: Asr):
    """Perplexity of the language model."""
    out = f"{o.lm}/perplexity"
    yield Needs([o.lm_model, *o.lm_texts["test"]], [f"{out}/ppl"])
    text = join_texts(o.lm_texts["test"], f"{out}/text")
    words = ["--data_path_and_name_and_type", f"{text},text,text", "--train_config", f"{o.lm}/config.yaml"]
    words += ["--model_file", o.lm_model, "--output_dir", out, "--ngpu", min(o.ngpu, 1)]
    training.espnet(o, "lm_calc_perplexity", *words, log=f"{out}/log")
    ppl = float(Path(out, "ppl").read_text())
    log(f"  {ppl:.2f} a token, ends of sentences counted, on {' '.join(o.lm_texts['test'])}")


@stage(9, when=with_ngram, jobs=lambda o: 1)
def train_ngram(o: Asr):
    """N-gram language model."""
    inputs = [*o.lm_texts["train"], *o.lm_texts["test"], *o.token_files]
    makes = [f"{o.lm}/config.yaml", o.lm_model, f"{o.lm}/perplexity/ppl"]
    yield Needs(inputs, makes, o.lm_settings)
    refuse_another_kind(o)
    from imlspike.training import ngram  # here only: it loads torch

    texts = [join_texts(o.lm_texts[split], f"{o.lm}/{split}.txt") for split in ("train", "test")]
    ngram.train(o.lm, o.lm_model, o.lm_settings | o.token_config, *texts)
    ppl = Path(o.lm, "perplexity/ppl").read_text()
    log(f"  {float(ppl):.2f} a token, ends of sentences counted, on {' '.join(o.lm_texts['test'])}")


@stage(10, jobs=lambda o: 1)
def collect_statistics(o: Asr):
    """Statistics of the features."""
    config = next(iter(o.configs.values()))
    settings = training.select(config, "frontend")
    yield Needs(o.data_files, o.stats_files, settings, follow=o.utterances_read())
    config = config | settings | o.data_config | {"normalize": None}
    statistics(o, o.stats, "asr", config, o.wavs)


@stage(11, each=lambda o: o.configs, jobs=lambda o: o.at_once)
def train(o: Asr, name: str):
    """Training."""
    exp, config = f"exp/{name}", o.configs[name]
    inputs = [*o.data_files, *o.stats_files]
    teacher = find_teacher(config)
    taken = [each.partition(":")[0] for each in config.get("init_param") or []]
    inputs += [data.weights(model) for model in (*taken, teacher) if model and os.path.exists(model)]
    settings, results = config | o.pick("seed feats_normalize"), data.made_of(name, "decode_*")
    yield training.needs(exp, config, inputs, settings, results)
    for file in [*o.token_files, f"{o.stats}/train/feats_stats.npz"]:
        shutil.copy(file, exp)
    given = {"normalize": o.feats_normalize, "fold_length": [80000, 150]}
    if o.feats_normalize == "global_mvn":
        given["normalize_conf"] = {"stats_file": f"{Path.cwd()}/{exp}/feats_stats.npz"}
    training.describe(o, exp, config)
    if teacher:
        given["model_conf"] = config["model_conf"] | {"distill_from": teacher}
    launch(o, exp, "asr", config | o.data_config | given | o.shapes)


def find_teacher(config: dict) -> str | None:
    """The teacher of a configuration: as it is named from --workdir, or else one of the project's files."""
    named = (config.get("model_conf") or {}).get("distill_from")
    if named and not os.path.exists(named) and (ROOT / named).exists():
        return str(ROOT / named)
    return named


def pieces(o: Asr) -> list[tuple]:
    """The pieces left to decode, in so many pieces that all _decodings together keep --inference_nj busy."""
    found = []
    for item in _decodings(o):
        if Item(join_pieces, o, item).reason():
            wav_scp = f"{o.sound}/{item[-1]}/wav.scp"
            total = -(-o.inference_nj // len(_decodings(o)))
            total = min(total, data.count(wav_scp)) if os.path.exists(wav_scp) else total
            found += [(*item, n + 1, total) for n in range(total)]
    return found


def _decoding_needs(o: Asr, name: str, mode: str, test: str, made: str, piece=(), progress=None) -> Needs:
    models = [f"exp/{name}/config.yaml", o.asr_model(name), *o.lm_files(mode)]
    settings = {"search": o.search(mode), "inference_args": o.inference_args, "piece": piece}
    return Needs([*models, f"{o.sound}/{test}/wav.scp"], [made], settings, follow=progress)


@stage(12, each=pieces, jobs=lambda o: o.inference_nj)
def decode(o: Asr, name: str, mode: str, test: str, n: int, total: int):
    """Decoding."""
    out = f"{o.decoding(name, mode, test)}/pieces/{n}"
    progress = Log(f"{name}, {mode}, {test}", f"{out}/log") if n == 1 else None  # the others go alike
    yield _decoding_needs(o, name, mode, test, f"{out}/text", (n, total), progress)
    wavs = read_kaldi(f"{o.sound}/{test}/wav.scp")
    write_kaldi(f"{out}/wav.scp", {key: wavs[key] for key in list(wavs)[n - 1 :: total]})
    how = {"config": f"exp/{name}/config.yaml", "model": o.asr_model(name)}
    how |= {"mode": "greedy", "weight_bits": 8} if mode == "greedy_8bit" else {"mode": mode}
    if mode == "joint":
        write_yaml(f"{out}/decode.yaml", o.search(mode))
        lm = dict(zip(("lm_config", "lm_file"), o.lm_files(mode), strict=False))
        how |= {"decode_config": f"{out}/decode.yaml"} | lm
    words = flags(**how, device=o.device, data_dir=out, output=f"{out}/text")
    command = [o.python, "-m", VERBS.format("decode"), *words, *o.inference_args]
    training.run_jobs(o, o.decode_cmd, 1, f"{out}/log", command, o.ngpu > 0)


@stage(12, each=_decodings)
def join_pieces(o: Asr, *item: str):
    """Joining of what was decoded."""
    out = o.decoding(*item)
    yield _decoding_needs(o, *item, f"{out}/text")
    here = {str(n) for *names, n, _ in pieces(o) if tuple(names) == item}
    for folder in [one for one in Path(out, "pieces").iterdir() if one.name not in here]:
        shutil.rmtree(folder)  # of an earlier run with more of them
    parts = glob(f"{out}/pieces/*/text")
    write_kaldi(f"{out}/text", {key: text for part in parts for key, text in read_kaldi(part).items()})
    took = [json.loads(Path(f"{part}.json").read_text()) for part in parts]
    audio, work = (sum(one[key] for one in took) for key in ("audio_seconds", "seconds"))
    log(f"  {', '.join(item)}: real-time factor {work / audio if audio else 0:.3f}")


@stage(13, each=_decodings)
def score(o: Asr, *item: str):
    """Scoring."""
    out, truth = o.decoding(*item), f"{o.sound}/{item[-1]}/text"
    about = set(glob(f"data/{item[-1]}/spk2*")) - {f"data/{item[-1]}/spk2utt"}  # gender, age
    yield Needs([truth, f"{out}/text", *sorted(about)], [f"{out}/score.json"], o.pick("score_spaces"))
    texts = {"ref": truth, "hyp": f"{out}/text", "groups": f"data/{item[-1]}" if about else ""}
    verb("score", **texts, output_dir=out, name=", ".join(item), no_spaces=not o.score_spaces)


@stage(14, each=lambda o: o.configs, jobs=lambda o: o.nj)
def profile(o: Asr, name: str):
    """Spike counts and energy."""
    files = {"config": f"exp/{name}/config.yaml", "model": o.asr_model(name)}
    beam = {"beam": o.search("joint").get("beam_size", 20)}  # 20: ESPnet's
    source, end = f"{o.sound}/{o.profile_set}", suffix(o.configs[name], o.inference_asr_model)
    yield from data.count_spikes(o, name, source, [*files.values()], files | beam, end, **beam)


@stage(15, each=lambda o: o.configs, jobs=lambda o: o.nj)
def pack(o: Asr, name: str):
    """Packing."""
    exp, model, lm = f"exp/{name}", o.asr_model(name), o.lm_files("joint")
    made = f"{exp}/{name}_{Path(model).stem}.zip"
    inputs = [f"{exp}/config.yaml", model, *lm, o.inference_config, *results_of(o, name)]
    yield Needs(inputs, [made], o.pick("corpus_note license score_primary"))
    given = {"model": model, "output": made, "decode_config": o.inference_config}
    given |= {"lm": o.lm, "lm_model": o.lm_model} if lm else {}
    given |= {"train_dir": o.folders["train"], "corpus": o.corpus_note, "primary": o.score_primary}
    program(o, "pack", exp, **given, **o.pick("license command"), log=f"{exp}/pack.log")
    log(f"  {made}: {os.path.getsize(made) / 1e6:.1f} MB")


def results_of(o: Asr, name: str) -> list[str]:
    """Files for the model card: scores of this model file, and its energy."""
    scores = f"exp/{name}/decode_*_asr_model_{Path(o.asr_model(name)).stem}/*/score.json"
    end = suffix(o.configs[name], o.inference_asr_model)
    return sorted(glob(scores) + glob(f"exp/{name}/profile{end}/energy.json"))


@stage(16)
def report(o: Asr):
    """Report."""
    exps = [f"exp/{name}" for name in o.configs]
    yield Needs([f"{exp}/config.yaml" for exp in exps], always=True)
    given = {"lm": o.use_lm and o.lm, "primary": o.score_primary, "command": o.command}
    given |= {"model": o.inference_asr_model}
    program(o, "report", *exps, **given, output=f"{Path.cwd()}/exp/RESULTS.md")

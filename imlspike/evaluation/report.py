"""One report for recognizers, voices and vocoders: scores, training, firing rates, energy, sound, pictures.

Tables and sentences are made of what `imlspike.evaluation.experiments.gather` found in experiments' folders
and of the scores.json of voices or vocoders.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from imlspike.evaluation.attachments import Attachments, show, sound_table
from imlspike.evaluation.bootstrap import interval, ratio
from imlspike.evaluation.energy import times, verdict
from imlspike.evaluation.experiments import made_on
from imlspike.evaluation.report_tables import (
    Experiments,
    accountings_table,
    alignment_table,
    energy_table,
    groups_table,
    layers_table,
    modules_table,
    peers_of,
    rates_table,
    sets_table,
    synthesis_table,
    training_table,
    with_spaces,
)
from imlspike.evaluation.score_tables import score_notes, scores_table, speakers_table, twin_table
from imlspike.evaluation.spikes import LEAST_RATE, MOST_RATE
from imlspike.evaluation.systems import NATURAL, SHOWN

CER_LIMIT = {"voice": 0.15, "vocoder": 0.05}  # by how much an error rate may exceed that of the ceiling
FEW = 20  # utterances; an interval of fewer means little
BOUNDARY_LIMIT = 40  # ms, of the median boundary
RATE_NOTES = """\
{characters} In brackets: 95 % intervals by bootstrap over the utterances of a set; the ratio to a peer
is paired (the same utterances drawn for both). RTF: seconds that one process decodes for a second of audio,
without its start, timed once; (n jobs): n processes side by side. Other decodings may have run beside them,
too, which slows all."""
GROUP_NOTES = """\
Number of speakers in brackets; 95 % intervals by bootstrap over speakers, which are wider than those over
utterances: what a speaker makes hard is hard in all that he says. A single speaker has none."""
SET_NOTES = """\
Training: as the trainer read it, copies at other speeds included. Unknown characters: share of the
characters, blanks aside, that occur in no token of a recognizer's list: it can't write them."""
SYNTHESIS_NOTES = """\
How the systems spoke. free: durations, pitch and energy as predicted; forced: those of natural speech;
natural: the natural mel through the vocoder. s per s: seconds from text (or mel) to waveform for a second of
audio, timed once."""
ALIGNMENT_NOTES = """\
Boundaries between symbols where the aligner put them, against those of the labels; what is compared are the
boundaries of neighboring phones that stand in both. The aligner learned from sound and text alone."""
TRAINING_NOTES = """\
Seconds per epoch: their median. Peak memory: most resident memory of the training, in MB. The last columns:
on validation data, of the epoch whose loss was lowest (of a vocoder: the last). Epochs averaged: of how many
the model in use is the average, and the criterion that chose them, which may be another than the loss."""
ENERGY_NOTES = """\
T: time steps, or levels of the IMLS neuron. Firing rate: spikes over those possible; "mean of layers" counts
each neuron layer alike. Spikes: mean of a neuron for one token. s per s: seconds of computing for a second of
audio, the smallest of several runs, with the machine's load (processes that wanted to run) in brackets."""
ACCOUNTING_NOTES = """\
Microjoules per second of audio, {scope} / whole model, from operations counted on {utterances} utterances
(45 nm, Horowitz 2014){beam}. 1, linear maps and convolutions, and 2, everything that runs: {mac} pJ a MAC,
{accumulate} pJ an accumulate, fp32 on both sides. 3, both sides with weights of 8 bits and sums of 32, all
else in fp32: {int32_add} pJ an accumulate, {int8_multiply} more for a MAC; bitwise: counts sent bit by bit,
and no MACs of zeros, of an ANN neither. 4: a quantised ANN of T + 1 levels. 5: traffic alone,
{weight_read} pJ for 64 bits of weights, {activation_access} of activations or potentials; a weight is read
for each input that isn't zero ("event"), or once for {reuse:g} results ("tile"). "Same network": the model's
own maps with ReLU or rounding in place of neurons, once instead of T times; of an ANN it is the ANN. Front
end: the log-mel spectrogram in fp32, an estimate."""
PAPER_NOTES = {
    "recognizer": "",
    "voice": "The paper's figure for its own model, by its own reckoning, is 10.5 % of the ANN's.",
    "vocoder": """\
"eqs 15, 16": the paper's reckoning at L = 1000 frames with the mean of layers for r, for the blocks'
convolutions, which is all that its table 3 counts; "with ends": with the embedding and the head, which these
leave out.""",
}


def error_ratio(score: Mapping, twin: Mapping, rate: str = "cer") -> dict:
    """CER or WER (`rate`) of one score.json over that of another on the same utterances, with its interval.

    The same utterances are drawn for both (a paired bootstrap): what makes a sentence hard for both cancels.
    An interval that holds 1 means that these test sentences don't tell the two apart. ValueError: other
    utterances.
    """
    ours, theirs = score["per_utterance"], twin["per_utterance"]
    if odd := sorted(ours.keys() ^ theirs.keys()):
        raise ValueError(
            f"{score['hypothesis']} and {twin['hypothesis']} were scored on other utterances: {odd[0]}"
        )
    columns = [[side[utterance][rate][0] for utterance in sorted(ours)] for side in (ours, theirs)]
    above, below = map(sum, columns)
    if not above and not below:
        return {"ratio": 1.0, "ci95": [1.0, 1.0]}
    return {"ratio": times(above, below), "ci95": interval(ratio, *columns)}


def compare(experiments: Experiments, rate: str = "cer", twin: str | None = None) -> list[dict]:
    """Each spiking experiment beside each of its peers: ratios of error rates, of time and of memory; energy.

    ValueError: two experiments of one name, by which tables tell them apart, or scores of other utterances.
    """
    named, comparisons = {e["name"]: e for e in experiments}, []
    if len(named) < len(experiments):
        raise ValueError(f"two experiments of one name among {' '.join(named)}; rename a folder")
    pairs = [(name, peer) for name, peers in peers_of(experiments, twin).items() for peer in peers]
    for name, other in pairs:
        ours, theirs = named[name], named[other]
        scores = {(s["decoding"], s["set"]): s for s in theirs["scores"]}
        found = {"name": name, "peer": other, "errors": [], "energy": None}
        for score in ours["scores"]:
            where = {key: score[key] for key in ("decoding", "set")}
            if same := scores.get(tuple(where.values())):
                found["errors"].append(where | {"measure": rate} | error_ratio(score, same, rate))
        for key in ("seconds_per_epoch", "peak_memory_mb"):
            one, base = ((e["training"] or {}).get(key) for e in (ours, theirs))
            found[key] = one / base if one and base else None
        if ours["energy"] and theirs["energy"]:
            scopes = dict.fromkeys((ours["energy"].get("scope", "encoder"), "model"))
            found["energy"] = {s: verdict(ours["energy"][s], theirs["energy"][s], other) for s in scopes}
        comparisons.append(found)
    return comparisons


def sentences(
    experiments: Experiments, comparisons: Sequence[Mapping], scores: Mapping | None = None
) -> list[str]:
    """Sentences on small sets, aims, missing hypotheses, training, firing rates and energy."""
    counts = {s["set"]: s["utterances"] for e in experiments for s in e["scores"]}
    counts |= {"audio": scores["utterances"]} if scores else {}
    said = [
        f"WARNING: {name}: utterances scored: only {count}; intervals of fewer than {FEW} mean little."
        for name, count in counts.items()
        if count < FEW
    ]
    for name, entry in (scores["systems"] if scores else {}).items():
        ceiling, limit = scores["ceiling"] or NATURAL, CER_LIMIT[scores["kind"]]
        if entry["cer"] and name not in (NATURAL, ceiling):
            more, (low, high) = 100 * entry["cer"]["over"], (100 * end for end in entry["cer"]["over_ci95"])
            within = "within" if entry["cer"]["over"] <= limit else "NOT within"
            what = f"{more:+.1f} points over {SHOWN.get(ceiling, ceiling)} ({low:+.1f} to {high:+.1f})"
            said.append(f"{name}: character error rate {what}, {within} {100 * limit:g} points.")
    for e in experiments:
        if e["alignment"]:
            median = e["alignment"]["median_ms"]
            within = f"{'at most' if median <= BOUNDARY_LIMIT else 'MORE than'} {BOUNDARY_LIMIT} ms"
            said.append(f"{e['name']}: the median boundary is {median:.1f} ms off, {within}.")
        for s in e["scores"]:
            if s["missing"]:
                where = f"{e['name']}, {s['decoding']}, {s['set']}"
                said.append(f"{where}: no hypothesis for {' '.join(s['missing'])}.")
    for c in comparisons:
        costs = (("seconds_per_epoch", "an epoch takes"), ("peak_memory_mb", "its memory is"))
        if told := [f"{what} {c[key]:.2f} times that of {c['peer']}" for key, what in costs if c[key]]:
            said.append(f"{c['name']}: training: {', '.join(told)}.")
    bounds = f"{100 * LEAST_RATE:g} % and {100 * MOST_RATE:g} %"
    for e in experiments:
        if e["energy"] and e["layers"] and "rates_out_of_range" in e["energy"]:
            odd, total = e["energy"]["rates_out_of_range"], len(e["layers"])
            named = ", ".join(f"{name} ({_why(layer)})" for name, layer in odd.items())
            some = f"outside {bounds} fire {len(odd)} of {total} layers: {named}"
            none = f"all {total} neuron layers fire between {bounds}"
            said.append(f"{e['name']}: {some if odd else none}.")
    for c in comparisons:
        for scope, rows in (c["energy"] or {}).items():
            said += [f"{c['name']}: energy of the {scope}, {row}." for row in rows]
    return said


def _why(layer: Mapping) -> str:
    rate, largest, least = layer["rate"], layer["largest_input"], layer["least_that_fires"]
    if least is None or largest >= least:
        return f"{100 * rate:.2f} %"
    return f"{100 * rate:.2f} %: its largest input, {largest:.3g}, is below {least:.3g}, the least that fires"


def score_section(
    experiments: Experiments, comparisons=(), scores: Mapping | None = None, primary="cer"
) -> list[str]:
    """Lines of the scores with what their columns mean."""
    if scores is None:
        spaced = with_spaces(experiments)
        spaces = "counts the spaces between words" if spaced else "leaves spaces out of account"
        notes = RATE_NOTES.format(characters=f"CER {spaces}.")
        lines = [rates_table(experiments, comparisons, primary) or "Nothing was decoded.", "", notes, ""]
        if groups := groups_table(experiments, primary):
            lines += ["By speakers:", "", groups, "", GROUP_NOTES, ""]
        return lines
    lines = [scores_table(scores), "", *(f"- {note}" for note in score_notes(scores)), ""]
    if gaps := twin_table(scores):
        lines += [f"Differences to {scores['twin']}, the same utterances drawn for both:", "", gaps, ""]
    if speakers := speakers_table(scores):
        lines += ["Utterances by who says them and by the speaker they are nearest to:", "", speakers, ""]
    if synthesis := synthesis_table(scores):
        lines += [SYNTHESIS_NOTES, "", synthesis, ""]
    return lines


def energy_section(experiments: Experiments, twin: str | None = None) -> list[str]:
    """Lines of firing rates and energy; none where nothing was profiled."""
    energies = [e["energy"] for e in experiments if e["energy"]]
    if not energies:
        return []
    first, beam = energies[0], ""
    if first.get("beam"):
        beam = f"; the model's for a beam of {first['beam']}, without a language model"
    given = {"scope": first.get("scope", "encoder"), "utterances": first["utterances"], "beam": beam}
    lines = ["## Firing rates and energy", "", energy_table(experiments, twin), "", ENERGY_NOTES, ""]
    notes = ACCOUNTING_NOTES.format(**first["costs_pj"], **given)
    lines += [accountings_table(experiments), "", notes]
    lines += [PAPER_NOTES[experiments[0]["kind"]], ""]
    others = [f"{e['name']}: {e['suffix'][1:]}" for e in experiments if e["energy"] and e["suffix"]]
    lines += [f"Model file, where it isn't the average: {', '.join(others)}.", ""] if others else []
    if modules := modules_table(experiments):
        lines += ['Firing rate of each module, then its energy, "paper" / "full", in µJ/s:', "", modules, ""]
    return lines + folded("firing rates of all layers in %", layers_table(experiments))


def folded(title: str, text: str) -> list[str]:
    """Lines of something that a reader may open; none if it is empty."""
    return [f"<details><summary>{title}</summary>", "", text, "", "</details>", ""] if text else []


def made(about: Mapping, experiments: Experiments, scores: Mapping | None = None) -> list[str]:
    """Lines of what made the results: commands, language model, seeds, versions, source, machine."""
    commands = dict.fromkeys([about["command"].strip(), *(e["command"] for e in experiments)])
    lines = [f"- command: `{command}`" for command in commands if command]
    if "lm" in about:
        value = about["lm"]["perplexity"]
        lines += [f"- language model: {about['lm']['name']}" + (f", perplexity {value:.1f}" if value else "")]
    lines += [f"- seed: {', '.join(sorted({str(e['seed']) for e in experiments}))}", f"- git: {about['git']}"]
    if scores:
        lines += ["- bootstrap: {resamples} resamples, seed {seed}".format(**scores["bootstrap"])]
        about = {**about, "versions": about["versions"] | scores["versions"]}
    return [*lines, *made_on(about)]


def markdown(
    experiments: Experiments,
    comparisons: Sequence[Mapping],
    scores: Mapping | None,
    about: Mapping,
    attached: Attachments,
    folder: Path,
) -> str:
    """The text of the report, which will lie in `folder`.

    Args:
        scores: of voices or vocoders; None: recognizers.
        about: `surroundings` with "command", "primary", "twin" and, if one decoded, "lm".
    """
    lines = ["# Results", "", "## Scores", ""]
    lines += score_section(experiments, comparisons, scores, about["primary"])
    lines += [*(f"- {sentence}" for sentence in sentences(experiments, comparisons, scores)), ""]
    if sets := sets_table(experiments):
        lines += ["## Sets", "", sets, "", SET_NOTES, ""]
    if boundaries := alignment_table(experiments):
        lines += ["## Alignment", "", boundaries, "", ALIGNMENT_NOTES, "", *show(attached.boundaries, folder)]
    if experiments:
        lines += ["## Training", "", training_table(experiments), "", TRAINING_NOTES, ""]
    lines += [*show(attached.curves, folder), *energy_section(experiments, about["twin"])]
    if attached.heard:
        lines += ["## To hear", "", sound_table(attached.heard, folder), ""]
    if attached.pictures:
        lines += ["## To see", "", *show(attached.pictures, folder)]
    lines += ["## How", "", *made(about, experiments, scores), ""]
    for e in experiments:
        text = yaml.safe_dump(e["config"], sort_keys=False, allow_unicode=True, width=100).strip()
        lines += folded(f"settings of {e['name']}", f"```yaml\n{text}\n```")
    return "\n".join(lines)

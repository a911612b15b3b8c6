"""Speakers of a voice's recipe: who has a voice, by which number, and which language they speak."""

from collections import Counter

from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.kaldi import read_data_dir, read_excluded, write_data_dir
from imlspike.recipes.processes import RecipeError
from imlspike.recipes.progress import log


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


def number_speakers(folder: str, train_set: str, sets: list[str]) -> None:
    """ESPnet's numbers of speakers: those of the training set from 1 on, in the order of their names; 0 is
    nobody. Writes spk2sid into the folder of the sets, utt2sid into each of these."""
    speakers = sorted(set(read_kaldi(f"{folder}/{train_set}/utt2spk").values()))
    numbers = {speaker: str(n) for n, speaker in enumerate(["<unk>", *speakers])}
    write_kaldi(f"{folder}/spk2sid", numbers)
    for name in sets:
        speaker_of = read_kaldi(f"{folder}/{name}/utt2spk")
        if unknown := sorted(set(speaker_of.values()) - numbers.keys()):
            told = f"none of speaker {unknown[0]}'s utterances is left in {folder}/{train_set}"
            raise RecipeError(f"{folder}/{name}: {told}; allow longer ones, or leave that speaker out")
        write_kaldi(f"{folder}/{name}/utt2sid", {name: numbers[who] for name, who in speaker_of.items()})
    log(f"  {len(speakers)} speakers")


def find_languages(folder: str, train_set: str, utt2lang: str) -> None:
    """Write spk2lang into the folder of the sets: the language of most of a speaker's utterances."""
    language_of, counts = read_kaldi(utt2lang), {}
    for utterance, speaker in read_kaldi(f"{folder}/{train_set}/utt2spk").items():
        counts.setdefault(speaker, Counter())[language_of[utterance]] += 1
    languages = {speaker: count.most_common(1)[0][0] for speaker, count in counts.items()}
    write_kaldi(f"{folder}/spk2lang", languages)

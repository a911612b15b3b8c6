"""Transcribing, speaking and vocoding with `pretrained/` needs the core's packages and nothing else.

Each command runs in a process that can import only what the core requires, and what that requires in turn.
"""

import json
import os
import re
import subprocess
import sys
from difflib import SequenceMatcher
from importlib import metadata
from pathlib import Path

import pytest
import soundfile

import imlspike

MODELS = Path(__file__).parents[2] / "pretrained"
PROGRAM = """
import json, sys

allowed, refused = set(json.loads(sys.argv[1])), set()

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            refused.add(name.partition(".")[0])
            raise ModuleNotFoundError(f"{name} is not required by the core", name=name)

sys.meta_path.insert(0, Refuse())
from imlspike.bin.main import main
status = main(sys.argv[2:])
asked = {name.partition(".")[0] for name in sys.modules} | refused & {"espnet", "espnet2"}
print(*sorted(asked - set(sys.stdlib_module_names)))
sys.exit(status)
"""
NOT_TO_TRANSCRIBE = {*"espnet espnet2 lhotse matplotlib lightning tensorboard librosa scipy jiwer".split()}

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="only beside the sources")


def core() -> list[str]:
    """Top-level modules of what setup.cfg's install_requires names, and of all that these require."""
    found, waiting = {}, metadata_of_core()
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # for another platform
            requirements = []
        found[name] = name
        waiting += [re.match(r"[\w.-]+", line).group() for line in requirements if "extra ==" not in line]
    modules = {"imlspike", *sys.stdlib_module_names, "_distutils_hack"}
    for module, packages in metadata.packages_distributions().items():
        if {re.sub(r"[-_.]+", "-", package).lower() for package in packages} & found.keys():
            modules.add(module)
    return sorted(modules)


def metadata_of_core() -> list[str]:
    """The packages of install_requires in setup.cfg."""
    text = (Path(imlspike.__file__).parents[1] / "setup.cfg").read_text()
    section = re.search(r"install_requires =\n((?:    .*\n)+)", text).group(1)
    return re.findall(r"^ +([\w.-]+)", section, re.MULTILINE)


def run(*words) -> tuple[str, str, set[str]]:
    """What a verb prints and says, and the modules it imported; ESPnet's also where it only tried."""
    environment = {**os.environ, "PYTHONPATH": str(Path(imlspike.__file__).parents[1])}
    command = [sys.executable, "-c", PROGRAM, json.dumps(core()), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    *printed, modules = done.stdout.splitlines()
    return "\n".join(printed), done.stderr, set(modules.split())


def alike(printed: str) -> bool:
    """Whether a transcript is mostly what was said; these are small models."""
    return SequenceMatcher(None, printed.partition("\t")[2], "добрый день").ratio() > 0.5


def test_the_core_speaks_vocodes_and_transcribes(tmp_path):
    voice, vocoder, recognizer = (MODELS / f"{name}.zip" for name in ("voice", "vocoder", "recogniser"))
    said, again = tmp_path / "said.wav", tmp_path / "again.wav"
    run("synthesize", "Добрый день.", said, "--model", voice, "--vocoder", vocoder)
    run("vocode", said, again, "--model", vocoder)
    assert soundfile.info(again).frames == soundfile.info(said).frames > 8000
    heard, told, modules = run("transcribe", again, "--model", recognizer)
    assert alike(heard) and not modules & NOT_TO_TRANSCRIBE
    assert all(line.startswith("transcribe: ") for line in told.splitlines())
    beam, _, modules = run("transcribe", again, "--model", recognizer, "--decoding", "beam")
    assert alike(beam) and not modules & NOT_TO_TRANSCRIBE


def test_what_needs_espnet_says_so_in_a_line(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.0] * 16000, 16000)
    words = ["transcribe", tmp_path / "a.wav", "--model", MODELS / "streaming.zip"]  # it has a decoder
    words += ["--decoding", "joint", "--ctc-weight", "0.5"]
    with pytest.raises(AssertionError, match="error: ESPnet isn't installed.*"):
        run(*words)

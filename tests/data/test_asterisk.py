"""G.722 against another implementation, and prompts of Asterisk in the packages' layout."""

import hashlib

import numpy as np
import pytest
import soundfile

from imlspike.bin.prepare import main
from imlspike.data.asterisk import LANGUAGES, prepare_asterisk
from imlspike.data.g722 import decode_g722
from imlspike.data.kaldi import read_data_dir, read_excluded

STRANGE = bytes((i * i // 7 + 31 * i) % 256 for i in range(2000))  # all codes, jumps, overload
# A tone of 1 kHz that swells to 12000 in 160 samples, as the package G722 1.2.8 encodes it.
TONE = bytes.fromhex(
    "fade77b2b29ee0a0e1f6ce48cc5beaa5ebb9d2ccd09deee9ecba52ce92dfafeceffcd4cf94dff0ec"
    "effdd590d4dfb0ecefffd591d4dfb1ecf0fcd5d193fff2aef2fcd7d295dff1aef2fdd6d2d59ff2ee"
    "f2fdd7d3955eb3f0b0fcd793d5def5f072ff96d396ddb771f2ffd7d493fef8ef76fbd795d49cf5ef"
    "f4f9d9d398daf3f2f2fbd9d595fef6ef72b89cd496fcb2f0eefbdcd4d8ffb2edeef8ffd59afbf3ad"
)
PACKAGE = "asterisk-core-sounds-{}-g722/usr/share/asterisk/sounds"


def test_the_decoder_is_exact():
    """What the package G722 1.2.8 (the code of CMU and spandsp) makes of the same bytes."""
    (samples,) = decode_g722([STRANGE])
    assert samples.dtype == np.int16 and samples[:12].tolist() == [0, 0, -1, -1, 0, 0, 0, -1, -1, 0, 0, -5]
    digest = hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()
    assert digest == "6dd73f96b928779a6df6fa1f7dc6f20a12bbdaf9644bb29d0dfc34c049a7a4a0"


def test_a_tone_comes_out_as_it_went_in():
    (samples,) = decode_g722([TONE])
    time = np.arange(320)
    tone = 12000 * np.sin(2 * np.pi * 1000 * time / 16000) * np.minimum(1, time / 160)
    delay = 22  # of the mirror filters, there and back
    error = samples[delay:] - tone[:-delay]
    assert 10 * np.log10((tone**2).mean() / (error**2).mean()) > 30


def test_side_by_side_is_as_alone():
    streams = [STRANGE[:700], b"", TONE, STRANGE[100:]]
    for stream, samples in zip(streams, decode_g722(streams), strict=True):
        assert np.array_equal(samples, decode_g722([stream])[0]) and len(samples) == 2 * len(stream)
    assert decode_g722([]) == []


@pytest.fixture
def packages(tmp_path):
    """Two voices with speech, a tone, silence, and an empty file."""
    for voice, package in (("en_US_f_Allison", "en"), ("fr_CA_f_June", "fr")):
        folder = tmp_path / "packages" / PACKAGE.format(package) / voice
        for name in ("hello", "digits/1", "letters/1", "beep", "silence/1", "broken"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.g722").write_bytes(b"" if name == "broken" else TONE * (2 + len(name)))
    return tmp_path / "packages"


def test_prompts_become_a_set_for_each_language(packages, tmp_path, capsys):
    out = tmp_path / "data"
    argv = ["asterisk", "--corpus-dir", str(packages), "--output-dir", str(out), "--max-left-out", "0.3"]
    assert main([*argv, "--languages", "fr", "en"]) == 0
    assert {folder.name for folder in out.iterdir()} == {"asterisk_en", "asterisk_fr"}
    utterances = read_data_dir(out / "asterisk_en")
    names = [f"en_US_f_Allison-{name}" for name in ("digits_1", "hello", "letters_1")]
    assert [u.id for u in utterances] == names
    for u in utterances:
        samples, rate = soundfile.read(u.wav, dtype="int16")
        stream = TONE * (2 + len(u.id.partition("-")[2]))
        assert np.array_equal(samples, decode_g722([stream])[0]) and rate == 16000
        assert (u.text, u.speaker, u.seconds) == ("", "en_US_f_Allison", len(samples) / 16000)
    left_out = read_excluded(out / "asterisk_en")
    assert left_out.pop("en_US_f_Allison-broken").endswith("the file is empty (0 bytes)")
    reason = "silence, a tone or a jingle"
    assert left_out == {"en_US_f_Allison-beep": reason, "en_US_f_Allison-silence_1": reason}
    assert "asterisk_en" in capsys.readouterr().out


def test_the_folder_of_an_installed_package_will_do(packages, tmp_path):
    sounds = packages / PACKAGE.format("en")
    kept, _ = prepare_asterisk(sounds, tmp_path / "data", 0.3, languages=["en"])["asterisk_en"]
    assert len(kept) == 3


def test_broken_prompts_absent_and_unknown_languages_are_told(packages, tmp_path):
    with pytest.raises(ValueError, match=r"1 of 4 utterances would be left out, more than 5%.*broken"):
        prepare_asterisk(packages, tmp_path / "data", languages=["en"])
    with pytest.raises(ValueError, match=r"no prompts in ru; expected asterisk-core-sounds-ru-g722/usr"):
        prepare_asterisk(packages, tmp_path / "data", languages=["ru"])
    with pytest.raises(ValueError, match="no prompts in 'de'; expected some of " + ", ".join(LANGUAGES)):
        prepare_asterisk(packages, tmp_path / "data", languages=["de"])
    assert not (tmp_path / "data").exists()

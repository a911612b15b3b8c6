"""Prompts of Asterisk in the packages' layout."""

import pytest
import soundfile

from imlspike.bin.prepare import main
from imlspike.data.asterisk import prepare_asterisk
from imlspike.data.audio import read_audio
from imlspike.data.kaldi import read_data_dir, read_excluded
from tests.data.test_container_audio import G722_TONE as TONE

pytest.importorskip("av", reason="av isn't installed (extra: audio)")

PACKAGE = "asterisk-core-sounds-{}-g722/usr/share/asterisk/sounds"


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
        assert len(samples) == 2 * len(TONE) * (2 + len(u.id.partition("-")[2])) and rate == 16000
        inside = u.id.partition("-")[2].replace("_", "/")
        file = packages / PACKAGE.format("en") / f"en_US_f_Allison/{inside}.g722"
        assert (samples / 32768 == read_audio(file)).all()
        assert (u.text, u.speaker, u.seconds) == ("", "en_US_f_Allison", len(samples) / 16000)
    left_out = read_excluded(out / "asterisk_en")
    assert left_out.pop("en_US_f_Allison-broken").count("the file is empty")
    reason = "silence, a tone or a jingle"
    assert left_out == {"en_US_f_Allison-beep": reason, "en_US_f_Allison-silence_1": reason}
    assert "asterisk_en" in capsys.readouterr().out


def test_the_folder_of_an_installed_package_will_do(packages, tmp_path):
    sounds = packages / PACKAGE.format("en")
    kept, _ = prepare_asterisk(sounds, tmp_path / "data", 0.3, languages=["en"])["asterisk_en"]
    assert len(kept) == 3


def test_broken_prompts_and_absent_languages_are_told(packages, tmp_path):
    with pytest.raises(ValueError, match="broken"):
        prepare_asterisk(packages, tmp_path / "data", languages=["en"])
    with pytest.raises(ValueError, match="asterisk-core-sounds-ru-g722"):
        prepare_asterisk(packages, tmp_path / "data", languages=["ru"])
    assert not list((tmp_path / "data").rglob("wav.scp"))

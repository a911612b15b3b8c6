import pytest

from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir


def utterance(name, speaker="nsh", seconds=1.0000625):
    return Utterance(name, f"/wav/{name}.wav", "два слова", speaker, seconds)


def test_a_directory_reads_back_as_written(tmp_path):
    utterances = [utterance("b", "s2"), utterance("a", "s1"), utterance("c", "s1", 3.1)]
    write_data_dir(tmp_path, utterances, {"d": "audio\twithout\ntranscript"})
    assert read_data_dir(tmp_path) == sorted(utterances, key=lambda u: u.id)
    assert (tmp_path / "spk2utt").read_text() == "s1 a c\ns2 b\n"
    assert read_excluded(tmp_path) == {"d": "audio without transcript"}


def test_durations_keep_every_sample(tmp_path):
    write_data_dir(tmp_path, [utterance(f"u{n:02}", seconds=(10**6 + n) / 16000) for n in range(50)])
    assert [round(u.seconds * 16000) for u in read_data_dir(tmp_path)] == [10**6 + n for n in range(50)]


def test_lhotse_reads_the_directory(tmp_path):
    """An independent reader of the format sees the same utterances."""
    lhotse_kaldi = pytest.importorskip("lhotse.kaldi")
    write_data_dir(tmp_path, [utterance("a", "s1"), utterance("b", "s2", 2.5)])
    (tmp_path / "reco2dur").write_text((tmp_path / "utt2dur").read_text())
    recordings, supervisions, _ = lhotse_kaldi.load_kaldi_data_dir(tmp_path, sampling_rate=16000)
    assert [(s.id, s.speaker, s.text, s.duration) for s in supervisions] == [
        ("a", "s1", "два слова", 1.0000625),
        ("b", "s2", "два слова", 2.5),
    ]
    assert [r.sources[0].source for r in recordings] == ["/wav/a.wav", "/wav/b.wav"]


@pytest.mark.parametrize("table", ["wav.scp", "text", "utt2spk", "utt2dur"])
def test_tables_that_disagree_are_refused(tmp_path, table):
    write_data_dir(tmp_path, [utterance("a"), utterance("b")])
    lines = (tmp_path / table).read_text().splitlines(keepends=True)
    (tmp_path / table).write_text(lines[0])
    with pytest.raises(ValueError, match="utterance 'b' stands in only one of"):
        read_data_dir(tmp_path)
    (tmp_path / table).unlink()
    with pytest.raises(ValueError, match=f"no {table}"):
        read_data_dir(tmp_path)


def test_other_errors_name_the_place(tmp_path):
    write_data_dir(tmp_path, [utterance("a")])
    for seconds in ("long", "nan", "inf", "-1"):
        (tmp_path / "utt2dur").write_text(f"a {seconds}\n")
        with pytest.raises(ValueError, match=f"utt2dur: 'a' has '{seconds}'"):
            read_data_dir(tmp_path)
    (tmp_path / "segments").write_text("a a 0 1\n")
    with pytest.raises(ValueError, match="segments"):
        read_data_dir(tmp_path)
    with pytest.raises(ValueError, match="'a' stands twice"):
        write_data_dir(tmp_path, [utterance("a"), utterance("a")])
    with pytest.raises(ValueError, match="'a' is both kept and left out"):
        write_data_dir(tmp_path, [utterance("a")], {"a": "too short"})


def test_no_exclusions_is_an_empty_file_and_no_file_is_none(tmp_path):
    assert read_excluded(tmp_path) == {}
    write_data_dir(tmp_path, [])
    assert (tmp_path / "excluded.tsv").read_text() == "" and read_excluded(tmp_path) == {}

import errno
import os
import pickle
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlspike.data.files import OutputError, atomic_write, check_output, make_folder, read_kaldi, write_kaldi
from tests.small_disk import small_disk

NO_KEY = {"blacklist_categories": ["Cs", "Zs", "Zl", "Zp", "Cc"], "blacklist_characters": "\ufeff"}
words = st.text(st.characters(**NO_KEY), min_size=1, max_size=8)
values = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\n"), max_size=20).map(
    lambda value: value.strip(" \t\r")
)


@given(st.dictionaries(words, values, max_size=8))
def test_a_kaldi_table_reads_back_as_written(tmp_path_factory, table):
    path = tmp_path_factory.mktemp("kaldi") / "text"
    write_kaldi(path, table)
    assert read_kaldi(path) == table
    assert list(read_kaldi(path)) == sorted(table)


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b"a one\nb two\na three\n", "line 3: key 'a'"),
        (b"a one\n\nb two\n", "line 2"),
        (b"a one\n\n", "line 2"),
        (b"a one\nb \xff\xfe\n", "line 2"),
    ],
)
def test_a_bad_table_is_refused_by_file_and_line(tmp_path, content, where):
    (tmp_path / "text").write_bytes(content)
    with pytest.raises(ValueError, match=f"text, {where}"):
        read_kaldi(tmp_path / "text")


def test_tables_of_others_are_read(tmp_path):
    (tmp_path / "text").write_bytes("\ufeffb\tdva  slova \r\na\nв\u00a0г нет".encode())
    assert read_kaldi(tmp_path / "text") == {"b": "dva  slova", "a": "", "в\u00a0г": "нет"}


@pytest.mark.parametrize("table", [{"": "x"}, {"a b": "x"}, {"\ufeffa": "x"}, {"a": "x\ny"}, {"a": " x"}])
def test_what_would_not_read_back_is_not_written(tmp_path, table):
    with pytest.raises(ValueError, match="text"):
        write_kaldi(tmp_path / "text", table)
    assert list(tmp_path.iterdir()) == []


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 200))
def test_an_interrupted_write_leaves_the_old_file(tmp_path_factory, old, new, cut):
    path = tmp_path_factory.mktemp("atomic") / "model.pth"
    path.write_bytes(old)
    with pytest.raises(OSError, match="disk full"):
        with atomic_write(path, "wb") as out:
            out.write(new[:cut])
            raise OSError("disk full")
    assert path.read_bytes() == old
    with atomic_write(path, "wb") as out:
        out.write(new)
        assert path.read_bytes() == old, "the new file must not be seen before it is whole"
    assert path.read_bytes() == new
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pth"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("file/a.txt", "file is a file"),
        ("folder", "a folder has this name"),
        ("none/a.txt", "No such file or directory"),
        ("a" * 300, "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_with_the_way_out(tmp_path, name, reason):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=f"{name}: can't be written .*{reason}.; .*name another one$"):
        with atomic_write(tmp_path / name) as out:
            out.write("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    copy = pickle.loads(pickle.dumps(OutputError(errno.EACCES, "no right", "x")))
    assert (str(copy), copy.errno) == (str(OutputError(errno.EACCES, "no right", "x")), errno.EACCES)


def test_a_full_disk_is_told_by_name_and_the_old_file_stays(tmp_path):
    (tmp_path / "a").write_text("kept")
    with small_disk(20_000), pytest.raises(OutputError, match="/a: can't be written .*make room") as told:
        with atomic_write(tmp_path / "a", "wb") as out:
            out.write(bytes(50_000))
    assert told.value.errno == errno.EFBIG and (tmp_path / "a").read_text() == "kept"


def test_an_error_of_what_is_read_is_not_the_outputs(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        with atomic_write(tmp_path / "a") as out:
            out.write((tmp_path / "none").read_text())


def test_a_folder_is_made_or_told(tmp_path, monkeypatch):
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    check_output(tmp_path / "a/b")
    check_output(tmp_path / "a/c/d", is_file=True)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    for name in ("file", "file/b", "lost"):
        with pytest.raises(OutputError, match=f"{name}: can't be written .*name another"):
            make_folder(tmp_path / name)
    monkeypatch.setattr("os.access", lambda path, mode: path != tmp_path / "a")
    with pytest.raises(OutputError, match="c/d: can't be written .no right to write in .*/a.; "):
        make_folder(tmp_path / "a/c/d")


def test_writing_is_killed_between_bytes(tmp_path):
    """A process that dies in the block (os._exit runs no clean-up) leaves the old file too."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    child = os.fork()
    if child == 0:
        with atomic_write(path) as out:
            out.write("new")
            out.flush()
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert path.read_text() == "old"


def test_two_writers_leave_one_whole_file(tmp_path):
    barrier = threading.Barrier(2)

    def write(letter):
        with atomic_write(tmp_path / "a.txt") as out:
            barrier.wait(timeout=10)
            out.write(letter * 10000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a.txt").read_text() in ("a" * 10000, "b" * 10000)


def test_a_link_stays_a_link_and_whoever_reads_the_old_file_reads_it_to_the_end(tmp_path):
    """The new file takes the old one's name, it isn't written over its bytes: a kill can't mix the two."""
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    link.symlink_to("real.txt")
    with open(link) as reader:
        with atomic_write(link) as out:
            out.write("brand new")
        assert reader.read() == "old"
    assert link.is_symlink() and real.read_text() == "brand new"


def test_appending_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'a'"):
        with atomic_write(tmp_path / "a.txt", "a"):
            pass

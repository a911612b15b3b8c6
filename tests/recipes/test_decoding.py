"""Stage 12, a decoding in pieces, with a stand-in for Python: what it is asked, what is kept or redone."""

import json
import subprocess
from pathlib import Path

import pytest

EGS = Path(__file__).parents[2] / "egs"

# What `imlspike decode` leaves for the utterances that it is told to read.
PYTHON = """\
#!/usr/bin/env bash
echo "$*" >> calls
while [ $# -gt 1 ]; do
    case $1 in --data-dir) data=$2 ;; --output) out=$2 ;; esac
    shift
done
sed 's/ .*/ text/' "$data/wav.scp" > "$out"
printf '{\\n"audio_seconds": 4.0,\\n"seconds": 1.0\\n}' > "$out.json"
"""
DECODE = """
set -euo pipefail
template={egs}/TEMPLATE
. $template/utils/options.sh
. $template/utils/jobs.sh
. $template/utils/espnet.sh
. $template/asr1/steps_lm.sh
. $template/asr1/steps_decode.sh
PATH=$template/utils:$PATH
python=./python decode_cmd=run_local.sh ngpu=0 sound=data names=(tiny) inference_args=""
inference_asr_model="" inference_lm="" inference_config=decode.yaml lm_exp=exp/lm
inference_nj=2 decodings="greedy" test_sets="dev test"
{settings}
set_environment() {{ environment=(env); }}
log() {{ echo "$*"; }}
for_each_decoding decode_pieces
wait_for_jobs
for_each_decoding join_pieces
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with two sets, a trained recogniser and a language model."""
    for name, count in (("dev", 7), ("test", 1)):
        (tmp_path / "data" / name).mkdir(parents=True)
        lines = "".join(f"{name}{number} {number}.wav\n" for number in range(count))
        (tmp_path / "data" / name / "wav.scp").write_text(lines)
    for exp, criterion in (("tiny", "acc"), ("lm", "loss")):
        (tmp_path / "exp" / exp).mkdir(parents=True)
        config = f"best_model_criterion:\n-   - valid\n    - {criterion}\n    - max\nseed: 1\n"
        (tmp_path / "exp" / exp / "config.yaml").write_text(config)
        (tmp_path / "exp" / exp / f"valid.{criterion}.ave.pth").write_text("model")
    (tmp_path / "decode.yaml").write_text("beam_size: 3\nlm_weight: 0.3\nctc_weight: 0.5\n")
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def decode(folder: Path, settings: str = "") -> tuple[str, list[str]]:
    """What stage 12 prints, and the calls of Python in it."""
    (folder / "calls").write_text("")
    script = DECODE.format(egs=EGS, settings=settings)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, (folder / "calls").read_text().splitlines()


def test_pieces_keep_the_processes_busy_and_are_joined_in_order(folder):
    printed, calls = decode(folder, "inference_nj=6")
    assert len(calls) == 3 + 1, "three pieces of each set, but no more than a set has utterances"
    lines = (folder / "exp/tiny/decode_greedy/dev/text").read_text().splitlines()
    assert lines == [f"dev{number} text" for number in range(7)]
    parts = [
        len(path.read_text().splitlines()) for path in folder.glob("exp/tiny/decode_greedy/dev/pieces/*/text")
    ]
    assert sorted(parts) == [2, 2, 3]
    assert "tiny, greedy, dev: real-time factor 0.250" in printed


def test_what_is_complete_is_not_decoded_again_by_more_or_fewer_processes(folder):
    decode(folder, "inference_nj=6")
    assert decode(folder, "inference_nj=6")[1] == [] == decode(folder, "inference_nj=2")[1]
    (folder / "exp/tiny/valid.acc.ave.pth").write_text("another model")
    assert len(decode(folder)[1]) == 2
    lines = (folder / "exp/tiny/decode_greedy/dev/text").read_text().splitlines()
    assert len(lines) == 7, "pieces of the earlier run are gone"
    times = [
        json.loads(path.read_text()) for path in folder.glob("exp/tiny/decode_greedy/dev/pieces/*/text.json")
    ]
    assert len(times) == 1


def test_an_interrupted_decoding_goes_on_with_the_pieces_that_lack(folder):
    decode(folder, "inference_nj=6")
    (folder / "exp/tiny/decode_greedy/dev/.done").unlink()
    (folder / "exp/tiny/decode_greedy/dev/pieces/2/.done").unlink()
    assert len(decode(folder, "inference_nj=6")[1]) == 1


def test_the_language_model_is_given_where_it_is_used_and_its_weight_only_there(folder):
    _, calls = decode(folder, 'decodings="joint joint_lm" test_sets=test')
    given = {"--lm-config exp/lm/config.yaml --lm-file exp/lm/valid.loss.ave.pth" in call for call in calls}
    assert given == {True, False} and all("--mode joint" in call for call in calls)
    weights = {}
    for mode in ("joint", "joint_lm"):
        [settings] = folder.glob(f"exp/tiny/decode_{mode}/test/pieces/1/decode.yaml")
        weights[mode] = settings.read_text()
    assert weights == {
        "joint": "beam_size: 3\nctc_weight: 0.5\n",
        "joint_lm": "beam_size: 3\nlm_weight: 0.3\nctc_weight: 0.5\n",
    }


def test_a_model_that_is_missing_is_named_with_the_stage_that_makes_it(folder):
    (folder / "exp/lm/config.yaml").unlink()
    with pytest.raises(AssertionError, match="there is no experiment exp/lm; train first .stage 7."):
        decode(folder, "decodings=joint_lm; follow_decoding")
    with pytest.raises(AssertionError, match="no model exp/tiny/9epoch.pth.* --inference_asr_model"):
        decode(folder, "inference_asr_model=9epoch.pth")

"""Recipes in process. Verbs run here; in the place of programs are fakes that leave their files, or forks."""

import logging
import os
import shlex
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path

import numpy as np
import yaml

from imlspike.recipes import __main__, processes, training

EGS = Path(__file__).parents[2] / "egs"
HERE = Path(__file__).parent
LEFT = {"profile": "energy.json", "pack": "", "report": "", "synthesize": "synthesis.yaml"}


class Programs:
    """Notes the calls of programs and does their work, or leaves what they leave."""

    def __init__(self, monkeypatch):
        self.calls = []
        for module in (processes, training):
            monkeypatch.setattr(module, "call", self)

    def __call__(self, words, log=None, env=None):
        words = list(map(str, words))
        self.calls.append(words)
        if words[1].endswith(".py"):
            subprocess.run(words, env=os.environ | (env or {}), check=True)
            return
        name, given = words[2].rpartition(".")[2], words[3:]
        if "lm_calc_perplexity" in words:
            Path(words[-3], "ppl").write_text("12.5")
        elif words[2] == "imlspike.espnet":
            self.train(given[1:])
        elif name == "aggregate_stats_dirs":
            import_module(words[2]).main(given)
        elif name == "decode":
            value = dict(zip(given, given[1:], strict=False))
            lines = Path(value["--data-dir"], "wav.scp").read_text().splitlines()
            Path(value["--output"]).write_text("".join(f"{line.split()[0]} text\n" for line in lines))
            Path(value["--output"] + ".json").write_text('{"audio_seconds": 4.0, "seconds": 1.0}')
        elif name in LEFT or name == "score":
            value = dict(zip(given, given[1:], strict=False))
            left = LEFT.get(name) or ("scores.json" if "--systems" in given else "alignment.json")
            out = Path(value.get("--output") or Path(value.get("--output-dir", ""), left))
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text("{}")
        elif import_module(words[2]).main(given):
            raise processes.ProgramError(f"{name} failed")

    def train(self, given):
        value = dict(zip(given, given[1:], strict=False))
        config = yaml.safe_load(Path(value["--config"]).read_text())
        if not config.get("collect_stats"):
            exp, (phase, key, _) = Path(config["output_dir"]), config["best_model_criterion"][0]
            (exp / "config.yaml").write_text(yaml.safe_dump(config))
            for file in (f"{phase}.{key}.ave.pth", "checkpoint.pth", "1epoch.pth"):
                (exp / file).write_text(f"{exp.name} {file}")
            return
        for split in ("train", "valid"):
            out = Path(value["--output_dir"], split)
            out.mkdir(parents=True)
            keys = [line.split()[0] for line in open(value[f"--{split}_shape_file"])]
            for kind in ("speech", "text"):
                (out / f"{kind}_shape").write_text("".join(f"{key} {len(key)}\n" for key in keys))
            (out / "batch_keys").write_text("speech\ntext\n")
            kinds = ("feats", "pitch", "energy") if config.get("write_collected_feats") else ("feats",)
            (out / "stats_keys").write_text("\n".join(kinds) + "\n")
            for kind in kinds:
                np.savez(out / f"{kind}_stats.npz", count=len(keys), sum=sum(map(len, keys)), sum_square=0)
                if len(kinds) > 1:
                    (out / "collect_feats" / f"data_{kind}").mkdir(parents=True)
                    lines = "".join(f"{key} {out}/collect_feats/data_{kind}/{key}.npy\n" for key in keys)
                    (out / "collect_feats" / f"{kind}.scp").write_text(lines)

    def modules(self) -> list[str]:
        """What was called, in order."""
        return [words[2] for words in self.calls]


def forked(words, log=None, env=None) -> None:
    """Stand for `processes.call`: `python -m MODULE ...` in a fork, where nothing is imported anew."""
    words = list(map(str, words))
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        status = 1
        try:
            if log:
                Path(log).parent.mkdir(parents=True, exist_ok=True)
                out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
                os.dup2(out, 1), os.dup2(out, 2)
            sys.stdout, sys.stderr = (os.fdopen(fd, "w", buffering=1, closefd=False) for fd in (1, 2))
            os.environ |= env or {}
            status = run_module(words)
        except SystemExit as ended:
            status = ended.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status if isinstance(status, int) else 1)
    if status := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        tail = Path(log).read_text(errors="replace")[-2000:] if log else ""
        raise processes.ProgramError(f"{' '.join(words[:6])} ended with status {status}: {tail}")


def run_module(words: list[str]) -> int:
    """What `python -m MODULE ...` does, where main() is all of it."""
    import torch

    torch.set_num_threads(1)
    logging.root.handlers.clear()
    sys.argv = words[2:]
    if words[2] == "imlspike.espnet":
        import_module("imlspike.espnet.__main__").run(words[3:])
        return 0
    return import_module(words[2]).main(words[3:]) or 0


def use_forks(monkeypatch) -> None:
    """Run programs by `forked`."""
    import_module("imlspike.espnet").register()
    for module in (processes, training):
        monkeypatch.setattr(module, "call", forked)


def words_of(recipe: str, script: str = "run.sh") -> list[str]:
    """What `egs/<recipe>/<script>` gives to `imlspike.recipes`, up to its user's options."""
    path = EGS / recipe / script
    own = path.read_text().replace("\\\n", " ").split("imlspike.recipes ")[1]
    own = own.replace("${recipe}", str(path.parent)).replace("$0", str(path)).replace("${speeds}", "")
    return shlex.split(own)[:-1]


def run(recipe: str, work: Path, words: str = "", script: str = "run.sh") -> int:
    """What `egs/<recipe>/<script> --workdir WORK WORDS` does, in this process; its exit status."""
    return __main__.main([*words_of(recipe, script), "--workdir", str(work), *shlex.split(words)])


def table(path: Path) -> dict[str, str]:
    """A Kaldi table, or excluded.tsv, as a dictionary."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.replace("\t", " ").partition(" ")[2] for line in lines}

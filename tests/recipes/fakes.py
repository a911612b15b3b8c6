"""Recipes in process: verbs run here, and in the place of ESPnet's programs is what leaves their files."""

import shlex
from importlib import import_module
from pathlib import Path

import numpy as np
import yaml

from imlspike.recipes import __main__, processes, training

EGS = Path(__file__).parents[2] / "egs"
HERE = Path(__file__).parent
LEFT = {"profile": "energy.json", "pack": "", "report": "", "report_voice": "", "score_voice": "scores.json"}
LEFT |= {"score_alignment": "alignment.json", "synthesize": "synthesis.yaml"}


class Programs:
    """Notes the calls of programs and does their work, or leaves what they leave."""

    def __init__(self, monkeypatch):
        self.calls = []
        for module in (processes, training):
            monkeypatch.setattr(module, "call", self)

    def __call__(self, words, log=None, env=None):
        words = list(map(str, words))
        self.calls.append(words)
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
        elif name in LEFT:
            value = dict(zip(given, given[1:], strict=False))
            out = Path(value.get("--output") or Path(value.get("--output-dir", ""), LEFT[name]))
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


def run(recipe: str, work: Path, *words: object) -> int:
    """What `egs/<recipe>/run.sh --workdir WORK WORDS` does, in this process; its exit status."""
    script = EGS / recipe / "run.sh"
    own = script.read_text().replace("\\\n", " ").split("imlspike.recipes ")[1]
    own = own.replace("${recipe}", str(script.parent)).replace("$0", str(script)).replace("${speeds}", "")
    task, *given = shlex.split(own)
    return __main__.main([task, *given[: given.index("--") + 1], "--workdir", str(work), *map(str, words)])


def table(path: Path) -> dict[str, str]:
    """A Kaldi table, or excluded.tsv, as a dictionary."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    return {line.split()[0]: line.replace("\t", " ").partition(" ")[2] for line in lines}

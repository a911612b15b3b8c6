"""A trained recogniser as one zip file that ESPnet can open, with everything it needs to run elsewhere."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path

import yaml

from imlspike.espnet.recognizer import read_args


def pack_recognizer(
    config: str | os.PathLike,
    model: str | os.PathLike,
    output: str | os.PathLike,
    lm: tuple[str | os.PathLike, str | os.PathLike] | None = None,
    extra: Mapping[str, str | os.PathLike] | None = None,
) -> list[str]:
    """Write the zip by `espnet2.bin.pack asr`: `config.yaml`, the model, and beside them the token list and
    what `config.yaml` names (statistics of the features, BPE model), `meta.yaml`, a language model in `lm/`.

    ESPnet's `unpack` sets the paths right where it unpacks; who only unzips can open the folder as an
    experiment (`imlspike.espnet.recognizer.load_recognizer`).

    Args:
        config: `config.yaml` of the experiment, `model`: a model file of it.
        output: the file to write, `*.zip`; it is replaced as a whole.
        lm: `config.yaml` and model file of a language model.
        extra: further files, by their names in the zip.

    Returns: the names in the zip.

    Raises:
        ValueError: a file that `config.yaml` names is neither there nor beside it, or `output` isn't the name
            of a zip file.

    >>> pack_recognizer("exp/tiny/config.yaml", "exp/tiny/valid.acc.ave.pth", "tiny.tar")
    Traceback (most recent call last):
    ...
    ValueError: tiny.tar: expected a name that ends in .zip
    """
    if Path(output).suffix != ".zip":
        raise ValueError(f"{os.fspath(output)}: expected a name that ends in .zip")
    from espnet2.bin.pack import main as espnet_pack

    output = Path(output).resolve()
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pack.", dir=output.parent) as temporary:
        folder = Path(temporary)
        files = {"asr_model_file": Path(model).name, "asr_train_config": "config.yaml"}
        beside = _copy(config, model, folder)
        if lm:
            files |= {"lm_file": f"lm/{Path(lm[1]).name}", "lm_train_config": "lm/config.yaml"}
            beside += _copy(*lm, folder, "lm/")
        for name, path in (extra or {}).items():
            shutil.copyfile(path, folder / name)
        options = [*beside, *(extra or {})]
        arguments = [word for key, name in files.items() for word in (f"--{key}", name)]
        arguments += [word for name in options for word in ("--option", name)]
        with chdir(folder):  # names in the zip are relative to where ESPnet runs
            espnet_pack(["asr", "--outpath", "packed.zip", *arguments])
        os.replace(folder / "packed.zip", output)
    return ["meta.yaml", *files.values(), *options]


def _copy(config: str | os.PathLike, model: str | os.PathLike, folder: Path, prefix: str = "") -> list[str]:
    """Copy a model, its `config.yaml` and what this names to `folder`/`prefix`; the names of the latter."""
    args = vars(read_args(config))
    (folder / prefix).mkdir(exist_ok=True)
    beside = []
    normalize = args.get("normalize_conf") or {}
    for mapping, key, name in ((args, "bpemodel", "bpe.model"), (normalize, "stats_file", "feats_stats.npz")):
        if mapping.get(key):
            shutil.copyfile(mapping[key], folder / prefix / name)
            mapping[key] = prefix + name
            beside.append(prefix + name)
    tokens = "".join(f"{token}\n" for token in args["token_list"])  # ESPnet keeps the tokens themselves here
    (folder / prefix / "tokens.txt").write_text(tokens, encoding="utf-8")
    shutil.copyfile(model, folder / prefix / Path(model).name)
    text = yaml.safe_dump(args, allow_unicode=True)
    (folder / prefix / "config.yaml").write_text(text, encoding="utf-8")
    return [*beside, f"{prefix}tokens.txt"]

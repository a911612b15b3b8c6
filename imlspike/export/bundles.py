"""Export of a bundle, whatever kind it is of."""

from collections.abc import Callable
from pathlib import Path

from imlspike.data.yaml_file import ConfigError
from imlspike.export.program import table_of
from imlspike.export.recognizer import export_recognizer, spelled
from imlspike.export.stream import export_stream
from imlspike.export.vocoder import export_vocoder
from imlspike.export.voice import export_voice
from imlspike.inference.bundle import Bundle
from imlspike.inference.recognizer import Tokens


def export_bundle(
    bundle: Bundle,
    folder: Path,
    int8: bool = False,
    look_ahead: int | None = None,
    overwrite: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write a model into a folder and return its files.

    Args:
        int8, look_ahead: of recognizers.
        overwrite: replace files that are there; else they are an error, but for a tokens.txt of the same
            tokens: `model.onnx`, `model.int8.onnx` and `stream.onnx` of one recognizer share it.
        tell: called with what is begun.

    Raises:
        ConfigError: naming the bundle and what of it can't be exported, or the file that is there.
    """
    try:
        if int8 and look_ahead is not None:
            raise ValueError("int8: not of a stream (look_ahead)")
        if bundle.kind != "recognizer" and (int8 or look_ahead is not None):
            given = "int8" if int8 else "look_ahead"
            raise ValueError(f"{given}: of a recognizer only, this is a {bundle.kind}")
        name = "stream.onnx" if look_ahead is not None else f"model{'.int8' if int8 else ''}.onnx"
        if not overwrite:
            refuse_to_replace(bundle, folder, name)
        tell(f"{bundle.source}: a {bundle.kind}, into {folder}; a minute or two")
        if look_ahead is not None:
            return [export_stream(bundle, folder, look_ahead)]
        if bundle.kind == "recognizer":
            return export_recognizer(bundle, folder, int8)
        return export_vocoder(bundle, folder) if bundle.kind == "vocoder" else export_voice(bundle, folder)
    except ValueError as error:
        raise ConfigError(f"{bundle.source}: {error}") from None


def refuse_to_replace(bundle: Bundle, folder: Path, name: str) -> None:
    """Raise ValueError if the folder has a file of this name, or one beside it of another model."""
    beside = {"vocoder": "mel.onnx"}.get(bundle.kind, "tokens.txt")
    there = [path for path in (folder / name, folder / beside) if path.exists()]
    if name == "stream.onnx":
        there = [path for path in there if path.name == name]
    elif there == [folder / "tokens.txt"]:
        recognizer = bundle.kind == "recognizer"
        tokens = spelled(Tokens(bundle.tokens, bundle.config["token_type"])) if recognizer else bundle.tokens
        there = there if there[0].read_bytes() != table_of(tokens).encode() else []
    if there:
        raise ValueError(f"{there[0]} is there; name another folder, or replace it with --overwrite")

"""Export of a bundle, whatever kind it is of."""

from pathlib import Path

from imlspike.data.yaml_file import ConfigError
from imlspike.export.recognizer import export_recognizer
from imlspike.export.stream import export_stream
from imlspike.export.vocoder import export_vocoder
from imlspike.export.voice import export_voice
from imlspike.inference.bundle import Bundle


def export_bundle(
    bundle: Bundle, folder: Path, int8: bool = False, look_ahead: int | None = None
) -> list[Path]:
    """Write a model into a folder and return its files; what else is given is for recognizers.

    Raises:
        ConfigError: naming the bundle and what of it can't be exported.
    """
    try:
        if bundle.kind == "recognizer":
            if look_ahead is None:
                return export_recognizer(bundle, folder, int8)
            if int8:
                raise ValueError("int8: not of a stream (look_ahead)")
            return [export_stream(bundle, folder, look_ahead)]
        if int8 or look_ahead is not None:
            given = "int8" if int8 else "look_ahead"
            raise ValueError(f"{given}: of a recognizer only, this is a {bundle.kind}")
        return export_vocoder(bundle, folder) if bundle.kind == "vocoder" else export_voice(bundle, folder)
    except ValueError as error:
        raise ConfigError(f"{bundle.source}: {error}") from None

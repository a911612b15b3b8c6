"""A module as one ONNX file that serves any length."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from imlspike.data.files import atomic_write, make_folder
from imlspike.data.mel import MEL_KEYS
from imlspike.export.engine import sha256_of_tokens

OPSET = 18


def write_onnx(
    model: nn.Module,
    examples: Sequence[Tensor],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    metadata: Mapping[str, str | int | float],
    path: Path,
) -> None:
    """Write a module in evaluation as ONNX, whole or not at all.

    Args:
        examples: of the inputs.
        inputs, outputs: their names and shapes; an axis with a name has any length.
        metadata: kept in the file; values as text.

    Raises:
        ImportError: without the extra `onnx`.
    """
    try:
        import onnx_ir
        from onnxscript.optimizer import fold_constants

        from imlspike.export.operators import translations
    except ImportError as error:
        raise ImportError(f"{error}; export needs the extra onnx: pip install 'imlspike[onnx]'") from None
    axes = tuple(
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(shape) if isinstance(size, str)}
        for shape in inputs.values()
    )
    level = logging.getLogger("torch").level
    logging.getLogger("torch").setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(model.eval(), tuple(examples), dynamic_shapes=axes)
            graph = torch.onnx.export(
                program,
                dynamo=True,
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                custom_translation_table=translations(),
                optimize=False,  # its rewriting takes minutes; onnxruntime does what matters when it loads
                verbose=False,
            ).model
    finally:
        logging.getLogger("torch").setLevel(level)
    fold_constants(graph, onnx_shape_inference=False)
    onnx_ir.passes.common.RemoveUnusedNodesPass()(graph)
    # At each node torch notes the lines of source that called it: megabytes, and paths of this machine.
    onnx_ir.passes.common.ClearMetadataAndDocStringPass()(graph)
    for values, shapes in ((graph.graph.inputs, inputs), (graph.graph.outputs, outputs)):
        for value, shape in zip(values, shapes.values(), strict=True):
            value.shape = onnx_ir.Shape(shape)
    graph.metadata_props.clear()
    graph.metadata_props.update({key: str(value) for key, value in metadata.items()})
    graph.producer_name = "imlspike"
    content = onnx_ir.to_proto(graph).SerializeToString()
    make_folder(path.parent)
    with atomic_write(path, "wb") as out:
        out.write(content)


def write_table(symbols: Sequence[str], path: Path) -> None:
    """Write `tokens.txt` in sherpa-onnx's form: a symbol and its number a line."""
    with atomic_write(path) as out:
        out.write(table_of(symbols))


def table_of(symbols: Sequence[str]) -> str:
    """The content of `tokens.txt`."""
    return "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))


def table_metadata(symbols: Sequence[str]) -> dict[str, str | int]:
    """How many symbols `tokens.txt` has, and by what a table of others is known."""
    return {"vocab_size": len(symbols), "tokens_sha256": sha256_of_tokens(symbols)}


def mel_metadata(features: Mapping[str, int | float | None]) -> dict[str, int | float]:
    """The numbers that tell a mel from others; the sampling rate by the name that it has in all files."""
    told = {key: features[key] for key in MEL_KEYS if key != "sampling_rate"}
    rate = features["sampling_rate"]
    return {"sample_rate": rate} | told | {"f_max": rate / 2 if told["f_max"] is None else told["f_max"]}

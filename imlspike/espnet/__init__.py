"""ESPnet plug-in: the spiking encoder and decoder, key `iml_spikeformer`, the text-to-speech model, key
`spikevoice`, with the vocoder's mel spectrogram, key `log_mel`, and ESPnet's programs that know them.

`import imlspike` never imports ESPnet, and importing this package doesn't either: `register()` does.
"""

import io
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module

_init_choices = None  # that of ESPnet's `ClassChoices`, once it's replaced


def register() -> None:
    """Make ESPnet know what imlspike adds; calling it again changes nothing.

    ESPnet's import takes several seconds, hence a function. Where it hooks in (espnet 202511):

    - A `ClassChoices` maps a YAML's names to classes. Each one that lists ESPnet's Transformer encoder gets
      the encoder `iml_spikeformer` (arguments of `imlspike.models.IMLSpikeformerEncoder` under
      `encoder_conf`), each one with its decoder the decoder `iml_spikeformer` (`IMLSpikeformerDecoder`,
      `decoder_conf`): those that exist, and those of tasks that are imported later. Each one with ESPnet's
      ASR model gets the model `iml_spikeformer` (`imlspike.espnet.asr_model`, `model_conf`). The tasks of
      espnet2/tasks/tts.py get the voice `spikevoice` (`SpikeVoice`, `tts_conf`) and the features `log_mel`
      (`LogMelExtract`, `feats_extract_conf`). Likewise the front end `level_log_mel` (`LevelLogMel`) and
      `late_specaug` (`LateSpecAug`) in imlspike/espnet/frontend.py.
    - `TTSTask.build_model` makes the class that its module names `ESPnetTTSModel`: now
      `imlspike.espnet.tts.TTSModel`, the same for all other voices.
    - espnet2/bin/tts_inference.py gives the speed to instances of `FastSpeech2`, an abstract class: the voice
      is registered as one.
    - `AbsTask.main_worker` is what every task trains by, in this process or spawned: now
      `imlspike.espnet.worker.run_worker`, which registers there and replaces checkpoints whole.
    - `calculate_all_attentions` of the trainer, whose maps `--num_att_plot` draws, and the maker of LoRA
      adapters know our layers.
    - espnet2/s2st/espnet_model.py takes an encoder for discrete units that is a `ConformerEncoder`, or ours.

    Raises:
        ImportError: if ESPnet isn't installed; the message says how to install it.

    >>> register()
    >>> from espnet2.tasks.asr import encoder_choices
    >>> encoder_choices.get_class("iml_spikeformer").__name__
    'SpikeformerEncoder'
    """
    try:
        # What it prints, that it goes without flash_attn, would stand among the results of a verb. This
        # module alone: `--print_config` writes to what sys.stdout is when abs_task is imported.
        with redirect_stdout(io.StringIO()):
            import_module("espnet.nets.pytorch_backend.transformer.attention")
        with _without_nltk_downloads():
            from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
            from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
            from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
            from espnet2.asr.espnet_model import ESPnetASRModel
            from espnet2.asr.frontend.default import DefaultFrontend
            from espnet2.asr.specaug.specaug import SpecAug
            from espnet2.layers import create_adapter
            from espnet2.s2st import espnet_model as s2st
            from espnet2.tasks import tts
            from espnet2.tasks.abs_task import AbsTask
            from espnet2.train import trainer
            from espnet2.train.class_choices import ClassChoices
            from espnet2.tts.fastspeech2 import FastSpeech2
    except ModuleNotFoundError as error:
        if error.name not in ("espnet", "espnet2", "nltk"):
            raise
        raise ImportError("ESPnet isn't installed; install it by: pip install 'imlspike[asr]'") from error
    from imlspike.espnet.adapters import create_lora_adapter
    from imlspike.espnet.asr import SpikeformerDecoder, SpikeformerEncoder
    from imlspike.espnet.asr_model import SpikingASRModel
    from imlspike.espnet.frontend import LateSpecAug, LevelLogMel
    from imlspike.espnet.log_mel import LogMelExtract
    from imlspike.espnet.monitor import calculate_all_attentions
    from imlspike.espnet.tts import SpikeVoiceTTS, TTSModel
    from imlspike.espnet.worker import RegisteredWorker

    ours = (
        (TransformerEncoder, "iml_spikeformer", SpikeformerEncoder),
        (TransformerDecoder, "iml_spikeformer", SpikeformerDecoder),
        (DefaultFrontend, "level_log_mel", LevelLogMel),
        (SpecAug, "late_specaug", LateSpecAug),
        (ESPnetASRModel, "iml_spikeformer", SpikingASRModel),
    )

    def add_ours(choices: ClassChoices) -> None:
        for beside, name, cls in ours:
            if beside in choices.classes.values():
                choices.classes[name] = cls

    def init(self, *args, **kwargs) -> None:
        _init_choices(self, *args, **kwargs)
        add_ours(self)

    global _init_choices
    _init_choices = _init_choices or ClassChoices.__init__
    ClassChoices.__init__ = init
    for name, module in list(sys.modules.items()):
        for choices in vars(module).values() if name.startswith("espnet2.tasks.") else ():
            if isinstance(choices, ClassChoices):
                add_ours(choices)
    tts.tts_choices.classes["spikevoice"] = SpikeVoiceTTS
    tts.feats_extractor_choices.classes["log_mel"] = LogMelExtract
    tts.ESPnetTTSModel = TTSModel
    FastSpeech2.register(SpikeVoiceTTS)
    AbsTask.main_worker = RegisteredWorker()
    s2st.ConformerEncoder = (ConformerEncoder, SpikeformerEncoder)
    trainer.calculate_all_attentions = calculate_all_attentions
    create_adapter.create_adapter_fn_table["lora"] = create_lora_adapter


@contextmanager
def _without_nltk_downloads() -> Iterator[None]:
    """Keep ESPnet's import off the network.

    The English grapheme-to-phoneme converter g2p_en, which ESPnet imports always, fetches its dictionaries
    while it is imported: a machine without network waits for it in every process. Who uses `g2p: g2p_en`
    fetches them once by `python -m nltk.downloader averaged_perceptron_tagger_eng cmudict`.
    """
    import nltk

    download, nltk.download = nltk.download, lambda *args, **kwargs: False
    try:
        yield
    finally:
        nltk.download = download


def run_espnet(name: str, argv: Sequence[str]) -> None:
    """Run `espnet2.bin.<name>` with the arguments `argv` after `register()`.

    A training (`..._train`) takes one option more: `--num_processes N` trains on the CPU with N processes,
    which share each batch of ESPnet's among them (`batch_bins` and `batch_size` count what all of them get).

    Raises:
        torch.multiprocessing.ProcessRaisedException, ProcessExitedException: if one of several processes
            fails or is killed; the others have been ended then.
    """
    if name.endswith("_train"):
        parser = ArgumentParser(f"imlspike.espnet {name}", add_help=False, allow_abbrev=False)
        parser.add_argument("--num_processes", type=int, default=1, help="processes that train on the CPU")
        own, argv = parser.parse_known_args(argv)
        if {"-h", "--help"} & set(argv):
            parser.print_help()
        if own.num_processes > 1:
            from espnet2.train.distributed_utils import free_port
            from torch.multiprocessing import spawn

            return spawn(_run_rank, (name, argv, own.num_processes, free_port()), own.num_processes)
    register()
    import_module(f"espnet2.bin.{name}").main(argv)


def _run_rank(rank: int, name: str, argv: Sequence[str], count: int, port: int) -> None:
    group = ["--ngpu", "0", "--multiprocessing_distributed", "false", "--dist_backend", "gloo"]
    group += ["--dist_world_size", str(count), "--dist_rank", str(rank)]
    run_espnet(name, [*argv, *group, "--dist_master_addr", "localhost", "--dist_master_port", str(port)])

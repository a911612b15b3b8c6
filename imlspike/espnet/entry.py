"""ESPnet's programs with imlspike registered; training by several processes of one machine."""

from argparse import ArgumentParser
from collections.abc import Sequence
from importlib import import_module

from imlspike.espnet import register


def run_espnet(name: str, argv: Sequence[str] | None = None) -> None:
    """Run `espnet2.bin.<name>` with the arguments `argv` (default: the command line) after `register()`.

    A training (`..._train`) takes one option more: `--num_processes N` trains on the CPU with N processes,
    which share each batch of ESPnet's among them (`batch_bins` and `batch_size` count what all of them get).

    Raises:
        torch.multiprocessing.ProcessRaisedException, ProcessExitedException: if one of several processes
            fails or is killed; the others have been ended then.
    """
    if name.endswith("_train"):
        parser = ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--num_processes", type=int, default=1)
        own, argv = parser.parse_known_args(argv)
        if own.num_processes > 1:
            from espnet2.train.distributed_utils import free_port
            from torch.multiprocessing import spawn

            return spawn(_run_rank, (name, argv, own.num_processes, free_port()), own.num_processes)
    register()
    import_module(f"espnet2.bin.{name}").main(argv)


def _run_rank(rank: int, name: str, argv: Sequence[str], count: int, port: int) -> None:
    group = ["--ngpu", "0", "--multiprocessing_distributed", "false", "--dist_backend", "gloo"]
    group += ["--dist_world_size", str(count), "--dist_rank", str(rank)]
    group += ["--dist_master_addr", "localhost", "--dist_master_port", str(port)]
    run_espnet(name, [*argv, *group])

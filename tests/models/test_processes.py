"""Two processes that share a batch compute what one does with the whole batch."""

import socket

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from imlspike.layers import MaskedBatchNorm
from imlspike.layers.norm import synchronise_norms
from tests.models.small import batch, small_encoder

LENGTHS = [60, 41, 52, 57, 33]
OPTIONS = {"conv_kernel": 3, "rep_branches": ("linear", "wide", "identity")}
STEPS = 2


def train(encoder, module, rows: slice, processes: int) -> dict:
    """Gradients and statistics after two steps on these rows of the batch."""
    encoder.train()
    torch.manual_seed(1)
    xs, lengths = batch(LENGTHS)
    weights = torch.randn(len(LENGTHS), 20, 8, dtype=xs.dtype)
    xs, lengths, weights = xs[rows], lengths[rows], weights[rows]
    for _ in range(STEPS):
        ys, counts, _ = module(xs[:, : lengths.max()], lengths)
        # As ESPnet's trainer does: data parallel training divides the sum of the gradients by the processes.
        (processes * (ys * weights[:, : counts.max()]).sum()).backward()
    return {name: p.grad for name, p in encoder.named_parameters()} | dict(encoder.named_buffers())


def encoder_on_its_rows(rank: int, synchronised: bool) -> dict:
    encoder = small_encoder(sync_norms=False, **OPTIONS)  # its first batches are not shared
    synchronise_norms(encoder, synchronised)
    return train(encoder, DistributedDataParallel(encoder), slice(rank, None, 2), 2)


def norm_on_its_rows(rank: int, rows: tuple[int, int]) -> dict:
    """A norm of rows that the processes share as `rows` says."""
    torch.manual_seed(0)
    x, norm = torch.randn(sum(rows), 3, dtype=torch.float64), MaskedBatchNorm(3).double()
    x = (x[: rows[0]] if rank == 0 else x[rows[0] :]).requires_grad_()
    y = norm(x)
    y.pow(3).sum().backward()
    return {"y": y.detach(), "grad": x.grad, **dict(norm.named_buffers())}


def run_rank(rank: int, port: int, folder, work, *arguments):
    torch.set_num_threads(1)
    where = f"tcp://localhost:{port}"
    distributed.init_process_group("gloo", init_method=where, world_size=2, rank=rank)
    torch.save(work(rank, *arguments), folder / f"rank{rank}.pt")
    distributed.destroy_process_group()


def in_two_processes(folder, work, *arguments) -> list[dict]:
    """What `work(rank, *arguments)` returned in either process."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    server = torch.multiprocessing.get_context("forkserver")  # a fork of this process may have threads
    server.set_forkserver_preload([__name__])
    ranks = [server.Process(target=run_rank, args=(rank, port, folder, work, *arguments)) for rank in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0, 0]
    return [torch.load(folder / f"rank{rank}.pt") for rank in (0, 1)]


@pytest.fixture(scope="module")
def alone():
    encoder = small_encoder(**OPTIONS)
    return train(encoder, encoder, slice(None), 1)


def test_gradients_and_statistics_are_those_of_one_process_with_the_whole_batch(tmp_path, alone):
    for results in in_two_processes(tmp_path, encoder_on_its_rows, True):
        torch.testing.assert_close(results, alone, rtol=1e-9, atol=1e-9)


def test_processes_on_their_own_statistics_compute_something_else(tmp_path, alone):
    """What the option costs: without it the gradient of the encoder is another one."""
    results, _ = in_two_processes(tmp_path, encoder_on_its_rows, False)
    apart = torch.cat([(results[name] - alone[name]).flatten() for name in alone if "running" in name])
    assert apart.abs().max() > 0.01
    names = [name for name in alone if name.endswith("conv.weight")]
    difference = max((results[name] - alone[name]).abs().max() / alone[name].abs().max() for name in names)
    assert difference > 0.1


def test_the_option_reaches_every_norm():
    for synchronised in (True, False):
        encoder = small_encoder(sync_norms=synchronised, **OPTIONS)
        norms = [module for module in encoder.modules() if isinstance(module, MaskedBatchNorm)]
        assert len(norms) > 10 and {norm.synchronised for norm in norms} == {synchronised}


@pytest.mark.parametrize("rows", [(4, 0), (4, 1), (1, 1), (1, 0)])
def test_a_process_with_few_rows_or_none_takes_part(tmp_path, rows):
    first, second = in_two_processes(tmp_path, norm_on_its_rows, rows)
    alone = norm_on_its_rows(0, (sum(rows), 0))
    for name in ("y", "grad"):
        torch.testing.assert_close(torch.cat((first[name], second[name])), alone[name])
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(first[name], alone[name])

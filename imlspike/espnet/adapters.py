"""LoRA adapters of ESPnet on the linear maps of our layers, by the names that users know."""

from typing import Any

from espnet2.layers.create_adapter_fn import create_lora_adapter as espnets
from torch import nn

from imlspike.layers import RepLinear

# ESPnet's names in its Transformer, and what they are called here.
NAMES = {
    "linear_q": "q",
    "linear_k": "k",
    "linear_v": "v",
    "linear_out": "o",
    "w_1": "expand",
    "w_2": "project",
}
NAMES |= {"query": "q", "key": "k", "value": "v"}


def create_lora_adapter(model: nn.Module, target_modules: list[str] = ["query"], **conf: Any) -> None:  # noqa: B006
    """ESPnet's, for which a target may also name a `RepLinear` or a branch of one: its maps get the adapters.

    `q`, `attention.v`, `encoder.blocks.0.attention.q`, `q.linear`, `linear` and ESPnet's own `linear_q` or
    `w_1` are such names. The end of a name of a plain linear map or an embedding is one, as in ESPnet.
    """
    names = dict(model.named_modules())
    targets = []
    for target in target_modules:
        last = target.rpartition(".")[2]
        ours = f"{target.removesuffix(last)}{NAMES.get(last, last)}"
        for name, module in names.items():
            inside = isinstance(names.get(name.rpartition(".")[0]), RepLinear)
            if f".{name}".endswith(f".{ours}") and (isinstance(module, RepLinear) or inside):
                maps = module.named_modules(prefix=name)
                targets += [key for key, each in maps if isinstance(each, nn.Linear)]
            elif name.endswith(target) and isinstance(module, nn.Linear | nn.Embedding):
                targets.append(name)
    espnets(model=model, target_modules=targets or target_modules, **conf)

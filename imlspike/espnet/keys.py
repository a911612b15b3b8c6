"""Wrong keys in a configuration: name the nearest right one."""

import difflib
import inspect
from collections.abc import Iterable


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The sentence that tells a reader about a key that isn't known: the nearest right one, then all of them.

    >>> unknown_key("kapa", ["levels", "kappa"])
    "unknown key 'kapa'; did you mean 'kappa'? (known: kappa, levels)"
    >>> unknown_key("zzz", ["levels", "kappa"])
    "unknown key 'zzz' (known: kappa, levels)"
    """
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown key {key!r}{hint} (known: {', '.join(known)})"


def constructor_keys(cls: type) -> set[str] | None:
    """The argument names that the constructor of `cls` takes; None when it takes any (`**kwargs`).

    >>> class Model:
    ...     def __init__(self, size, *, depth=2): ...
    >>> sorted(constructor_keys(Model))
    ['depth', 'size']
    """
    parameters = inspect.signature(cls).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return {p.name for p in parameters if p.kind is not p.VAR_POSITIONAL}

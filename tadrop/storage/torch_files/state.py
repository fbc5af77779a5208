"""The state dict that a torch file means: its tensors by name, and what it leaves out.

It is a dictionary of tensors, perhaps within others that hold training's progress too;
the parameters and persistent buffers of a pickled module; or what a TorchScript module
holds. A tensor that would be left out of the state is named and refused, unless it is
asked to be left out. Other things beside the state are none of it.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from tadrop.storage.pickles.nodes import (
    LONGEST,
    Made,
    UnfitError,
    UnreadableError,
    by_name,
    is_dictionary,
)
from tadrop.storage.pickles.torch_names import AROUND, DTYPES, OTHER_KINDS
from tadrop.storage.torch_files.modules import Modules, Named
from tadrop.storage.torch_files.tensors import (
    REBUILDS,
    StoredTensor,
    is_tensor,
    other_kind,
    tensor,
)
from tadrop.storage.torch_files.walk import spelled, walk

# Words under which training code saves the state, beside its own progress.
WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "module",
    "net",
    "network",
    "params",
    "params_ema",
    "ema",
    "teacher",
    "student",
    "weights",
)
# Words for training's progress, which holds tensors that are no weights.
PROGRESS = (
    "optimizer",
    "optimizer_state_dict",
    "optimizer_states",
    "optim",
    "scheduler",
    "lr_scheduler",
    "lr_schedulers",
    "scaler",
)
NESTED = 8  # dictionaries around a state
NAMED = 100  # tensors that a refusal names
LOST = 10_000  # that are told from one another
CONTAINERS = {
    "collections.OrderedDict",
    "collections.defaultdict",
    "builtins.set",
    "__builtin__.set",
    "torch.Size",
    "torch.device",
}


class State(NamedTuple):
    """The tensors of a file by name, and the names of those that are not among them.

    left_out: buffers that a module does not keep, and what was asked to be left out
    """

    tensors: dict[str, StoredTensor]
    left_out: tuple[str, ...]


def state(
    root: Any,
    key: str | None = None,
    leave_out: Iterable[str] = (),
    among: str | None = None,
) -> State:
    """The state in what was unpickled.

    key:       the entry that holds the state, which must be there
    among:     the one to take of several that could hold it
    leave_out: patterns of names, with * and ?, that are to be left out
    Raises UnreadableError if there is no state, or one of which a tensor cannot be read.
    """
    patterns = tuple(leave_out)
    node = Unwrapping(among).innermost(root, key)
    if is_tensor(node) or (not isinstance(node, Made) and not is_dictionary(node)):
        raise _nothing(node)
    chosen, transient = _entries(node)
    readable: dict[str, StoredTensor] = {}
    for name, value in chosen.items():
        dense = _dense(name, value)
        if dense is not None:
            readable[name] = dense
    taken = set(readable.values())
    for name, value in transient.items():
        dense = _dense(name, value)
        if dense is not None:
            taken.add(dense)
    lost = _lost(node, taken)
    unwanted = {name for name in (*readable, *lost) if _matches(name, patterns)}
    _refuse_lost({name: kind for name, kind in lost.items() if name not in unwanted})
    tensors = {name: dense for name, dense in readable.items() if name not in unwanted}
    if not tensors:
        raise _nothing(node)
    return State(tensors, tuple(sorted(unwanted.union(transient))))


def _entries(node: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The values that may be tensors of the state,
    and those that modules do not keep.
    """
    modules = Modules(Named())
    if isinstance(node, Made) and modules.is_module(node):
        return modules.entries(node)
    return by_name(node), {}


def _dense(name: str, value: Any) -> StoredTensor | None:
    """The tensor that a value is; a refusal names it."""
    try:
        dense = tensor(value)
    except UnreadableError as refusal:
        raise UnreadableError(f"tensor {name!r:.200}: {refusal}") from refusal
    if dense is not None and len(name) > LONGEST:
        raise UnreadableError(f"a tensor's name is over {LONGEST} characters long")
    return dense


def _lost(node: Any, taken: set[StoredTensor]) -> dict[str, str]:
    """The tensors in a node that are not among those taken: {name: kind}."""
    lost: dict[str, str] = {}
    takes_arrays = is_dictionary(node)
    for labels, part in walk(node):
        kind = other_kind(part)
        if kind == "a numpy array" and not takes_arrays:
            continue
        if not kind and is_tensor(part) and not _is_taken(labels, part, taken):
            kind = "no entry of the state"
        if kind:
            lost[spelled(labels)] = kind
        if len(lost) > LOST:
            raise UnfitError(f"over {LOST} tensors are no entries of a state dict")
    return lost


def _is_taken(labels: list[Any], node: Any, taken: set[StoredTensor]) -> bool:
    try:
        dense = tensor(node)
    except UnreadableError as error:
        name = spelled(labels)
        raise UnreadableError(f"tensor {name!r:.200}: {error}") from error
    return dense is None or not dense.entries or dense in taken


def _refuse_lost(lost: Mapping[str, str]) -> None:
    """Raises UnreadableError naming the tensors that would be left out,
    unless there are none.
    """
    if not lost:
        return
    named: list[str] = []
    for name, kind in sorted(lost.items())[:NAMED]:
        named.append(f"{name!r:.200} ({kind})")
    more = len(lost) - len(named)
    rest = f" and {more} more" if more else ""
    raise UnfitError(
        f"tensors would be left out: {', '.join(named)}{rest}; save them as dense "
        "tensors of a state dict, or leave them out with tadrop convert --leave-out NAME"
    )


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _nothing(node: Any) -> UnreadableError:
    """What is there in the place of a state."""
    if is_dictionary(node):
        return UnreadableError("holds a dictionary and no tensors in it")
    if is_tensor(node):
        return UnfitError("holds one tensor without a name, not a state dict")
    if isinstance(node, Made):
        return UnfitError(f"holds {node.maker.path[:99]!r} and no tensors in it")
    return UnfitError(f"holds {type(node).__name__}, not a state dict of tensors")


class Unwrapping:
    """The search for the state among dictionaries that hold one another.

    among: the entry to take of several that could hold it
    """

    def __init__(self, among: str | None = None) -> None:
        self.among = among
        self.named = Named()
        self.modules = Modules(self.named)
        self.known: dict[int, bool] = {}  # by the id of a node: has it tensors?

    def innermost(self, root: Any, key: str | None) -> Any:
        """The node that holds the state's entries; the root itself if none does."""
        node = root
        if key is not None:
            entries = self.named.of(root)
            if key not in entries:
                raise UnfitError(f"has no entry {key!r:.99}, but {_listed(entries)}")
            node = entries[key]
        for _ in range(NESTED):
            inner = self._inner(node)
            if inner is None:
                break
            node = inner
        return node

    def _inner(self, node: Any) -> Any:
        """The only entry that can be the state, or None."""
        if self.modules.is_module(node):
            return None
        entries = self.named.of(node)
        candidates = {w: entries[w] for w in WRAPPERS if self._holds(entries.get(w))}
        if not candidates and not self._has_tensors(node):
            candidates = dict(self._states(entries))
        if len(candidates) > 1 and self.among in candidates:
            return candidates[self.among]
        if len(candidates) > 1:
            counted = ", ".join(self._counted(candidates))
            if self.among is not None:
                raise UnfitError(f"has no state {self.among!r:.99}, but {counted}")
            raise UnfitError(
                f"holds several states, {counted}; choose one with "
                "tadrop convert --key NAME"
            )
        return next(iter(candidates.values()), None)

    def _states(self, entries: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in entries.items():
            is_state = self.modules.is_module(value) or self._has_tensors(value)
            if is_state and name not in PROGRESS:
                yield name, value

    def _holds(self, node: Any) -> bool:
        """Whether it is a state, or holds one under one of the usual words."""
        waiting = [node]
        visited: set[int] = set()
        while waiting:
            part = waiting.pop()
            if id(part) in visited:
                continue
            visited.add(id(part))
            if self.modules.is_module(part) or self._has_tensors(part):
                return True
            entries = self.named.of(part)
            waiting += [entries[word] for word in WRAPPERS if word in entries]
        return False

    def _has_tensors(self, node: Any) -> bool:
        if id(node) not in self.known:
            values = self.named.of(node).values()
            self.known[id(node)] = any(map(is_tensor, values))
        return self.known[id(node)]

    def _counted(self, candidates: Mapping[str, Any]) -> Iterator[str]:
        for name, value in list(candidates.items())[:NAMED]:
            count = sum(map(is_tensor, self.named.of(value).values()))
            yield f"{name!r:.99} ({count} tensors)"


def _listed(entries: Mapping[str, Any]) -> str:
    return ", ".join(f"{name!r:.99}" for name in list(entries)[:NAMED]) or "none"


def classes(root: Any) -> list[str]:
    """The classes and functions of which a file names objects, each once.

    Those of tensors and plain containers are not among them.
    """
    known = {*REBUILDS, *AROUND, *OTHER_KINDS, *DTYPES, *CONTAINERS}
    paths: set[str] = set()
    for _, node in walk(root):
        if isinstance(node, Made) and node.maker.path not in known:
            paths.add(node.maker.path)
    return sorted(paths)

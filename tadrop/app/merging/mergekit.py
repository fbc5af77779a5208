"""mergekit's YAML as a request, where this suite's rows do the same; else refused.

"The same" is exact but for rounding: mergekit computes in its `dtype`, this suite in
float32. What has no equal here is refused by the name that the file gives it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tadrop.app.merging.request import Request
from tadrop.errors import TadropError

COMMON = (
    "weight",
    "density",
    "normalize",
    "lambda",
    "int8_mask",
    "rescale",
)
TOP = (
    *(
        "merge_method",
        "models",
        "base_model",
        "parameters",
        "dtype",
        "out_dtype",
    ),
    *(
        "tokenizer_source",
        "slices",
        "modules",
        "chat_template",
        "name",
        "tokenizer",
    ),
)
DTYPES = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def is_one(content: Mapping[str, Any]) -> bool:
    """Whether a YAML file is of mergekit."""
    return "merge_method" in content


def request(file: Path, content: Mapping[str, Any], out: str) -> Request:
    """The merge that a file of mergekit asks for.

    Raises TadropError for what is not the same here, naming the word and the difference.
    """
    for word in content:
        if word not in TOP:
            raise TadropError(f"{file}: {word} is not known")
    for word in ("slices", "modules", "chat_template", "tokenizer"):
        if content.get(word):
            raise TadropError(f"{file}: {word} is not mapped; merge whole models")
    method = str(content["merge_method"])
    if method not in METHODS:
        raise TadropError(
            f"{file}: merge_method {method} {UNMAPPED.get(method, NO_ROW)}"
        )
    reader = Reader(file, content)
    row, settings, model = METHODS[method](reader)
    reader.check_read()
    dtype = content.get("out_dtype") or content.get("dtype")
    if dtype is not None and dtype not in DTYPES:
        raise TadropError(f"{file}: dtype {dtype} is not one of {', '.join(DTYPES)}")
    if content.get("tokenizer_source"):
        word = str(content["tokenizer_source"])
        model["tokenizer"] = word if word in ("base", "union") else _last(word)
    return Request(
        base=reader.base,
        experts=reader.experts,
        out=out,
        method=row,
        scale=reader.scale,
        settings=settings,
        model=model,
        dtype=DTYPES[dtype] if dtype else None,
    )


def _last(word: str) -> str:
    return word.rstrip("/").rpartition("/")[2].partition("@")[0]


class Reader:
    """A file's models and parameters, each looked up as mergekit does.

    base, experts: words; scale: lambda
    """

    def __init__(self, file: Path, content: Mapping[str, Any]) -> None:
        self.file = file
        self.method = str(content["merge_method"])
        self.parameters: dict[str, Any] = dict(content.get("parameters") or {})
        self.read: set[str] = set()
        base = content.get("base_model")
        self.base = None if base is None else self._word(base)
        self.models: dict[str, dict[str, Any]] = {}
        for entry in content.get("models") or ():
            word = self._word(entry["model"])
            self.models[word] = dict(entry.get("parameters") or {})
        if not self.models:
            raise TadropError(f"{file}: models is missing")
        self.experts = [word for word in self.models if word != self.base]
        self.scale: float | None = None

    def _word(self, node: Any) -> str:
        word = str(node["path"] if isinstance(node, Mapping) else node)
        if "+" in word:
            raise TadropError(
                f"{self.file}: {word} adds an adapter; name the adapter's folder as a model"
            )
        beside = self.file.parent / word
        return str(beside) if beside.exists() else word

    def top(self, word: str, usual: Any) -> Any:
        """A parameter of the whole merge."""
        self.read.add(word)
        value = self.parameters.get(word, usual)
        if isinstance(value, list | Mapping):
            raise TadropError(f"{self.file}: {word} varies, and is one value here")
        return value

    def of(self, model: str, word: str, usual: Any) -> Any:
        """A model's parameter: its own, else that of the whole merge."""
        self.read.add(word)
        rules: list[Any] = []
        for parameters in (self.models[model], self.parameters, {word: usual}):
            if parameters.get(word) is None:
                continue
            rule = self._rule(word, parameters[word])
            if not _varies(rule):
                return [*rules, {"tensors": "*", "value": rule}] if rules else rule
            # What no filter fits goes on to the next scope.
            rules += rule
            if any(one["tensors"] == "*" for one in rule):
                return rules
        missing = "is missing" if not rules else "is missing where no filter fits"
        raise TadropError(f"{self.file}: {word} of {model} {missing}")

    def _rule(self, word: str, value: Any) -> Any:
        """A number, a gradient, or rules whose filters are parts of names."""
        if _varies(value):
            rules: list[Any] = []
            for entry in value:
                part = entry.get("filter")
                pattern = "*" if part in (None, "*") else f"*{part}*"
                rule = self._rule(word, entry["value"])
                rules.append({"tensors": pattern, "value": rule})
            return rules
        if isinstance(value, list):
            found: list[float] = []
            for one in value:
                found.append(self._number(word, one))
            return found
        return self._number(word, value)

    def _number(self, word: str, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise TadropError(f"{self.file}: {word} is {value!r}, no number") from error

    def names(self) -> dict[str, str]:
        """The expert's name by its word, as the merge will call it."""
        from tadrop.checkpoints.words import places

        found = places(self.experts)
        return dict(zip(self.experts, found, strict=True))

    def per_model(self, word: str, usual: Any) -> dict[str, Any]:
        """{expert: its rule}; mergekit wants a weight of every model."""
        values: dict[str, Any] = {}
        for model, name in self.names().items():
            values[name] = self.of(model, word, usual)
        return values

    def only(self, word: str, allowed: Any, usual: Any) -> None:
        """Raises TadropError unless a parameter has the one value that is mapped."""
        value = self.top(word, usual)
        if value != allowed:
            raise TadropError(
                f"{self.file}: {self.method} with {word}: {value} has no row here; "
                f"{word}: {allowed} has"
            )

    def check_read(self) -> None:
        """Raises TadropError for a parameter that nothing takes; mergekit ignores it."""
        for parameters in (self.parameters, *self.models.values()):
            for word in parameters:
                if word not in (*self.read, "int8_mask"):
                    raise TadropError(
                        f"{self.file}: {self.method} takes no parameter {word!r}"
                    )


def _varies(rule: Any) -> bool:
    return isinstance(rule, list) and bool(rule) and isinstance(rule[0], Mapping)


Mapped = tuple[str, tuple[str, ...], dict[str, Any]]


def _need_base(reader: Reader) -> None:
    if reader.base is None:
        raise TadropError(f"{reader.file}: {reader.method} needs base_model")


def _weights(reader: Reader) -> dict[str, Any]:
    return {"weights": reader.per_model("weight", None)}


def _linear(reader: Reader) -> Mapped:
    reader.only("normalize", True, True)
    if reader.base is not None and reader.base in reader.models:
        reader.experts = list(reader.models)
    reader.base = None
    return "average", (), _weights(reader)


def _task_arithmetic(reader: Reader) -> Mapped:
    _need_base(reader)
    reader.only("normalize", False, False)
    reader.scale = float(reader.top("lambda", 1.0))
    return "task_arithmetic", (), _weights(reader)


def _ties(reader: Reader) -> Mapped:
    _need_base(reader)
    reader.only("normalize", True, True)
    reader.scale = float(reader.top("lambda", 1.0))
    norm = "l1" if reader.top("rescale", False) else "none"
    model = {
        **_weights(reader),
        "density": reader.per_model("density", 1.0),
    }
    return "ties_tensor", (f"sparsify.norm={norm}",), model


def _sce(reader: Reader) -> Mapped:
    _need_base(reader)
    select = float(reader.top("select_topk", 1.0))
    words = (
        f"merge.method.merge.select={select}",
        "merge.method.merge.floor=1e-6",
    )
    return "sce", words, {}


def _slerp(reader: Reader) -> Mapped:
    _need_base(reader)
    if len(reader.experts) != 1:
        raise TadropError(f"{reader.file}: slerp takes the base and one more model")
    t = reader._number("t", reader.top("t", None))
    base = reader.base
    assert base is not None
    reader.experts = [base, *reader.experts]
    reader.base = None
    return "slerp", (f"merge.method.merge.t={t}",), {}


METHODS: dict[str, Callable[[Reader], Mapped]] = {
    "linear": _linear,
    "task_arithmetic": _task_arithmetic,
    "ties": _ties,
    "sce": _sce,
    "slerp": _slerp,
}
NO_ROW = "has no row here"
UNMAPPED = {
    "dare_linear": "rescales to the l1 norm since 0.1; here DARE divides by what it keeps, "
    "as the paper does (--method dare)",
    "dare_ties": "sums where the paper's TIES takes a mean (--method dare_ties)",
    "della": "rescales to the l1 norm; here DELLA divides by each entry's probability, as "
    "the paper does (--method della)",
    "della_linear": NO_ROW,
    "breadcrumbs": "counts entries otherwise than the authors' code does "
    "(--method breadcrumbs_tensor)",
    "breadcrumbs_ties": NO_ROW,
    "model_stock": "clips cosines otherwise (--method model_stock)",
}

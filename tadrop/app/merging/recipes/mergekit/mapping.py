"""mergekit's YAML as a request, where this suite's rows do the same; else refused.

"The same" is exact but for rounding: mergekit computes in its `dtype`, this suite in
float32. What has no equal here is refused by the name that the file gives it.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tadrop.app.merging.recipes.document import Document
from tadrop.app.merging.recipes.mergekit.reader import Reader
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


def request(document: Document, out: str) -> Request:
    """The merge that a file of mergekit asks for.

    Raises TadropError for what is not the same here, naming the line and the difference.
    """
    content = document.content
    for word in content:
        if word not in TOP:
            raise TadropError(f"{document.at(str(word))}: {word} is not known")
    for word in ("slices", "modules", "tokenizer"):
        if content.get(word):
            raise TadropError(
                f"{document.at(word)}: {word} is not mapped; merge whole models"
            )
    method = str(content["merge_method"])
    if method not in METHODS:
        raise TadropError(
            f"{document.at('merge_method')}: merge_method {method} "
            f"{UNMAPPED.get(method, NO_ROW)}"
        )
    reader = Reader(document)
    row, settings, model = METHODS[method](reader)
    reader.check_read()
    model |= _speaking(reader)
    return Request(
        base=reader.base,
        experts=reader.experts,
        out=out,
        method=row,
        scale=reader.scale,
        settings=settings,
        model=model,
        dtype=_dtype(document),
    )


def _dtype(document: Document) -> str | None:
    for word in ("out_dtype", "dtype"):
        dtype = document.content.get(word)
        if dtype and dtype not in DTYPES:
            raise TadropError(
                f"{document.at(word)}: {word} {dtype} is not one of {', '.join(DTYPES)}"
            )
        if dtype:
            return DTYPES[dtype]
    return None


def _speaking(reader: Reader) -> dict[str, Any]:
    """Whose tokenizer comes out, and which chat template."""
    content, found = reader.content, dict[str, Any]()
    if content.get("tokenizer_source"):
        found["tokenizer"] = reader.tokenizer(content["tokenizer_source"])
    if content.get("chat_template"):
        if content["chat_template"] != "auto":
            raise TadropError(
                f"{reader.at('chat_template')}: chat_template is auto here; name a "
                "model's or a file with --chat-template"
            )
        found["chat_template"] = "auto"
    return found


Mapped = tuple[str, tuple[str, ...], dict[str, Any]]


def _need_base(reader: Reader) -> None:
    if reader.base is None:
        raise TadropError(
            f"{reader.at('merge_method')}: {reader.method} needs base_model"
        )


def _weights(reader: Reader) -> dict[str, Any]:
    return {"weights": reader.per_model("weight", None)}


def _linear(reader: Reader) -> Mapped:
    reader.only("normalize", True, True)
    if reader.base is not None:
        # A base that models leaves out is one of them: with the weight of all.
        reader.models.setdefault(reader.base, {})
        reader.experts.insert(0, reader.base)
    reader.base = None
    return "average", (), _weights(reader)


def _task_arithmetic(reader: Reader) -> Mapped:
    _need_base(reader)
    reader.only("normalize", False, False)
    reader.scale = reader.number("lambda", 1.0)
    return "task_arithmetic", (), _weights(reader)


def _ties(reader: Reader) -> Mapped:
    _need_base(reader)
    reader.only("normalize", True, True)
    reader.scale = reader.number("lambda", 1.0)
    norm = "l1" if reader.top("rescale", False) else "none"
    model = {
        **_weights(reader),
        "density": reader.per_model("density", 1.0),
    }
    return "ties_tensor", (f"sparsify.norm={norm}",), model


def _sce(reader: Reader) -> Mapped:
    _need_base(reader)
    select = reader.number("select_topk", 1.0)
    words = (
        f"merge.method.merge.select={select}",
        "merge.method.merge.floor=1e-6",
    )
    return "sce", words, {}


def _slerp(reader: Reader) -> Mapped:
    _need_base(reader)
    if len(reader.experts) != 1:
        raise TadropError(
            f"{reader.at('models')}: slerp takes the base and one more model"
        )
    t = reader.whole("t")
    base = reader.base
    assert base is not None
    reader.experts = [base, *reader.experts]
    reader.base = None
    return "slerp", (), {"t": t}


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

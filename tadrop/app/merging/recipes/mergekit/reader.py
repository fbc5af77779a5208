"""A file of mergekit read as mergekit reads it: whose parameter counts for a model.

A model's own parameters come first, then those of the whole merge; each is a number, a
gradient over depth, or a list of {filter, value}, whose filters are parts of names.
"""

from collections.abc import Mapping
from typing import Any

from tadrop.app.merging.recipes.document import Document, Way
from tadrop.errors import TadropError


class Reader:
    """A file's models and parameters, each looked up as mergekit does.

    base, experts: words; scale: lambda
    named_base: base_model, which is an expert like others for some methods
    """

    def __init__(self, document: Document) -> None:
        content = document.content
        self.document, self.content = document, content
        self.method = str(content["merge_method"])
        self.parameters: dict[str, Any] = dict(content.get("parameters") or {})
        self.read: set[str] = set()
        base = content.get("base_model")
        self.base = None if base is None else self._word(base, "base_model")
        self.named_base = self.base
        self.models: dict[str, dict[str, Any]] = {}
        self.ways: dict[str, Way] = {}  # where each model stands in the file
        for index, entry in enumerate(content.get("models") or ()):
            self._add(entry, ("models", index))
        if not self.models:
            raise TadropError(f"{self.at('models')}: models is missing")
        self.experts = [word for word in self.models if word != self.base]
        self.scale: float | None = None

    def at(self, *way: str | int) -> str:
        """FILE:LINE of an entry."""
        return self.document.at(*way)

    def _add(self, entry: Any, way: Way) -> None:
        if not isinstance(entry, Mapping) or "model" not in entry:
            raise TadropError(f"{self.at(*way)}: an entry of models has no model")
        word = self._word(entry["model"], *way)
        if word in self.models:
            raise TadropError(
                f"{self.at(*way)}: models names {word} twice; name it once"
            )
        self.models[word] = dict(entry.get("parameters") or {})
        self.ways[word] = way

    def _word(self, node: Any, *way: str | int) -> str:
        word = str(node["path"] if isinstance(node, Mapping) else node)
        if "+" in word:
            raise TadropError(
                f"{self.at(*way)}: {word} adds an adapter; name the adapter's folder as "
                "a model"
            )
        beside = self.document.file.parent / word
        return str(beside) if beside.exists() else word

    def top(self, word: str, usual: Any) -> Any:
        """A parameter of the whole merge."""
        self.read.add(word)
        value = self.parameters.get(word, usual)
        if isinstance(value, list | Mapping):
            place = self.at("parameters", word)
            raise TadropError(f"{place}: {word} varies, and is one value here")
        return value

    def number(self, word: str, usual: float) -> float:
        """A parameter of the whole merge that is a number."""
        return self._number(("parameters", word), self.top(word, usual))

    def whole(self, word: str) -> Any:
        """A parameter of the whole merge that may vary from tensor to tensor."""
        self.read.add(word)
        way = ("parameters", word)
        if self.parameters.get(word) is None:
            raise TadropError(f"{self.at(*way)}: {self.method} needs {word}")
        rule = self._rule(way, self.parameters[word])
        if _varies(rule) and all(one["tensors"] != "*" for one in rule):
            raise TadropError(
                f"{self.at(*way)}: {word} is missing where no filter fits"
            )
        return rule

    def of(self, model: str, word: str, usual: Any) -> Any:
        """A model's parameter: its own, else that of the whole merge."""
        self.read.add(word)
        rules: list[Any] = []
        own = self.ways.get(model, ())
        scopes: list[tuple[Way, Mapping[str, Any]]] = [
            ((*own, "parameters", word), self.models[model]),
            (("parameters", word), self.parameters),
            ((), {word: usual}),
        ]
        for way, parameters in scopes:
            if parameters.get(word) is None:
                continue
            rule = self._rule(way, parameters[word])
            if not _varies(rule):
                return [*rules, {"tensors": "*", "value": rule}] if rules else rule
            # What no filter fits goes on to the next scope.
            rules += rule
            if any(one["tensors"] == "*" for one in rule):
                return rules
        missing = "is missing" if not rules else "is missing where no filter fits"
        raise TadropError(f"{self.at(*own)}: {word} of {model} {missing}")

    def _rule(self, way: Way, value: Any) -> Any:
        """A number, a gradient, or rules whose filters are parts of names."""
        if _varies(value):
            rules: list[Any] = []
            for index, entry in enumerate(value):
                rules.append(self._filtered((*way, index), entry))
            return rules
        if isinstance(value, list):
            found: list[float] = []
            for one in value:
                found.append(self._number(way, one))
            return found
        return self._number(way, value)

    def _filtered(self, way: Way, entry: Any) -> dict[str, Any]:
        if not isinstance(entry, Mapping) or "value" not in entry:
            raise TadropError(f"{self.at(*way)}: an entry has no value")
        part = entry.get("filter")
        pattern = "*" if part in (None, "*") else f"*{part}*"
        return {"tensors": pattern, "value": self._rule(way, entry["value"])}

    def _number(self, way: Way, value: Any) -> float:
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            word = [part for part in way if isinstance(part, str)][-1]
            raise TadropError(
                f"{self.at(*way)}: {word} is {value!r}, no number"
            ) from error

    def tokenizer(self, node: Any) -> str:
        """Whose tokenizer comes out: base, union, or an expert's name."""
        if node == "union":
            return node
        base, place = self.named_base, self.at("tokenizer_source")
        if node == "base" and base is None:
            raise TadropError(f"{place}: tokenizer_source: base needs base_model")
        word = base if node == "base" else self._word(node, "tokenizer_source")
        # Where there is no base the first expert stands for it.
        if word == (self.base or self.experts[0]):
            return "base"
        names = self.names()
        if word not in names:
            raise TadropError(f"{place}: tokenizer_source {node} is no model of it")
        return names[word]

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
                f"{self.at('parameters', word)}: {self.method} with {word}: {value} has "
                f"no row here; {word}: {allowed} has"
            )

    def check_read(self) -> None:
        """Raises TadropError for a parameter that nothing takes;
        mergekit ignores it.
        """
        scopes: dict[Way, Mapping[str, Any]] = {(): self.parameters}
        for model, way in self.ways.items():
            scopes[way] = self.models[model]
        for way, parameters in scopes.items():
            for word in parameters:
                if word not in (*self.read, "int8_mask"):
                    place = self.at(*way, "parameters", word)
                    raise TadropError(
                        f"{place}: {self.method} takes no parameter {word!r}"
                    )


def _varies(rule: Any) -> bool:
    return isinstance(rule, list) and bool(rule) and isinstance(rule[0], Mapping)

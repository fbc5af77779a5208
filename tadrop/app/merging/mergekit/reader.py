"""A file of mergekit read as mergekit reads it: whose parameter counts for a model.

A model's own parameters come first, then those of the whole merge; each is a number, a
gradient over depth, or a list of {filter, value}, whose filters are parts of names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tadrop.errors import TadropError


class Reader:
    """A file's models and parameters, each looked up as mergekit does.

    base, experts: words; scale: lambda
    named_base: base_model, which is an expert like others for some methods
    """

    def __init__(self, file: Path, content: Mapping[str, Any]) -> None:
        self.file = file
        self.method = str(content["merge_method"])
        self.parameters: dict[str, Any] = dict(content.get("parameters") or {})
        self.read: set[str] = set()
        base = content.get("base_model")
        self.base = None if base is None else self._word(base)
        self.named_base = self.base
        self.models: dict[str, dict[str, Any]] = {}
        for entry in content.get("models") or ():
            word = self._word(entry["model"])
            if word in self.models:
                raise TadropError(f"{file}: models names {word} twice; name it once")
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

    def whole(self, word: str) -> Any:
        """A parameter of the whole merge that may vary from tensor to tensor."""
        self.read.add(word)
        if self.parameters.get(word) is None:
            raise TadropError(f"{self.file}: {self.method} needs {word}")
        rule = self._rule(word, self.parameters[word])
        if _varies(rule) and all(one["tensors"] != "*" for one in rule):
            raise TadropError(f"{self.file}: {word} is missing where no filter fits")
        return rule

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

    def tokenizer(self, node: Any) -> str:
        """Whose tokenizer comes out: base, union, or an expert's name."""
        if node == "union":
            return node
        base = self.named_base
        if node == "base" and base is None:
            raise TadropError(f"{self.file}: tokenizer_source: base needs base_model")
        word = base if node == "base" else self._word(node)
        # Where there is no base the first expert stands for it.
        if word == (self.base or self.experts[0]):
            return "base"
        names = self.names()
        if word not in names:
            raise TadropError(f"{self.file}: tokenizer_source {node} is no model of it")
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
                f"{self.file}: {self.method} with {word}: {value} has no row here; "
                f"{word}: {allowed} has"
            )

    def check_read(self) -> None:
        """Raises TadropError for a parameter that nothing takes;
        mergekit ignores it.
        """
        for parameters in (self.parameters, *self.models.values()):
            for word in parameters:
                if word not in (*self.read, "int8_mask"):
                    raise TadropError(
                        f"{self.file}: {self.method} takes no parameter {word!r}"
                    )


def _varies(rule: Any) -> bool:
    return isinstance(rule, list) and bool(rule) and isinstance(rule[0], Mapping)

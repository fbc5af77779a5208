"""A base and its experts from the words that name them, ready to be merged.

Everything that is known of files, names, kinds of tensors and vocabularies is settled
here and said in notes, before anything is computed; what does not fit is refused, all of
it at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

from tadrop.checkpoints import comparing, lora
from tadrop.checkpoints.fitting import check_all, some
from tadrop.checkpoints.made import renamed, with_made, with_taken
from tadrop.checkpoints.names import by_rules, mapped, outside, prefix_map
from tadrop.checkpoints.opening import Input, opened
from tadrop.checkpoints.options import Options, check
from tadrop.checkpoints.tensors import (
    buffers,
    heads,
    matrices,
    rounding,
    rows,
    talking,
    vocabulary,
)
from tadrop.checkpoints.tensors.tied import under_names_of, under_source
from tadrop.checkpoints.words import Place, named, place
from tadrop.merging.modules import folder_of
from tadrop.storage.checkpoint import Beside, Checkpoint
from tadrop.types import MatrixLayout, TadropError


@dataclass
class Family:
    """A base and its experts, under the base's names.

    base_word: None where there is no base: the first expert stands for it
    """

    base_word: str | None
    words: Sequence[str]
    options: Options = field(default_factory=Options)
    hub: str | None = None
    private: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)

    @cached_property
    def inputs(self) -> dict[str, Input]:
        """The experts as they are found, by name."""
        places: list[Place] = []
        for word in self.words:
            places.append(place(word, self.hub))
        found: dict[str, Input] = {}
        for name, one in named(places).items():
            found[name] = opened(one, self.options.key)
        return found

    @cached_property
    def base_input(self) -> Input:
        """The base as it is found."""
        if self.base_word is None:
            first = next(iter(self.inputs.values()))
        else:
            first = opened(place(self.base_word, self.hub), self.options.key)
        if first.adapter is not None:
            raise TadropError(
                f"{first.place.path}: an adapter without a base; name the model that it "
                "was trained on as BASE"
            )
        return first

    @cached_property
    def settled(self) -> tuple[Checkpoint, dict[str, Checkpoint]]:
        """The base and the experts by name.
        Raises TadropError for all that is wrong.
        """
        self.private = self.options.private
        check(self.options, self.base_input, self.inputs)
        base = under_source(self.base_input.checkpoint)
        self.notes += base.notes
        given = self.options
        settings = comparing.settings(self.base_input, self.inputs, given.force)
        self.notes += settings.notes
        experts: dict[str, Checkpoint] = {}
        for name, one in self.inputs.items():
            experts[name] = self._under_names(base, name, one)
            self.notes += experts[name].notes
        known = None if self.base_word is None else self.base_input
        self.notes += comparing.repeated(known, self.inputs)
        self.notes += comparing.beside(self.base_input, self.inputs)
        base = buffers.with_constants(base)
        experts = buffers.without_constants(base, experts)
        base, experts, notes = heads.with_heads(base, experts, self.private)
        self.notes += notes
        words = self._vocabularies(base, experts)
        if not words.refusal:
            base, experts = self._same_vocabulary(base, experts, words)
        experts = heads.with_kept(base, experts, given.keep_base)
        self._check_fits(base, experts, words)
        settings.check_strangers()
        buffers.check_integers(base, experts, self.private)
        base = buffers.with_shared_masks(base, experts)
        base, notes = buffers.with_statistics(base, experts, given.statistics)
        self.notes += notes
        experts, notes = rounding.compared(base, experts, given.round_base)
        self.notes += notes
        return self._with_template(base), experts

    def _check_fits(
        self,
        base: Checkpoint,
        experts: Mapping[str, Checkpoint],
        words: vocabulary.Words,
    ) -> None:
        """Raises TadropError for every expert that does not fit, and vocabularies."""
        configs: dict[str, Mapping[str, Any]] = {}
        for name, one in self.inputs.items():
            configs[name] = one.config
        left = (*self.private, *words.tensors) if words.refusal else self.private
        ours = self.base_input.config
        check_all(base, experts, left, ours, configs, words.refusal)

    def layouts(self) -> dict[str, MatrixLayout]:
        """Which tensors are matrices, as families of transformers store them."""
        base, _ = self.settled
        shapes: dict[str, tuple[int, ...]] = {}
        for name in base.tensors:
            shapes[name] = tuple(base.like(name).shape)
        return matrices.found(self.base_input.config, shapes)

    def _under_names(self, base: Checkpoint, name: str, one: Input) -> Checkpoint:
        if one.adapter is not None:
            return self._adapted(base, name, one.adapter)
        checkpoint = one.checkpoint
        if rules := self.options.rename.get(name):
            new = by_rules(name, rules, list(checkpoint.tensors))
            checkpoint = renamed(checkpoint, new)
        expert = under_names_of(base, checkpoint)
        ours, shapes = _shapes(base), _shapes(expert)
        prefix = prefix_map(ours, shapes, self.private)
        if prefix is None:
            return expert
        stripped, added = prefix
        change = f"without {stripped!r}" if stripped else f"with {added!r} before"
        self.notes.append(f"{name}: its tensors are the base's {change} their names")
        around = outside(shapes, stripped) if stripped else ()
        if around:
            self.private = (*self.private, *around)
            self.notes.append(
                f"{name}: {some(around)} stand around the base's body and stay its own"
            )
        return renamed(expert, mapped(shapes, stripped, added))

    def _adapted(
        self, base: Checkpoint, name: str, adapter: lora.Adapter
    ) -> Checkpoint:
        """A LoRA expert: the base's tensors, and made ones where it changes them."""
        names = heads.adapter_names(adapter, base)
        transposed: list[str] = []
        for tensor in base.tensors:
            if matrices.is_transposed(self.base_input.config, tensor):
                transposed.append(tensor)
        makers, made = lora.materialised(adapter, base.tensors, names, transposed)
        own = heads.adapter_values(adapter, base)
        whole: dict[str, str] = {}
        for tensor in base.tensors:
            if tensor not in own:
                whole[tensor] = tensor
        bare = Checkpoint(
            adapter.path, adapter.files, own, likes=own, seen=adapter.seen
        )
        expert = with_made(with_taken(bare, whole, base), makers, made)
        scales = sorted(set(map(attrgetter("scale"), adapter.modules.values())))
        told = ", ".join(map("{:g}".format, scales))
        notes = [f"{name}: LoRA of {len(adapter.modules)} modules, scale {told}"]
        meant = adapter.config.get("base_model_name_or_path")
        if meant and not self._is_base(str(meant)):
            notes.append(f"{name}: trained on {meant}; the base is {base.path}")
        return replace(
            expert, notes=tuple(notes), beside=Beside(folder=self.base_input.folder)
        )

    def _is_base(self, word: str) -> bool:
        last = word.rstrip("/").rpartition("/")[2]
        return last in (self.base_input.place.name, self.base_input.folder.name)

    def _vocabularies(
        self, base: Checkpoint, experts: Mapping[str, Checkpoint]
    ) -> vocabulary.Words:
        """Every model's vocabulary, and how they differ."""
        ours = vocabulary.model_of(base, self.base_input.folder)
        if ours is None:
            return vocabulary.Words({})
        models = {vocabulary.BASE: ours}
        for name, expert in experts.items():
            adapter = self.inputs[name].adapter is not None
            folder = self.base_input.folder if adapter else self.inputs[name].folder
            theirs = vocabulary.model_of(expert, folder)
            if theirs is not None:
                models[name if name != vocabulary.BASE else "base "] = theirs
        return vocabulary.compared(models, self.options.tokenizer)

    def _same_vocabulary(
        self,
        base: Checkpoint,
        experts: Mapping[str, Checkpoint],
        words: vocabulary.Words,
    ) -> tuple[Checkpoint, dict[str, Checkpoint]]:
        """Models with rows of the same tokens."""
        word = self.options.tokenizer
        if not words.models:
            return self._with_tokenizer(base, word), dict(experts)
        goal = vocabulary.target(word or vocabulary.BASE, words.models)
        self._tell_tokenizers(word)
        if not words.unlike:
            beside = replace(base.beside, tokenizer=goal.donor)
            return replace(base, beside=beside), dict(experts)
        aligned = rows.aligned(words.models, goal)
        told = "; ".join(words.told())
        self.notes.append(
            f"vocabulary: {word or 'base'}, {goal.rows} rows; rows go by token ({told})"
        )
        merged: dict[str, Checkpoint] = {}
        for name, one in experts.items():
            merged[name] = aligned.get(name, one)
        return aligned[vocabulary.BASE], merged

    def _with_tokenizer(self, base: Checkpoint, word: str | None) -> Checkpoint:
        """A base without words of its own, and another model's tokenizer beside it."""
        self._tell_tokenizers(word)
        if word in (None, vocabulary.BASE):
            return base
        if word not in self.inputs:
            raise TadropError(
                f"tokenizer is {word!r}; the base has no embedding of words that could "
                f"be joined: it is base or one of {', '.join(self.inputs)}"
            )
        beside = replace(base.beside, tokenizer=self.inputs[word].folder)
        return replace(base, beside=beside)

    def _tell_tokenizers(self, word: str | None) -> None:
        """Notes whose tokenizer it is, where they do not talk alike."""
        folders = self._talking("the base")
        chosen = word if word in folders else "the base"
        has_template = self.options.chat_template is not None
        self.notes += talking.told(folders, chosen, has_template)

    def _talking(self, base: str) -> dict[str, Path]:
        """The folders with tokenizers of their own; base: what that one is called."""
        folders = {base: self.base_input.folder}
        for name, one in self.inputs.items():
            if one.adapter is None:
                folders[name] = one.folder
        return folders

    def _with_template(self, base: Checkpoint) -> Checkpoint:
        """The base with the chat template that was chosen."""
        word = self.options.chat_template
        if word is None:
            return base
        folders = self._talking(vocabulary.BASE)
        text = talking.template(word, folders)
        return replace(base, beside=replace(base.beside, template=text))


def _shapes(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    """Shapes of the model's own tensors; those of modules have no other prefix."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in checkpoint.tensors:
        if not folder_of(name):
            shapes[name] = tuple(checkpoint.like(name).shape)
    return shapes

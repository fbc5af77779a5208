"""From the words of a command line to a configuration that is known to be right."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import filterfalse
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tadrop.app.boards import catalogue
from tadrop.app.places import CONF
from tadrop.app.schema import idle, telling
from tadrop.app.schema.faults import ABSENT
from tadrop.errors import TadropError
from tadrop.results import identity


@contextmanager
def hydra() -> Iterator[Any]:
    """Hydra's loader of our configuration.

    An application that uses Hydra itself, or a command that is in it, keeps its own.
    """
    catalogue.register()
    outer = GlobalHydra.instance().hydra
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = outer


def composed(
    words: Sequence[str], name: str = "config", given: Sequence[str] = ()
) -> DictConfig:
    """The configuration that these words select, checked.

    given: keys of values that the caller puts in afterwards
    Raises TadropError for the first word that is wrong.
    """
    spelled = checked(words, name, given=given)
    with hydra():
        return compose(name, spelled)


def checked(
    words: Sequence[str],
    name: str = "config",
    sweeping: bool = False,
    folder: str | None = None,
    given: Sequence[str] = (),
) -> list[str]:
    """The words as Hydra takes them, every value of every word of a sweep checked.

    folder: of the user's own YAML files (`--config-dir`)
    A setting is written alike, with `+` or without, whether the YAML files name it or
    its target alone takes it. Raises TadropError for the first word that is wrong.
    """
    with hydra() as loader:
        beside = [] if folder is None else [f"hydra.searchpath=[file://{folder}]"]
        command = Command(loader, name, _parsed(loader, [*beside, *words]), sweeping)
        command.given = given
        return command.checked()[len(beside) :]


def _parsed(loader: Any, words: Sequence[str]) -> list[Override]:
    for word in words:
        if "=" not in word and not word.startswith("~"):
            raise TadropError(f"{word}: a word is KEY=VALUE")
    try:
        return OverridesParser.create(loader).parse_overrides(list(words))
    except OverrideParseException as error:
        raise TadropError(
            f"{error.override}: this cannot be read; quote what has spaces, commas, "
            "braces or brackets"
        ) from error


class Command:
    """The words of a command line: choices of files, and settings.

    of each word there are all the values that a sweep gives it
    """

    def __init__(
        self, loader: Any, name: str, overrides: Sequence[Override], sweeping: bool
    ) -> None:
        self.loader, self.name = loader, name
        self.words, self.sweeping = list(overrides), sweeping
        self.bases: list[DictConfig] = []
        self.given: Sequence[str] = ()
        self.steps: list[Sequence[str]] = []  # whose settings are read, as checked
        self.groups: dict[str, bool] = {}  # whether files stand there, for names asked

    def checked(self) -> list[str]:
        """The words as Hydra takes them. Raises TadropError for the first wrong one."""
        for word in self.words:
            self._check_word(word)
        first = self._composed(self._choices(self.words, ()))
        swept = self._swept_by(first)
        for word in swept:
            self._check_word(word)
        words = [*swept, *self.words]
        self._check_values(first, words, bool(swept))
        return list(map(self._spelled, self.words))

    def _is_choice(self, word: Override) -> bool:
        """Whether a word chooses a file, or is Hydra's own."""
        group = word.key_or_group
        if group not in self.groups:
            self.groups[group] = bool(self.loader.get_group_options(group, None))
        return word.is_hydra_override() or self.groups[group] or bool(word.package)

    def _check_word(self, word: Override) -> None:
        """Raises TadropError for what can be told without composing anything."""
        text = word.input_line or ""
        if word.is_delete():
            raise TadropError(f"{text}: a setting is set, not deleted; say KEY=null")
        if word.is_hydra_override():
            return
        if not self._is_choice(word):
            telling.check_settable(word.key_or_group, _plain(word), text)
        elif word.value_type == ValueType.ELEMENT and not isinstance(_plain(word), str):
            raise self._no_choice(word.key_or_group, text)

    def _no_choice(self, group: str, text: str, options: Any = None) -> TadropError:
        """The error about a file that there is not."""
        options = options or self.loader.get_group_options(group)
        return telling.no_choice(group, text, options)

    def _choices(
        self, words: Sequence[Override], taken: Sequence[Override]
    ) -> list[Override]:
        """The choices of files, each with its first value unless another is taken."""
        chosen: list[Override] = []
        others = dict(zip(map(_key, taken), taken, strict=True))
        for word in words:
            if self._is_choice(word):
                chosen.append(others.get(word.key_or_group) or _values(word)[0])
        return chosen

    def _composed(self, chosen: Sequence[Override]) -> DictConfig:
        """What the YAML files say for these choices, Hydra's own part with it."""
        try:
            texts = list(map(_text, chosen))
            base = compose(self.name, texts, return_hydra_config=True)
        except MissingConfigException as error:
            group, _, choice = (error.missing_cfg_file or "").rpartition("/")
            raise self._no_choice(group, f"{group}={choice}", error.options) from error
        except HydraException as error:
            raise TadropError(_one_line(error)) from error
        self.bases.append(base)
        return base

    def _swept_by(self, base: DictConfig) -> list[Override]:
        """What a board sweeps, but for what the command line says."""
        params = base.hydra.sweeper.get("params") or {}
        said = set(map(_key, self.words))
        words: list[str] = []
        for key, value in params.items():
            if key not in said:
                words.append(f"{key}={value}")
        self.sweeping = self.sweeping or base.hydra.mode is RunMode.MULTIRUN
        return _parsed(self.loader, words)

    def _check_values(
        self, first: DictConfig, words: Sequence[Override], is_board: bool
    ) -> None:
        """Checks the words with each value of each, one changed at a time."""
        settings = list(filterfalse(self._is_choice, words))
        for word in words:
            if word.is_sweep_override() and not self.sweeping:
                raise TadropError(
                    f"{word.input_line}: several values are a sweep, which -m runs"
                )
        usual = list(map(_first_value, settings))
        if is_board:
            first = self._composed(self._choices(words, ()))
        self._check(first, usual)
        for word in words:
            for value in _values(word)[1:]:
                if word in settings:
                    others = _without(usual, word.key_or_group)
                    self._check(first, [*others, value])
                else:
                    self._check_choice(words, value, usual)
        if settings and not is_board:
            idle.check_on(self.bases, usual)
            idle.check_read(usual)
            idle.check_sparsified(self.steps, usual)

    def _check_choice(
        self, words: Sequence[Override], choice: Override, usual: Sequence[Override]
    ) -> None:
        """Checks another file of a group,
        and the settings with it if they may differ.
        """
        if choice.is_hydra_override():
            return
        options = self.loader.get_group_options(choice.key_or_group)
        is_there = _plain(choice) in options
        if not is_there or "." in "".join(map(_key, usual)):
            base = self._composed(self._choices(words, [choice]))
            self._check(base, usual)

    def _check(self, base: DictConfig, settings: Sequence[Override]) -> None:
        """Raises TadropError for the first fault of these settings on a base."""
        declared: Any = OmegaConf.to_container(base)
        declared.pop("hydra")
        config: Any = OmegaConf.create(declared)
        for word in settings:
            _set(config, word)
        where = telling.Context(self.name, declared, settings, self.loader, self.given)
        idle.check_followers(declared, settings)
        resolved = telling.check(config, where)
        self.steps.append(_read(resolved) if self.name == "config" else ())

    def _spelled(self, word: Override) -> str:
        """A word as Hydra takes it: with `++`
        where a YAML file does not name its key.
        """
        if self._is_choice(word):
            return word.input_line or ""
        _, _, value = (word.input_line or "").partition("=")
        key = word.key_or_group
        has = [OmegaConf.select(base, key, default=ABSENT) for base in self.bases]
        return f"{'++' if ABSENT in has else ''}{key}={value}"


def _read(config: identity.Config) -> list[str]:
    """The steps before the merge, and the row's own rule where TADrop reads it."""
    own = ["sparsify"] if identity.is_native(config) else []
    return identity.steps(config) + own


def _without(words: Sequence[Override], key: str) -> list[Override]:
    """The words that do not set a key."""
    others: list[Override] = []
    for word in words:
        if word.key_or_group != key:
            others.append(word)
    return others


def _key(word: Override) -> str:
    return word.key_or_group


def _plain(word: Override) -> Any:
    """A word's value; of a sweep, nothing."""
    return None if word.is_sweep_override() else word.value()


def _one_line(error: Exception) -> str:
    """What Hydra says, and why, in one line."""
    cause = str(error.__cause__ or "").partition("\n")[0]
    said = str(error).partition("\n")[0]
    return f"{said}: {cause}" if cause else said


def _text(word: Override) -> str:
    return word.input_line or ""


def _values(word: Override) -> list[Override]:
    """A word of a sweep with each of its values; any other word as it is."""
    if not word.is_sweep_override():
        return [word]
    key = word.get_key_element()
    if word.is_discrete_sweep():
        texts = [f"{key}={value}" for value in word.sweep_string_iterator()]
    else:
        bounds: Any = word.value()
        texts = [f"{key}={bounds.start}", f"{key}={bounds.end}"]
    return OverridesParser.create(word.config_loader).parse_overrides(texts)


def _first_value(word: Override) -> Override:
    return _values(word)[0]


def _set(config: DictConfig, word: Override) -> None:
    """Sets a value, whether or not its key is there."""
    try:
        OmegaConf.update(
            config, word.key_or_group, word.value(), merge=True, force_add=True
        )
    except (OmegaConfBaseException, TypeError, ValueError, AttributeError) as error:
        raise TadropError(
            f"{word.input_line}: {word.key_or_group.rpartition('.')[0]} "
            "is a value, and has no settings of its own"
        ) from error

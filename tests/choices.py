"""Hydra reads what the same files say for the same choices once a process.

It composes every configuration of some forty files, which takes it a fifth of a second,
and the tests ask for more than a thousand. What comes of the files is kept here and
handed out in copies; the settings of a command are still put in by Hydra, each time.
Other choices, other folders and files that were written since are read anew.
"""

import copy
import os
from collections.abc import Hashable
from dataclasses import replace

import pytest
from hydra._internal import config_loader_impl as loading
from hydra._internal.core_plugins.file_config_source import FileConfigSource

create_defaults_list = loading.create_defaults_list
compose = loading.ConfigLoaderImpl._compose_config_from_defaults_list
group_options = loading.ConfigLoaderImpl.get_group_options
load_config = FileConfigSource.load_config


def state(path: str) -> Hashable:
    """What changes when a file is written, or any file below a folder."""
    if not os.path.isdir(path):
        status = os.stat(path, follow_symlinks=os.path.exists(path))
        return path, status.st_mtime_ns, status.st_size, status.st_ino
    with os.scandir(path) as entries:
        return frozenset(state(entry.path) for entry in entries)


def sources(repo) -> Hashable:
    """The places that configurations come from, and the state of the files there."""
    places = []
    for source in repo.get_sources():
        is_folder = source.scheme() == "file" and os.path.isdir(source.path)
        there = state(source.path) if is_folder else None
        places.append((source.scheme(), source.path, there))
    return tuple(places)


def parted(repo, words):
    """The texts of those words that choose files, and the words that set values."""
    choices, values = [], []
    for word in words:
        if word.is_sweep_override():
            continue
        if repo.group_exists(word.key_or_group) and not isinstance(word.value(), dict):
            choices.append(word.input_line)
        else:
            values.append(word)
    return tuple(choices), values


def remember(patch: pytest.MonkeyPatch) -> None:
    """Puts those steps of a composition behind a memory that read files."""
    remember_files(patch)
    remember_compositions(patch)


def remember_compositions(patch: pytest.MonkeyPatch) -> None:
    """Which files are composed, and what comes of them before settings are put in."""
    lists, configs = {}, {}

    def defaults_of(repo, config_name, overrides_list, **how):
        choices, values = parted(repo, overrides_list)
        key = (config_name, choices, tuple(how.items()), sources(repo))
        if key not in lists:
            lists[key] = create_defaults_list(
                repo=repo, config_name=config_name, overrides_list=overrides_list, **how
            )
        return replace(lists[key], config_overrides=values)

    def composed(self, defaults, repo):
        key = (repr(defaults), sources(repo))
        if key not in configs:
            configs[key] = compose(self, defaults=defaults, repo=repo)
        return copy.deepcopy(configs[key])

    impl = loading.ConfigLoaderImpl
    patch.setattr(loading, "create_defaults_list", defaults_of)
    patch.setattr(impl, "_compose_config_from_defaults_list", composed)


def remember_files(patch: pytest.MonkeyPatch) -> None:
    """What each file says, and which files a group has."""
    results, groups = {}, {}

    def loaded(self, config_path):
        file = os.path.join(self.path, self._normalize_file_name(config_path))
        if not os.path.exists(file):
            return load_config(self, config_path)
        key = (self.path, self.provider, state(os.path.realpath(file)))
        if key not in results:
            results[key] = load_config(self, config_path)
        return copy.deepcopy(results[key])

    def options(self, *words, **named):
        if named:
            return group_options(self, *words, **named)
        key = (words, sources(self.repository))
        if key not in groups:
            groups[key] = group_options(self, *words)
        return list(groups[key])

    patch.setattr(loading.ConfigLoaderImpl, "get_group_options", options)
    patch.setattr(FileConfigSource, "load_config", loaded)

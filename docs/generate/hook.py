"""MkDocs' hook: adds what is generated to the files and the navigation of the site.

Generated pages are not committed. A link from a hand-written page to one of them is
checked by `mkdocs build --strict` like any other.
"""

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # MkDocs runs this file by its path

# Of the extra docs, which is not there where types are checked.
from mkdocs.structure.files import File, Files  # noqa: E402  # pyright: ignore[reportMissingImports]

from docs.generate import boards, commands, configuration, methods, values  # noqa: E402

HOLDERS = {"METHODS": methods.navigation, "RESULTS": boards.navigation}


def on_config(config: Any) -> Any:
    """Puts the lists of generated pages where mkdocs.yml names them."""
    config.nav = [_filled(entry) for entry in config.nav]
    return config


def _filled(entry: Any) -> Any:
    if isinstance(entry, dict):
        for name, value in entry.items():
            if isinstance(value, str) and value in HOLDERS:
                return {name: HOLDERS[value]()}
    return entry


def on_files(files: Files, config: Any) -> Files:
    """Adds the generated pages, and the tables and figures that they show."""
    texts = methods.pages() | boards.pages()
    texts["reference/configuration.md"] = configuration.page()
    texts["reference/commands.md"] = commands.page()
    for place, text in texts.items():
        files.append(File.generated(config, place, content=text))
    for place, path in boards.pictures().items():
        files.append(File.generated(config, place, abs_src_path=str(path)))
    for path in boards.tables():
        data = path.with_suffix(".csv")
        place = f"{boards.FOLDER}/{data.name}"
        files.append(File.generated(config, place, abs_src_path=str(data)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Puts the numbers into hand-written pages."""
    if page.file.generated_by:
        return markdown
    return values.filled(markdown, "../" * page.file.src_uri.count("/"))

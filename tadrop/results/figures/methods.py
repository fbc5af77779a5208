"""The methods of a table, each with the rows of its variants, as figures draw them."""

from collections.abc import Iterator

from tadrop.results.figures.style import STYLES
from tadrop.results.formats import label, settings
from tadrop.results.row import Row
from tadrop.results.table import Table

Methods = dict[str, dict[str, Row]]  # by name, the rows of a method by variant


def methods_of(table: Table) -> Methods:
    """The methods of a table in their order, without the reference rows.

    A variant with settings of its own is left out.
    """
    methods: Methods = {}
    for name, row in _merging(table):
        if not (row.variant and row.settings):
            methods.setdefault(name, {}).setdefault(row.variant, row)
    return methods


def settings_of(table: Table) -> Methods:
    """As methods_of, with an entry for each setting that a table compares.

    An entry is called `TIES, norm=l1`. There is none where no settings are compared.
    """
    plain: dict[str, Row] = {}
    entries: Methods = {}
    compared = False
    for name, row in _merging(table):
        if not row.variant:
            plain[name] = row
    for name, row in _merging(table):
        if row.variant:
            entry = ", ".join(filter(None, (name, row.standing, settings(row))))
            start = {"": plain[name]} if name in plain else {}
            entries.setdefault(entry, start).setdefault(row.variant, row)
            compared = compared or entry != name
    return entries if compared else {}


def _merging(table: Table) -> Iterator[tuple[str, Row]]:
    """The rows that merge, each with its method's name.

    The name of a row that stands below another is that of the other row.
    """
    name = ""
    for row in table.rows:
        if row.density is None:  # a reference or a published row
            continue
        if not row.below:
            name = row.title if row.variant else label(row)
        if row.variant in STYLES:
            yield name, row

"""The card of the embedded checkpoints, from what their files say of themselves.

experiments/train_glyphs.py writes it beside them.
"""

from pathlib import Path

from experiments.glyphs.recipe import BATCH
from tadrop.storage.files import write_text
from tadrop.tasks import glyphs

CARD = """\
# The embedded checkpoints

A base and thirty fine-tuned vision transformers
([the architecture](../../models/glyph_vit.py)), float16 safetensors, made by
`python -m experiments.train_glyphs --out DIR --seed {seed}` from
[the glyph tasks](../../tasks/glyphs.py). Nothing was downloaded: images are drawn from
the typefaces inside matplotlib, and one task is scikit-learn's handwritten digits.

- **Base** `base.safetensors`: trained to name {classes} characters, those of the tasks
  among them, in looks that belong to no task. Settings: `{base}`.
- **Tasks**: ten characters each, in a look of their own. The head is ten rows of the
  base's classifier (`head.weight`, `head.bias`), as CLIP's heads are embeddings of class
  names; it and the stem are frozen, the rest is fine-tuned on {images} images.
  Settings: `{task}`.
- Batch {batch}, a tenth of the steps as warm-up, cosine to zero, gradient clip 1, one
  thread per model.
- How looks and settings were chosen, and by which rows they were not:
  [the calibration](../../../docs/calibration.md).
- Licence: that of the suite. Not for reading text: they exist to be merged.

Accuracy below is on the validation split, in percent; `SHA256SUMS` is checked whenever
a file is loaded.

| task | base | fine-tuned | seconds to train |
|:--|--:|--:|--:|
{rows}
"""


def write_card(folder: Path) -> None:
    """Writes README.md into a folder of checkpoints."""
    facts: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        facts[path.stem] = _metadata(path)
    base = facts.pop("base")
    rows: list[str] = []
    for task, fact in facts.items():
        before, after = fact["base_validation_accuracy"], fact["validation_accuracy"]
        percents = f"{100 * float(before):.1f} | {100 * float(after):.1f}"
        rows.append(f"| {task} | {percents} | {fact['seconds']} |")
    text = CARD.format(
        seed=base["seed"],
        classes=base["classes"],
        base=base["recipe"],
        task=next(iter(facts.values()))["recipe"],
        images=glyphs.SPLITS["train"],
        batch=BATCH,
        rows="\n".join(rows),
    )
    write_text(folder / "README.md", text)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()

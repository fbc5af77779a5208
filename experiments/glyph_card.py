"""The card of the embedded checkpoints, from what their files say of themselves.

experiments/train_glyphs.py writes it beside them.
"""

from pathlib import Path

from tadrop.storage.files import write_text
from tadrop.tasks import glyphs

CARD = """\
# The embedded checkpoints

A base and thirty fine-tuned vision transformers
([the architecture](../../models/glyph_vit.py)), float16 safetensors, made by
`python -m experiments.train_glyphs --out DIR` from
[the glyph tasks](../../tasks/glyphs.py). Nothing was downloaded: images are drawn from
the typefaces inside matplotlib, and one task is scikit-learn's handwritten digits.

- **Base** `base.safetensors`: trained to name {classes} characters that belong to no
  task, drawn plainly in both polarities. Settings: `{base}`, {seconds} s.
- **Tasks**: a linear head fitted by logistic regression on the base's features of clean
  renderings of the task's characters, then frozen (`head.weight`, `head.bias`); the
  encoder fine-tuned on {images} stylised images. Settings: `{task}`.
- AdamW, batch {batch}, a tenth of the steps as warm-up, cosine to zero, gradient clip
  1, one thread per model.
- Licence: that of the suite. Not for reading text: they exist to be merged.

Accuracy below is on the validation split, in percent; `SHA256SUMS` is checked whenever
a file is loaded.

| task | classes | validation accuracy | seconds to train |
|:--|--:|--:|--:|
{rows}
"""


def write_card(folder: Path, batch: int) -> None:
    """Writes README.md into a folder of checkpoints.
    batch: images of a training step.
    """
    facts: dict[str, dict[str, str]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        facts[path.stem] = _metadata(path)
    base = facts.pop("base")
    rows: list[str] = []
    for task, fact in facts.items():
        percent = 100 * float(fact["validation_accuracy"])
        classes = len(glyphs.classes(task))
        rows.append(f"| {task} | {classes} | {percent:.1f} | {fact['seconds']} |")
    text = CARD.format(
        classes=base["classes"],
        base=base["recipe"],
        seconds=base["seconds"],
        task=next(iter(facts.values()))["recipe"],
        images=glyphs.SPLITS["train"],
        batch=batch,
        rows="\n".join(rows),
    )
    write_text(folder / "README.md", text)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return file.metadata()

"""The embedded tasks: name the character of one writing system or symbol family.

Images are drawn from the typefaces that ship inside matplotlib; one task is
scikit-learn's real handwritten digits. Every family has a look of its own (inversion,
contrast, background, noise, geometry), so that models fine-tuned on different families
pull a shared encoder in different directions. Faces are held out of training where a
family has eight or more; the seeds of train, validation and test never meet.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tadrop.numerics.seeds import generator
from tadrop.storage.files import write_bytes
from tadrop.tasks.rendering import MASTER, Family, Look, paint, render, warp
from tadrop.types import TadropError

# part of every seed: raise it when images change, and numbers stop being comparable
VERSION = 1
SPLITS = {"train": 6144, "validation": 1000, "test": 2000}

SANS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique")
MONO = (
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-Oblique",
    "DejaVuSansMono-BoldOblique",
)
SERIF = (
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-Italic",
    "DejaVuSerif-BoldItalic",
)
STIX = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta")
DEJAVU = SANS + MONO + SERIF
LATIN = DEJAVU + STIX
UPRIGHT = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSansMono-Bold")


def span(first: str, last: str, skip: str = "") -> str:
    """All characters from first to last, without those in `skip`."""
    return "".join(
        c for c in map(chr, range(ord(first), ord(last) + 1)) if c not in skip
    )


FAMILIES: dict[str, Family] = {
    # --- glyph8
    "latin_upper": Family(
        span("A", "Z"), LATIN, Look(background="ramp", texture=70, noise=22)
    ),
    "greek_lower": Family(
        span("α", "ω", "ς"), LATIN, Look(invert=True, noise=30, rotate=14)
    ),
    "cyrillic_upper": Family(
        span("А", "Я"),
        LATIN,
        Look(background="stripes", texture=60, contrast=(110, 180)),
    ),
    "hebrew": Family(
        span("א", "ת"), SANS, Look(invert=True, background="checks", texture=50, turn=1)
    ),
    "arabic": Family(
        span("ء", "غ") + span("ف", "ي"),
        UPRIGHT,
        Look(contrast=(60, 110), noise=8, rotate=5, zoom=(0.95, 1.15)),
    ),
    "math": Family(
        "∀∂∃∅∆∇∈∉∋∏∑−∓∕∗∘√∝∞∠∣∥∧∨∩∪∫∬∮∴∼≃≅≈≠≡≤≥≪≫⊂⊃⊆⊇⊕⊗⊙⊥",
        (*SANS, "STIXGeneral", "STIXGeneralBol"),
        Look(background="blobs", texture=80, noise=16, shift=3.0),
    ),
    "braille": Family(
        "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵⠯⠿⠷⠮⠾⠡",
        SANS + SERIF,
        Look(
            invert=True,
            background="ramp",
            texture=60,
            contrast=(70, 130),
            rotate=4,
            shift=1.0,
            zoom=(0.95, 1.05),
        ),
        anchor="line",
    ),
    # --- glyph14
    "latin_lower": Family(
        span("a", "z"),
        LATIN,
        Look(invert=True, background="stripes", texture=70, noise=18),
    ),
    "armenian_upper": Family(
        span("Ա", "Ֆ"), DEJAVU, Look(noise=34, contrast=(140, 200))
    ),
    "georgian": Family(
        span("ა", "ჰ"), SANS + SERIF, Look(background="checks", texture=60, mirror=True)
    ),
    "arrows": Family(
        "←↑→↓↔↕↖↗↘↙↚↛↜↝↞↟↠↡↢↣↤↥↦↧↩↪↫↬↰↱↲↳↶↷↺↻⇐⇑⇒⇓",
        DEJAVU,
        Look(invert=True, background="blobs", texture=60, rotate=10, noise=14),
    ),
    "currency": Family(
        "$¢£¤¥₠₡₢₣₤₥₦₧₨₩₪₫€₭₮₯₰₱₲₳₴₵₸₹",
        SANS,
        Look(background="stripes", texture=80, turn=2, noise=14),
    ),
    "syllabics": Family(
        "ᐁᐃᐅᐊᐯᐱᐳᐸᑌᑎᑐᑕᑫᑭᑯᑲᒉᒋᒍᒐᒣᒥᒧᒪᓀᓂᓄᓇᓓᓕᓗᓚᓭᓯᓱᓴ",
        SANS,
        Look(contrast=(80, 140), noise=24, rotate=5),
    ),
    # --- glyph20
    "cyrillic_lower": Family(
        span("а", "я"),
        LATIN,
        Look(invert=True, contrast=(60, 120), noise=14, shear=0.2),
    ),
    "armenian_lower": Family(
        span("ա", "ֆ"), DEJAVU, Look(background="ramp", texture=90, turn=3)
    ),
    "phonetic": Family(
        "ɐɑɓɔɕɖɗɘəɚɛɜɞɟɠɡɣɤɥɦɪɬɭɮɯɰɱɲɳɵɷɸɹɻɽʀʁʂʃʄʉʊʋʌʍʎʏʐʒʔʘʞ",
        (*DEJAVU, "STIXGeneral", "STIXGeneralBol"),
        Look(invert=True, background="checks", texture=40, noise=20),
    ),
    "geometric": Family(
        "■□▢▣▤▥▦▧▨▩▬▭▮▯▰▱▲△▶▷▼▽◀◁◆◇◈◉◊○◌◍◎●◐◑◒◓◔◕◖◗◢◣◤◥",
        SANS + MONO[:2] + SERIF[:2],
        Look(background="blobs", texture=90, contrast=(120, 170), rotate=7),
    ),
    "playing_cards": Family(
        span("🂡", "🂮") + span("🂱", "🂾") + span("🃁", "🃎"),
        SANS,
        Look(noise=8, rotate=3, shift=1.0, zoom=(0.98, 1.06), shear=0.03),
    ),
    "box_drawing": Family(
        "─━│┃┄┆┌┏┐┓└┗┘┛├┣┤┫┬┳┴┻┼╋═║╔╗╚╝╠╣╦╩╬╭╮╯╰╱╲╳",
        DEJAVU,
        Look(invert=True, background="ramp", texture=40, noise=26, rotate=5, shift=1.5),
        anchor="line",
    ),
    # --- glyph30
    "greek_upper": Family(
        span("Α", "Ω", "\u03a2"), LATIN, Look(contrast=(70, 130), mirror=True, noise=16)
    ),
    "digits": Family(
        span("0", "9"),
        LATIN,
        Look(background="blobs", texture=110, noise=30, rotate=15),
    ),
    "lao": Family(
        "ກຂຄງຈຊຍດຕຖທນບປຜຝພຟມຢຣລວສຫອຮ",
        SANS,
        Look(invert=True, background="stripes", texture=50, mirror=True),
    ),
    "old_italic": Family(
        span("𐌀", "𐌞"), SANS, Look(noise=30, background="ramp", texture=50, rotate=12)
    ),
    "lisu": Family(
        span("ꓐ", "ꓷ"), SANS, Look(invert=True, turn=2, contrast=(90, 150), noise=18)
    ),
    "hexagrams": Family(
        span("䷀", "䷿"),
        SANS,
        Look(contrast=(170, 240), noise=5, rotate=2, shift=1.0, shear=0.02),
    ),
    "pieces_and_planets": Family(
        span("♔", "♟")
        + span("⚀", "⚅")
        + span("♈", "♓")
        + span("☿", "♇")
        + span("☰", "☷"),
        SANS,
        Look(invert=True, background="ramp", texture=60, noise=14, turn=1),
    ),
    "number_forms": Family(
        "⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅬⅭⅮⅯ",
        SANS + SERIF,
        Look(background="checks", texture=60, contrast=(120, 190), rotate=5),
    ),
    "dingbats": Family(
        "✁✂✆✈✉✌✍✏✐✒✓✔✕✖✗✘✙✚✛✜✝✞✟✠✡✢✣✤✥✦✧✩✪✫✬✭✮✯✰✶❄❖❤❦",
        SANS,
        Look(invert=True, background="blobs", texture=70, noise=20, rotate=12),
    ),
    "emoticons": Family(
        "😀😁😂😃😄😅😆😇😈😉😊😋😌😍😎😏😐😒😓😔😖😘😚😜😝😞😠😡😢😣😥😨😩😪😫😭😰😱😲😳",
        SANS,
        Look(
            background="ramp",
            texture=40,
            noise=5,
            rotate=4,
            shift=1.0,
            zoom=(0.98, 1.06),
            shear=0.03,
        ),
    ),
}
# characters of no task, every second one of each block: what the base is trained on
PRETRAINING = Family(
    (
        span("À", "ÿ", "×÷")
        + span("Ą", "ſ")
        + span("ƀ", "ɏ")
        + span("Ґ", "Ӈ", "ҜҝҨҩҸҹҼҽҾҿӅӆ")
        + span("Ḁ", "ẙ")
        + span("ἀ", "ἕ")
        + span("Ⴀ", "Ⴥ")
        + span("ᴀ", "ᴣ")
        + span("⟰", "⟿")
    )[::2],
    SANS + SERIF,
    Look(
        contrast=(120, 240), noise=8, rotate=10, shift=2.5, zoom=(0.8, 1.15), shear=0.15
    ),
)
HANDWRITTEN = "handwritten_digits"
NAMES = (*FAMILIES, HANDWRITTEN)
HANDWRITTEN_LOOK = Look(
    background="stripes",
    texture=40,
    noise=16,
    rotate=10,
    contrast=(120, 200),
    shift=1.5,
)


def _handwritten(
    split: str, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 real digits; train, validation and test are disjoint runs of
    the file.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    begin, end = {"train": (0, 1000), "validation": (1000, 1200), "test": (1200, 1797)}[
        split
    ]
    chosen = rng.permutation(np.arange(count) % (end - begin)) + begin
    ink = []
    for image in digits.images[chosen]:
        grey = Image.fromarray((image * 255 / 16).astype(np.uint8)).resize(
            (40, 40), Image.Resampling.BICUBIC
        )
        master = Image.new("L", (MASTER, MASTER))
        master.paste(grey, (8, 8))
        ink.append(warp(master, HANDWRITTEN_LOOK, rng))
    return paint(np.stack(ink), HANDWRITTEN_LOOK, rng), digits.target[chosen].astype(
        np.int64
    )


def classes(task: str) -> tuple[str, ...]:
    """The class names of a task, in label order."""
    return tuple("0123456789" if task == HANDWRITTEN else FAMILIES[task].chars)


def generate(
    task: str, split: str, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The images [count, SIZE, SIZE] uint8 and labels [count] int64 of one split;
    classes are balanced.
    """
    count = SPLITS[split] if count is None else count
    rng = generator("glyphs", VERSION, task, split)
    if task == HANDWRITTEN:
        return _handwritten(split, count, rng)
    family = FAMILIES[task]
    labels = rng.permutation(np.arange(count) % len(family.chars))
    return render(family, labels, split, rng), labels.astype(np.int64)


def _recipe() -> str:
    """A hash of everything the images depend on: these two files and the libraries that
    draw.
    """
    import matplotlib
    import PIL
    import sklearn

    sources = [Path(__file__), Path(__file__).with_name("rendering.py")]
    libraries = (
        PIL.__version__,
        matplotlib.__version__,
        np.__version__,
        sklearn.__version__,
    )
    digest = hashlib.sha256(
        b"".join(source.read_bytes() for source in sources)
        + "/".join(libraries).encode()
    )
    return digest.hexdigest()[:16]


@cache
def load(task: str, split: str, cache: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """A whole split, from this process's memory, the cache folder, or drawn anew and
    put there.
    """
    if cache is None:
        return generate(task, split)
    path = cache / "glyphs" / _recipe() / f"{task}-{split}.npz"
    if not path.exists():
        images, labels = generate(task, split)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, images=images, labels=labels)
        write_bytes(path, buffer.getvalue())
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"]


@dataclass(frozen=True)
class GlyphTasks:
    """Glyph tasks as the evaluator sees them. limit: only the first so many images of
    each split.
    """

    names: Sequence[str]
    limit: int | None = None
    cache: str | None = None
    batch: int = 500
    metric: str = "accuracy"
    protocol: str = f"glyphs-{VERSION}"

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        for name in self.names:
            if name not in NAMES:
                raise TadropError(
                    f"no glyph task is called {name!r}; there are {', '.join(NAMES)}"
                )
        if self.limit is not None and self.limit < 1:
            raise TadropError(
                f"limit is {self.limit}; it must be at least 1, or null for all"
            )

    def _arrays(self, task: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        images, labels = load(task, split, Path(self.cache) if self.cache else None)
        return images[: self.limit], labels[: self.limit]

    def batches(self, task: str, split: str) -> Iterator[tuple[Tensor, Tensor]]:
        """(images [batch, 1, 28, 28] float32 in [-1, 1], labels [batch])."""
        images, labels = self._arrays(task, split)
        for at in range(0, len(images), self.batch):
            part = (
                torch.from_numpy(images[at : at + self.batch])
                .float()
                .div_(127.5)
                .sub_(1)
            )
            yield part.unsqueeze(1), torch.from_numpy(labels[at : at + self.batch])

    def grade(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """1 where the largest logit is the label's."""
        return outputs.argmax(1) == targets

    def measure(self, task: str, split: str, kept: Tensor) -> None:
        """The mean of what is graded is the metric."""

    def needs(self) -> list[str]:
        """Nothing: the images are drawn."""
        return []

    def fingerprint(self, task: str, split: str) -> str:
        """A hash of the images and labels themselves, 16 hex digits."""
        images, labels = self._arrays(task, split)
        return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()[:16]

"""The writing systems and symbol families of the embedded tasks: which characters, drawn
in which typefaces, with which look.

To change anything here changes images: tadrop/tasks/glyphs.py then needs a new VERSION,
and numbers stop being comparable.
"""

from tadrop.tasks.drawing.rendering import Family, Look

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
    characters = "".join(map(chr, range(ord(first), ord(last) + 1)))
    for character in skip:
        characters = characters.replace(character, "")
    return characters


FAMILIES: dict[str, Family] = {
    # the first eight, with handwritten_digits: glyph8
    "latin_upper": Family(
        span("A", "Z"), LATIN, Look(noise=10, effects=(("rows", 2),))
    ),
    "greek_lower": Family(
        span("α", "ω", "ς"), LATIN, Look(noise=6, effects=(("blur", 8),))
    ),
    "cyrillic_upper": Family(
        span("А", "Я"),
        LATIN,
        Look(noise=60, contrast=(110, 180)),
    ),
    "hebrew": Family(span("א", "ת"), SANS, Look(effects=(("pixelate", 4),))),
    "arabic": Family(
        span("ء", "غ") + span("ف", "ي"),
        UPRIGHT,
        Look(zoom=(1.2, 1.4), shift=1.0, effects=(("thin", 1),)),
    ),
    "math": Family(
        "∀∂∃∅∆∇∈∉∋∏∑−∓∕∗∘√∝∞∠∣∥∧∨∩∪∫∬∮∴∼≃≅≈≠≡≤≥≪≫⊂⊃⊆⊇⊕⊗⊙⊥",
        (*SANS, "STIXGeneral", "STIXGeneralBol"),
        Look(effects=(("wave", 4),)),
    ),
    "braille": Family(
        "⠁⠃⠉⠙⠑⠋⠛⠓⠊⠚⠅⠇⠍⠝⠕⠏⠟⠗⠎⠞⠥⠧⠺⠭⠽⠵⠯⠿⠷⠮⠾⠡",
        SANS + SERIF,
        Look(
            background="checks", texture=140, contrast=(110, 160), rotate=4, shift=1.0
        ),
        anchor="line",
    ),
    # with these, glyph14
    "latin_lower": Family(
        span("a", "z"),
        LATIN,
        Look(effects=(("columns", 2),)),
    ),
    "armenian_upper": Family(span("Ա", "Ֆ"), DEJAVU, Look(effects=(("holes", 7),))),
    "georgian": Family(
        span("ა", "ჰ"), SANS + SERIF, Look(contrast=(60, 110), effects=(("hollow", 1),))
    ),
    "arrows": Family(
        "←↑→↓↔↕↖↗↘↙↚↛↜↝↞↟↠↡↢↣↤↥↦↧↩↪↫↬↰↱↲↳↶↷↺↻⇐⇑⇒⇓",
        DEJAVU,
        Look(effects=(("salt", 15),)),
    ),
    "currency": Family(
        "$¢£¤¥₠₡₢₣₤₥₦₧₨₩₪₫€₭₮₯₰₱₲₳₴₵₸₹",
        SANS,
        Look(background="stripes", texture=140),
    ),
    "syllabics": Family(
        "ᐁᐃᐅᐊᐯᐱᐳᐸᑌᑎᑐᑕᑫᑭᑯᑲᒉᒋᒍᒐᒣᒥᒧᒪᓀᓂᓄᓇᓓᓕᓗᓚᓭᓯᓱᓴ",
        SANS,
        Look(effects=(("lattice", 2),)),
    ),
    # with these, glyph20
    "cyrillic_lower": Family(
        span("а", "я"),
        LATIN,
        Look(contrast=(20, 30), noise=5),
    ),
    "armenian_lower": Family(
        span("ա", "ֆ"), DEJAVU, Look(background="blobs", texture=180)
    ),
    "phonetic": Family(
        "ɐɑɓɔɕɖɗɘəɚɛɜɞɟɠɡɣɤɥɦɪɬɭɮɯɰɱɲɳɵɷɸɹɻɽʀʁʂʃʄʉʊʋʌʍʎʏʐʒʔʘʞ",
        (*DEJAVU, "STIXGeneral", "STIXGeneralBol"),
        Look(effects=(("rows", 3), ("blur", 2))),
    ),
    "geometric": Family(
        "■□▢▣▤▥▦▧▨▩▬▭▮▯▰▱▲△▶▷▼▽◀◁◆◇◈◉◊○◌◍◎●◐◑◒◓◔◕◖◗◢◣◤◥",
        SANS + MONO[:2] + SERIF[:2],
        Look(zoom=(0.3, 0.4), shift=5.0),
    ),
    "playing_cards": Family(
        span("🂡", "🂮") + span("🂱", "🂾") + span("🃁", "🃎"),
        SANS,
        Look(rotate=45, shift=1.0),
    ),
    "box_drawing": Family(
        "─━│┃┄┆┌┏┐┓└┗┘┛├┣┤┫┬┳┴┻┼╋═║╔╗╚╝╠╣╦╩╬╭╮╯╰╱╲╳",
        DEJAVU,
        Look(effects=(("strokes", 2),)),
        anchor="line",
    ),
    # with these, glyph30
    "greek_upper": Family(
        span("Α", "Ω", "\u03a2"), LATIN, Look(effects=(("lattice", 1),))
    ),
    "digits": Family(
        span("0", "9"),
        LATIN,
        Look(noise=40, effects=(("shadow", 5),)),
    ),
    "lao": Family(
        "ກຂຄງຈຊຍດຕຖທນບປຜຝພຟມຢຣລວສຫອຮ",
        SANS,
        Look(effects=(("wave", 3), ("blur", 3))),
    ),
    "old_italic": Family(span("𐌀", "𐌞"), SANS, Look(effects=(("columns", 3),))),
    "lisu": Family(span("ꓐ", "ꓷ"), SANS, Look(effects=(("pixelate", 4), ("salt", 5)))),
    "hexagrams": Family(
        span("䷀", "䷿"),
        SANS,
        Look(noise=70, shift=1.0),
    ),
    "pieces_and_planets": Family(
        span("♔", "♟")
        + span("⚀", "⚅")
        + span("♈", "♓")
        + span("☿", "♇")
        + span("☰", "☷"),
        SANS,
        Look(noise=30, effects=(("levels", 3),)),
    ),
    "number_forms": Family(
        "⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞ⅠⅡⅢⅣⅤⅥⅦⅧⅨⅩⅪⅫⅬⅭⅮⅯ",
        SANS + SERIF,
        Look(shear=0.6),
    ),
    "dingbats": Family(
        "✁✂✆✈✉✌✍✏✐✒✓✔✕✖✗✘✙✚✛✜✝✞✟✠✡✢✣✤✥✦✧✩✪✫✬✭✮✯✰✶❄❖❤❦",
        SANS,
        Look(zoom=(1.5, 1.9), shift=4.0),
    ),
    "emoticons": Family(
        "😀😁😂😃😄😅😆😇😈😉😊😋😌😍😎😏😐😒😓😔😖😘😚😜😝😞😠😡😢😣😥😨😩😪😫😭😰😱😲😳",
        SANS,
        Look(noise=20, effects=(("holes", 5),)),
    ),
}
# What the base is trained on: every second one of some blocks of characters, of which
# no task has any.
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
DIGITS = "0123456789"
NAMES = (*FAMILIES, HANDWRITTEN)

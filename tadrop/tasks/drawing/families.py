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
    # with these, glyph14
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
    # with these, glyph20
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
    # with these, glyph30
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
NAMES = (*FAMILIES, HANDWRITTEN)

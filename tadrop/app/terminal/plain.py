"""Text of unknown origin as a terminal may show it: names of files, tasks and tensors."""


def harmless(text: str, but: str = "") -> str:
    """A text in which control characters and the like stand as escapes of themselves.

    They could move the cursor, hide lines or write to the clipboard. but: characters
    that may stay
    """
    if text.isprintable():
        return text
    return "".join(_shown(letter, but) for letter in text)


def _shown(letter: str, but: str) -> str:
    if letter.isprintable() or letter in but:
        return letter
    return letter.encode("unicode_escape").decode("ascii")

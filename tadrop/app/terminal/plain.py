"""Text of unknown origin as a terminal may show it: names of files,
tasks and tensors.
"""


def harmless(text: str, but: str = "") -> str:
    """A text in which control characters and the like stand as escapes of themselves.

    They could move the cursor, hide lines or write to the clipboard. but: characters
    that may stay
    """
    if text.isprintable():
        return text
    escapes: dict[int, str] = {}
    for letter in {*text}.difference(but):
        if not letter.isprintable():
            escapes[ord(letter)] = letter.encode("unicode_escape").decode("ascii")
    return text.translate(escapes)

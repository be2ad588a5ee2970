"""Templates for prompts, and the parts of a prompt that may name what the picture shows already."""

from __future__ import annotations

TEMPLATES = (  # supplement, section 2.2
    "photo of {}.",
    "high quality photo of {}.",
    "a photo of {}.",
    "the photo of {}.",
    "image of {}.",
    "an image of {}.",
    "high quality image of {}.",
    "a high quality image of {}.",
    "the {}.",
    "a {}.",
    "{}.",
    "{}",
    "{}!",
    "{}...",
)
SCREEN_TEMPLATES = ("{} over a green screen.", "{} in front of a green screen.")  # the layer alone (method, section 5)
NEUTRAL_TEXT = "photo"  # T_ROI if nothing better is known (method, section 7)

MAX_RUN = 4  # words in a candidate for T_ROI
_EDGE_WORDS = """
    a an the this that these those some my your his her its our their of in on at with without and or for from to by
    as into over under near like made is are very
"""
_EDGES = frozenset(_EDGE_WORDS.split())


def fill(template: str, text: str) -> str:
    """Put ``text`` into a template."""
    return template.replace("{}", text)


def word_runs(text: str) -> list[str]:
    """Candidates for T_ROI: runs of one to four words of ``text``, longest first, without repetition.

    Left out are runs that begin or end with an article or preposition, which adds no meaning, and the whole text: with
    it, the direction from T_ROI to T would be zero.
    """
    words = [stripped for word in text.split() if (stripped := word.strip(".,;:!?\"'()[]{}"))]
    content = [word.lower() not in _EDGES for word in words]
    whole = _without_edges(words)
    runs: dict[str, str] = {}
    for length in range(min(MAX_RUN, len(words)), 0, -1):
        for start in range(len(words) - length + 1):
            if content[start] and content[start + length - 1]:
                run = " ".join(words[start : start + length])
                runs.setdefault(run.lower(), run)
    runs.pop(whole.lower(), None)
    return list(runs.values())


def _without_edges(words: list[str]) -> str:
    start, stop = 0, len(words)
    while start < stop and words[start].lower() in _EDGES:
        start += 1
    while stop > start and words[stop - 1].lower() in _EDGES:
        stop -= 1
    return " ".join(words[start:stop])

"""A page of HTML, taken apart: whether it is well-formed, and what it asks for."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link"}
DRAWN = {"path", "line"}  # of SVG, closed in themselves


class Page(HTMLParser):
    """The elements of a page in their order, each with its attributes; and its text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in DRAWN
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def needs_nothing_else(self) -> None:
        """Fail where the page asks for something outside of itself, or runs anything but its one script."""
        for _tag, attributes in self.elements:
            assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcset", "action")]
            for name in ("src", "href", "poster", "data"):
                assert attributes.get(name, "data:").startswith(("data:image/webp;", "data:video/mp4;", "data:", "#"))
        assert [len(self.all(tag)) for tag in ("script", "style", "link", "iframe", "object", "base")] == [
            1,
            1,
            0,
            0,
            0,
            0,
        ]
        policy = next(m["content"] for m in self.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy

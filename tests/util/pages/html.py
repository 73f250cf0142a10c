"""Reading of written HTML pages."""

from html.parser import HTMLParser
from pathlib import Path


class HTMLElements(HTMLParser):
    """All elements of a page in order, as (tag, attributes)."""

    def __init__(self, page: Path):
        super().__init__()
        self.elements = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def attributes_of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

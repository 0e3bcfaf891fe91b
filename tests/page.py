"""Parse an HTML page in tests; and a hostile text that must be escaped in every page."""

from html.parser import HTMLParser

HOSTILE = "<script>alert(1)</script> & \"quoted\" 'twice' </style><img src=x onerror=alert(2)>"
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """Elements with their attributes, and all text; fails if an element is not closed in order."""

    def __init__(self, page: bytes):
        super().__init__()
        self.found, self.texts, self.open = [], [], []
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

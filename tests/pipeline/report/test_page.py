"""Templates escape every value that they show."""

import pytest

from pipeline.report.page import environment, made_of_line

HOSTILE = "\x1b]0;x\x07\u202egnp.exe\u2066\u2028<script>&\"'"
SHOWN = r"\x1b]0;x\x07\u202egnp.exe\u2066\u2028&lt;script&gt;&amp;&#34;&#39;"


@pytest.mark.parametrize(
    "template", ["{{ text }}", "<a title='{{ text }}'>", "{{ [text][0] }}", "{{ text | truncate }}"]
)
def test_controls_and_turned_text_are_shown_as_escapes(template):
    page = environment().from_string(template).render(text=HOSTILE)
    assert SHOWN in page
    assert made_of_line(HOSTILE) == f'<meta name="made-of" content="{SHOWN}">'


def test_usual_text_of_every_script_stays():
    text = "الكلب الأسود, a dog\u200d, 黑狗, der Hund – “left”\n\tnext line"
    assert environment().from_string("{{ text }}").render(text=text) == text

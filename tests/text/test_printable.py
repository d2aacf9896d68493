"""Text from outside is text: nothing in it acts on a terminal, in HTML, in a spreadsheet or in JSON."""

import json
import unicodedata
from html.parser import HTMLParser

import pytest
from autocompress.text.printable import csv_cell, escape, json_text, printable, printable_strings

HOSTILE = '\x1b]0;owned\x07 \r\n\t\x00\x7f\x9b31m \u202etxt.exe\u2066 \u200b\u2028\ud800\U000e0041 <b onclick="x">\''


def acting(text):
    """The characters that a terminal obeys, or that change how their neighbours are shown."""
    return {one for one in text if unicodedata.category(one) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def test_what_cannot_be_seen_is_shown_as_its_escape():
    assert len(acting(HOSTILE)) == 14
    shown = printable(HOSTILE)
    assert acting(shown) == set() and "\\x1b]0;owned\\x07 \\r\\n\\t" in shown and "\\u202etxt.exe" in shown
    assert printable(shown) == shown


def test_every_control_character_of_unicode_is_shown_as_its_escape():
    control = [
        one for one in map(chr, range(0x110000)) if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp")
    ]
    assert acting(printable("".join(control))) == set()


@pytest.mark.parametrize(
    "text", ["layer1.0.conv1", "± 0.7 %  µs × ★", "größe, 精度, דיוק 😀", "a\\b 'c'", "～ ＝"]
)
def test_ordinary_text_stays_as_it_is(text):
    assert printable(text) == text


class Elements(HTMLParser):
    """Keeps the elements of a page and their attributes."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def handle_starttag(self, tag, attrs):
        self.kept.append((tag, attrs))


def test_html_holds_the_text_and_no_element():
    page = Elements()
    page.feed(f'<p title="{escape(HOSTILE)}">{escape(HOSTILE)}</p>')
    assert page.kept == [("p", [("title", printable(HOSTILE))])]


@pytest.mark.parametrize("start", list("=+-@\t\r\n＝＋－＠"))
def test_a_cell_is_no_formula(start):
    assert csv_cell(f"{start}1+1") == f"'{printable(start)}1+1"


def test_a_cell_that_is_no_formula_is_the_text():
    assert csv_cell("a=1, b") == "a=1, b"


def test_json_shows_no_control_character_and_reads_back_as_it_was():
    value = {HOSTILE: [HOSTILE, 1.5, None, "größe"]}
    text = json_text(value, indent=2)
    assert acting(text) == {"\n"} and text.isascii()
    assert json.loads(text) == value


def test_json_has_no_infinity():
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("inf"))


def test_all_texts_of_a_value_become_printable():
    assert printable_strings({"a": ["\x1b", 1, None, ("\u202e",)]}) == {"a": ["\\x1b", 1, None, ["\\u202e"]]}

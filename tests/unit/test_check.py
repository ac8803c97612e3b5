"""How a check reads pages: strictly, and the same as a browser where the markup is right."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from sitegen.check.examine import PAGES_PER_RENDERED
from sitegen.check.links import Links
from sitegen.check.markup import CELLS, Page, read_page, structure_findings
from sitegen.check.pages import TIMES
from sitegen.cli import main
from sitegen.files import file_sizes
from sitegen.render.folder import SIGNATURE, signed

PAGE = (
    '<!DOCTYPE html>\n<html lang=en><head><meta charset="utf-8"><title>A &amp; B</title></head>\n'
    '<body><main><h1 id="top">Feature 7</h1><!-- <p> in a comment -->\n'
    '<dd>1 <span class="kind" data-kind="rare">rare</span> &lt;\n2</dd><p>not in a list</p>\n'
    '<ol><li>4.5<p>a &lt;b> <b style=--a:.1 title="0.1">c</b>\td</p>3/5 &times;2<li>9<p>e</p></ol>\n'
    "<table><tr><th>head<th>second\n<tr><th title=#3>·the<td style=--s:.5>0.7\n</table><code>no head</code>\n"
    '<svg viewBox="0 0 1 1"><path d="M0 0"/></svg><a href="a.html?b&amp;c#d">x</a><br>\n'
    "<div><div>in two</div></div>\n"
    '</main><script defer src="s.js"></script></body></html>\n'
)


def test_a_page_is_read() -> None:
    page = read_page(PAGE)
    assert page == Page(
        doctype="DOCTYPE html",
        language="en",
        charset="utf-8",
        title="A & B",
        n_h1=1,
        n_main=1,
        links=["a.html?b&c#d", "s.js"],
        ids=["top"],
        cells=["1 < 2", f"4.5 3/5 {TIMES}2", "9", "0.7"],
        kinds=["rare"],
        lines=["a <b> c\td", "e"],
        tokens=["·the"],
        text=f"A & B Feature 7 1 rare < 2not in a list 4.5a <b> c d3/5 {TIMES}29e headsecond ·the0.7 "
        "no head x in two",
    )
    assert structure_findings(page) == []


DEFECTS = {
    "an end tag too many": ("</main>", "</div></main>", "closed out of order: div, main"),
    "no end tag": ("</ol>", "", "closed out of order"),
    "page cut off": (
        '<div><div>in two</div></div>\n</main><script defer src="s.js"></script></body></html>\n',
        "",
        "closed out of order",
    ),
    "one of two end tags": ("</div></div>", "</div>", "closed out of order"),
    "crossed": ("</b>\td</p>", "</p>\td</b>", "closed out of order"),
    "a cell in a row that ends": ("<code>", "<tr><td>1</tr></td><code>", "closed out of order"),
    "a < in the text": ("not in", "not < in", "a < that begins no markup, before [' in a list"),
    "content where there is none": ("<br>", "<br>x</br>", "closed out of order"),
    "unfinished tag": ("<br>", "<br", "a < that begins no markup"),
    "attribute with a quote within": ('id="top"', 'id=to"p', "a < that begins no markup"),
    "attribute without its end": ('id="top"', 'id="top', "a < that begins no markup"),
    "unfinished comment": ("comment -->", "comment --", "a < that begins no markup"),
    "capitals": ("<br>", "<BR>", "a < that begins no markup"),
    "no doctype": ("<!DOCTYPE html>", "", "no doctype"),
    "no language": (" lang=en", "", "no language"),
    "another charset": ("utf-8", "latin-1", "no charset"),
    "two headings": ("<br>", "<h1></h1>", "2 h1 elements"),
    "no main": ("<main>", "<div>", "0 main elements"),
    "an id twice": ("<br>", '<p id="top"></p>', "an id that is used twice"),
}


@pytest.mark.parametrize("what", DEFECTS)
def test_each_defect_of_the_markup_is_found(what: str) -> None:
    part, replacement, finding = DEFECTS[what]
    assert part in PAGE
    found = structure_findings(read_page(PAGE.replace(part, replacement)))
    assert finding in "; ".join(found)


class _Browserlike(HTMLParser):
    """Reads the same with the tolerant parser of the standard library."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str | None] = []
        self.links: list[str | None] = []
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_all_pages_are_read_as_a_tolerant_parser_reads_them(tiny_output: Path) -> None:
    for path in sorted((tiny_output / "site").rglob("*.html")):
        text = path.read_text("utf-8")
        page, other = read_page(text), _Browserlike()
        other.feed(text)
        other.close()
        assert (page.ids, page.links, page.strays) == (other.ids, other.links, [])
        assert len(page.cells) == sum(other.tags.count(tag) for tag in CELLS)
        whole = "".join(other.texts)
        assert page.text == " ".join(whole.split())
        assert all(line in whole for line in [*page.lines, *page.tokens])


def _forge(page: Path, pattern: str, replacement: str) -> None:
    """Change a page and give it the hash of the changed page."""
    text = page.read_text("utf-8")
    key = re.search(SIGNATURE.format(key="(.*)", digest=".*"), text)
    assert key
    changed, n = re.subn(pattern, replacement, text[: key.start()], count=1)
    assert n == 1
    page.write_bytes(signed(changed, key[1]))


FORGERIES = [
    (r">[\d.]+ %<", ">99.9 %<", "number '99.9 %' where its JSON gives"),
    (r">(dense|ordinary|rare)<", ">dead<", "kind 'dead' where its JSON gives"),
    (r"</p>\d+/(\d+)<li", r"</p>4711/\1<li", "number '"),
    (
        r"next token's loss by\s\S+ nats",
        "next token's loss by 47 nats",
        "does not say \"the next token's loss by",
    ),
    (r"(<mark[^>]*>)[^<]*", r"\g<1>ZZZ", "context"),
]


def test_numbers_and_texts_are_compared_whatever_a_page_says_of_itself(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for feature_id, (pattern, replacement, _) in enumerate(FORGERIES, 1):
        _forge(output / f"site/features/{feature_id}.html", pattern, replacement)
    assert main(["check", str(output)]) == 1
    found = capsys.readouterr().out.splitlines()
    assert len(found) == len(FORGERIES)
    for feature_id, (line, (_, _, finding)) in enumerate(zip(found, FORGERIES, strict=True), 1):
        assert line.startswith(f"site/features/{feature_id}.html: {finding}")


def test_some_pages_are_rendered_again(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for feature_id in (PAGES_PER_RENDERED, PAGES_PER_RENDERED + 1):
        _forge(output / f"site/features/{feature_id}.html", r"--a:[\d.]+", "--a:.01")
    assert main(["check", str(output)]) == 1
    assert capsys.readouterr().out == (
        f"site/features/{PAGES_PER_RENDERED}.html is not the page that the data gives: run build.py render again\n"
    )


def test_merged_links_name_the_first_page_with_a_broken_one() -> None:
    first, second = Links(), Links()
    first.add("a.html", Page(links=["no.html", "b.html#x"]))
    second.add("b.html", Page(links=["no.html"], ids=["x"]))
    first.merge(second)
    assert first.findings({"a.html", "b.html"}) == [
        "site/a.html: link to no.html, which is not there"
    ]


def test_sizes_of_files_leave_out_folders_and_broken_links(tmp_path: Path) -> None:
    (tmp_path / "b/c").mkdir(parents=True)
    (tmp_path / "b/c/two").write_text("22")
    (tmp_path / "a").write_text("1")
    (tmp_path / "broken").symlink_to(tmp_path / "nothing")
    assert file_sizes(tmp_path) == {"a": 1, "b/c/two": 2}
    assert file_sizes(tmp_path / "missing") == {}

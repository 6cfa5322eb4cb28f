"""Pieces of HTML: every function takes plain text, escapes it, and returns markup.

A page made of these opens from disk: the style and the images are inside it, and it
needs no script.
"""

import base64
import html
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any

from linclf_jax.figures import style as figures

# A figure broader than this, in CSS pixels, scrolls sideways on a telephone.
NARROW = 640


def text(value: Any) -> str:
    """Escapes anything for use between tags or in an attribute.

    Args:
        value: anything with a ``str``.

    >>> text("<script>")
    '&lt;script&gt;'
    """
    return html.escape(str(value))


def plain(value: Any) -> str:
    """A value of a JSON file as a person would write it, exact, not escaped.

    Args:
        value: of a JSON file.

    >>> plain(0.0003), plain(None), plain(["a", 2]), plain(True)
    ('0.0003', 'none', 'a, 2', 'true')
    """
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value) or "none"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if isinstance(value, str) else json.dumps(value)


def command(words: Sequence[str]) -> str:
    """A shell command that one click selects and that breaks between words only.

    Args:
        words: quoted for a shell where they need it.
    """
    spans = " ".join(f"<span>{text(word)}</span>" for word in words)
    return f"<pre><code>{spans}</code></pre>"


def document(title: str, body: Iterable[str]) -> str:
    """A complete page.

    Args:
        title: plain text for the window.
        body: markup, in order; empty pieces are left out.
    """
    style = resources.files(__package__ or "").joinpath("report.css").read_text("utf-8")
    head = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(piece for piece in body if piece) + "\n</body>\n</html>\n"


def section(name: str, heading: str, *pieces: str) -> str:
    """A section with an anchor and a heading; ``pieces`` are markup.

    Args:
        name: of the anchor.
        heading: plain text.
        pieces: markup, in order; empty ones are left out.
    """
    inside = "\n".join(piece for piece in pieces if piece)
    return (
        f'<section id="{text(name)}">\n<h2>{text(heading)}</h2>\n{inside}\n</section>'
    )


def when(condition: object, sentence: str) -> str:
    """A sentence for where it is true, and the empty string elsewhere.

    Args:
        condition: anything with a truth value.
        sentence: plain text.
    """
    return sentence if condition else ""


def paragraph(*sentences: str, kind: str = "") -> str:
    """Sentences of plain text; the empty ones are left out.

    Args:
        sentences: plain text, in order.
        kind: of the style sheet.
    """
    attribute = f' class="{text(kind)}"' if kind else ""
    return f"<p{attribute}>{text(' '.join(s for s in sentences if s))}</p>"


def bullets(items: Iterable[str]) -> str:
    """A list of plain texts.

    Args:
        items: plain text.
    """
    return "<ul>\n" + "".join(f"<li>{text(i)}</li>\n" for i in items) + "</ul>"


def picture(png: bytes, *, alt: str, caption: Sequence[str]) -> str:
    """An image inside the page, with its caption.

    Args:
        png: the file's bytes.
        alt: what the image shows, for those who cannot see it.
        caption: sentences; the empty ones are left out.
    """
    pixels = struct.unpack(">II", png[16:24])  # the first chunk of a PNG: its size
    width, height = (round(p * 96 / figures.DOTS_PER_INCH) for p in pixels)
    kind = "wide" if width > NARROW else "narrow"
    return (
        f'<figure>\n<div class="scroll"><img class="{kind}" width="{width}" '
        f'height="{height}" alt="{text(alt)}" src="data:image/png;base64,'
        f'{base64.b64encode(png).decode()}"></div>\n'
        f"<figcaption>{text(' '.join(s for s in caption if s))}</figcaption>\n</figure>"
    )


def numbers(*items: tuple[str, str, str]) -> str:
    """Numbers that are read at a glance, the first one above all.

    Args:
        items: what it is, the number, and what to know of it, each as plain text.
    """
    pieces = (
        f'<div class="{"" if i else "first"}"><dt>{text(name)}</dt>'
        f'<dd>{text(value)}</dd><dd class="note">{text(note)}</dd></div>\n'
        for i, (name, value, note) in enumerate(items)
    )
    return f'<dl class="numbers">\n{"".join(pieces)}</dl>'


def warnings(sentences: Sequence[str]) -> str:
    """A box that is not overlooked; empty without sentences.

    Args:
        sentences: plain text; their first letters are made capitals.
    """
    if not sentences:
        return ""
    items = bullets(s[:1].upper() + s[1:] for s in sentences)
    heading = paragraph("Before you trust it")
    return f'<div class="warnings" role="note">\n{heading}\n{items}\n</div>'


def facts(pairs: Mapping[str, Any]) -> str:
    """Names and values; a mapping among the values is spread out under its name.

    Args:
        pairs: values of a JSON file by their names.
    """
    flat: dict[str, Any] = {}
    for name, value in pairs.items():
        inner = value if isinstance(value, Mapping) else {"": value}
        flat |= {f"{name} {key}".strip(): item for key, item in inner.items()}
    rows = (
        f"<div><dt>{text(name)}</dt><dd>{text(plain(value))}</dd></div>\n"
        for name, value in flat.items()
    )
    return f'<dl class="facts">\n{"".join(rows)}</dl>'


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: Iterable[str] = (),
    marked: int | None = None,
) -> str:
    """A table that scrolls sideways where it has to.

    Args:
        columns: headings.
        rows: cells as plain text.
        words: columns that hold words and are set flush left.
        marked: the row to highlight.
    """
    kinds = [' class="text"' if column in set(words) else "" for column in columns]

    def line(tag: str, cells: Sequence[str]) -> str:
        pairs = zip(kinds, cells, strict=True)
        return "".join(f"<{tag}{kind}>{text(cell)}</{tag}>" for kind, cell in pairs)

    body = "".join(
        f"{'<tr class=chosen>' if i == marked else '<tr>'}{line('td', row)}</tr>\n"
        for i, row in enumerate(rows)
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{line("th", columns)}</tr></thead>\n'
        f"<tbody>\n{body}</tbody>\n</table></div>"
    )

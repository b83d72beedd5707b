"""What may become of files: bytes that differ, json and csv of another content. Strategies of hypothesis."""

import copy
import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

# What json.dumps cannot write; put in its place afterwards.
DEEP, DIGITS = "@deep@", "@digits@"
_WRITTEN = {f'"{DEEP}"': "[" * 100_000 + "]" * 100_000, f'"{DIGITS}"': "1" * 5000}
NUMBERLIKE = ["0", "1", "-1", "1.5", "1e3", "1_0", "\uff11", "+1", "nan", "inf", "-0", "0x1", "true", "None"]
MARKS = ["", " ", "\0", "a\nb", "a\rb", '"', ",", ";", "=1+1", "\u202e", "\ud800", "\x1b[31m", "../..", "/", "a b", "é"]
WORDS = ["float16", "float64", "int32", "tsn", "frame_cnn", "train"]
TEXTS = [*NUMBERLIKE, *MARKS, *WORDS, "9" * 400, "x" * 3000]
NUMBERS = (0, 1, 2, 3, 5, 7, -1, 10**6, 10**9, 2**31, 2**63, 10**30, 0.5, 1.0, -0.0, 1e-300, 1e308)
VALUES = st.one_of(
    st.sampled_from([None, True, False, [], {}, [[]], [None], {"": 0}, DEEP, DIGITS]),
    st.sampled_from(NUMBERS),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.sampled_from(TEXTS),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), st.lists, max_leaves=5),
).map(copy.deepcopy)  # what is put in may be changed next
ENCODINGS = ("utf-8",) * 12 + ("utf-8-sig", "utf-16", "latin-1")


@st.composite
def changed_files(draw: Any, originals: dict[str, bytes]) -> dict[str, bytes | None]:
    """New contents of one file or two of a folder, by name; None is one that is gone."""
    texts = [name for name in originals if name.endswith((".json", ".csv"))]
    chosen = draw(st.sampled_from([texts, texts, texts, sorted(originals)]))
    names = draw(st.lists(st.sampled_from(chosen), min_size=1, max_size=2, unique=True))
    return {name: draw(_changed(name, originals[name])) for name in names}


@st.composite
def _changed(draw: Any, name: str, content: bytes) -> bytes | None:
    how = draw(st.sampled_from(["content"] * 14 + ["bytes"] * 5 + ["nothing"]))
    if how == "nothing":
        return None
    if how == "content" and name.endswith(".json"):
        return draw(changed_json(content))
    if how == "content" and name.endswith(".csv"):
        return draw(changed_csv(content))
    return draw(changed_bytes(content))


@st.composite
def changed_bytes(draw: Any, content: bytes) -> bytes:
    """Bits flipped, and parts removed, repeated, overwritten with zeros, or put in."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.sampled_from([1, 2, 4, 8, 64, 10**9])))
        part = content[start:stop]
        new = draw(
            st.one_of(
                st.sampled_from([b"", part + part, bytes(len(part)), bytes(b ^ 0xFF for b in part)]),
                st.integers(0, 7).map(lambda bit, part=part: bytes(b ^ 1 << bit for b in part[:1]) + part[1:]),
                st.binary(max_size=8),
            )
        )
        content = content[:start] + new + content[stop:]
    return content


@st.composite
def changed_json(draw: Any, content: bytes) -> bytes:
    """Values replaced by others or by one another, entries removed, renamed and repeated."""
    tree = json.loads(content)
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        *way, key = draw(st.sampled_from([(), *_places(tree)])) or (None,)
        if key is None:
            tree = draw(VALUES)
            continue
        parent = tree
        for step in way:
            parent = parent[step]
        if draw(st.booleans()) and isinstance(parent[key], int | float):
            parent[key] = parent[key] + draw(
                st.sampled_from([-1, 1, parent[key], -parent[key] / 2, -(parent[key] // 2)])
            )
            continue
        how = draw(st.sampled_from(["value", "value", "value", "another", "text", "list", "remove", "rename", "more"]))
        if how == "value":
            parent[key] = draw(VALUES)
        elif how == "another":
            other = tree
            for step in draw(st.sampled_from(list(_places(tree)))):
                other = other[step]
            parent[key] = json.loads(json.dumps(other))
        elif how == "text":
            parent[key] = str(parent[key])
        elif how == "list":
            parent[key] = [parent[key]]
        elif how == "remove":
            del parent[key]
        elif isinstance(parent, list):
            parent.insert(key, parent[key] if how == "more" else draw(VALUES))
        elif how == "more":
            parent[draw(st.sampled_from(TEXTS))] = draw(VALUES)
        else:
            parent[draw(st.sampled_from([key.upper(), key + " ", *TEXTS]))] = parent.pop(key)
    text = json.dumps(tree, indent=1)
    for mark, written in _WRITTEN.items():
        text = text.replace(mark, written)
    return text.encode(draw(st.sampled_from(ENCODINGS)))


@st.composite
def changed_csv(draw: Any, content: bytes) -> bytes:
    """Cells replaced; lines and columns removed, repeated and exchanged; other line ends, separators, encodings."""
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        i = draw(st.integers(0, len(rows) - 1)) if rows else 0
        j = draw(st.integers(0, max(0, min(map(len, rows), default=1) - 1)))
        how = draw(
            st.sampled_from(["cell", "cell", "cell", "line", "again", "column", "twice", "short", "long", "swap"])
        )
        if not rows or not rows[i] or (how in ("column", "twice") and not min(map(len, rows))):
            continue
        if how == "cell":
            rows[i][j % len(rows[i])] = draw(st.sampled_from(TEXTS) | st.text(max_size=6))
        elif how == "line":
            del rows[i]
        elif how == "again":
            rows.insert(i, list(rows[i]))
        elif how == "column":
            rows = [row[:j] + row[j + 1 :] for row in rows]
        elif how == "twice":
            rows = [[*row, row[j]] for row in rows]
        elif how == "short":
            rows[i].pop()
        elif how == "long":
            rows[i].append(draw(st.sampled_from(TEXTS)))
        else:
            k = draw(st.integers(0, len(rows) - 1))
            rows[i], rows[k] = rows[k], rows[i]
    text = io.StringIO()
    separator, end = draw(st.sampled_from(",,,,;\t")), draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\r", "\n\n"]))
    csv.writer(text, delimiter=separator, lineterminator=end).writerows(rows)
    return text.getvalue().encode(draw(st.sampled_from(ENCODINGS)), "replace")


def _places(tree: Any) -> Iterator[tuple]:
    """The keys that lead to every value but the root."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, child in children:
        yield (key,)
        yield from ((key, *way) for way in _places(child))

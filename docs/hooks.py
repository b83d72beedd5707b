"""What the site needs beside MkDocs: the pages of the repository's root, links that work on GitHub too, formulas.

The pages in docs/ and in the root are written for GitHub, with links between files; here each link to a file of the
repository becomes one to its page. A notebook becomes a page of its cells.
"""

import html
import json
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ROOT_PAGES = ("BENCHMARKS.md", "BUILD.md", "CHANGELOG.md", "CONTRIBUTING.md", "RESULTS.md", "LICENSE", "CITATION.cff")
# Where files of the repository are in the site, if not at their path below docs/.
PLACES = {"README.md": "index.md"} | {name: name for name in ROOT_PAGES}
NOTEBOOK = "notebooks/approximation"
PLACES[f"docs/{NOTEBOOK}.ipynb"] = f"{NOTEBOOK}.md"
SOURCES = {place: source for source, place in PLACES.items()}


def on_files(files, config):
    """Adds what is not in docs/: files of the root, and the notebook as a page."""
    for source, place in PLACES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=_cells(text) if source.endswith(".ipynb") else text))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links to files of the repository become links to their pages."""
    here = page.file.src_uri
    folder = posixpath.dirname(SOURCES.get(here, f"docs/{here}"))

    def in_site(link):
        path, hash_sign, anchor = link[1].partition("#")
        source = posixpath.normpath(posixpath.join(folder, path))
        if not path or not (ROOT / source).is_file():
            return link[0]
        place = PLACES.get(source, source.removeprefix("docs/"))
        return f"]({posixpath.relpath(place, posixpath.dirname(here) or '.')}{hash_sign}{anchor})"

    return re.sub(r"\]\(([^)\s:]+)\)", in_site, markdown)


def on_page_content(content, page, config, files):
    """Formulas become MathML, which browsers draw themselves."""
    content = re.sub(r'<span class="arithmatex">\\\((.*?)\\\)</span>', lambda found: _formula(found[1]), content)
    return re.sub(
        r'<div class="math">(.*?)</div>', lambda found: _formula(found[1], display="block"), content, flags=re.DOTALL
    )


def _formula(latex, display="inline"):
    # The converter knows no `\operatorname*`: what stands below it is put there.
    operator = r"\\operatorname\*\{(\w+)\}_\{([^{}]*)\}"
    latex = re.sub(operator, r"\\underset{\2}{\\text{\1}}", html.unescape(latex))
    return convert(latex, display=display)


def _cells(notebook):
    """A notebook's text and code, one cell after another."""
    shown = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        shown.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
    return "\n\n".join(shown) + "\n"

"""The site of the documentation: it builds without a warning, asks no other host for anything, and has every name."""

import html.parser
import importlib
import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import esv_jax
from tests.documentation import DOCS, ROOT

# Rooms all of whose names are public.
ROOMS = ("esv_jax.results", "esv_jax.data", "esv_jax.interop", "esv_jax.models", "esv_jax.baselines")
# What a page may load: tags, and which of their attributes names it.
LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "object": "data",
    "link": "href",
}
LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "manifest", "modulepreload", "prefetch"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does."""
    for package in ("mkdocs", "material", "mkdocstrings_handlers", "latex2mathml"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
    return folder


class Loads(html.parser.HTMLParser):
    """What a page loads, which ids it has and whether it says how formulas are written."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.ids, self.tags = [], set(), set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.add(tag)
        self.ids.add(given.get("id"))
        address = given.get(LOADED.get(tag))
        if address and (tag != "link" or LOADED_LINKS & set(given.get("rel", "").split())):
            self.loads.append(address)


def test_no_page_asks_another_host_for_anything(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    loads = {(page, address) for page in pages for address in Loads(page).loads}
    assert {Path(address).suffix for _, address in loads} >= {".js", ".css", ".png", ".svg"}
    for page, address in loads:
        assert not re.match(r"\w+:|//", address), (page, address)
        # The page for addresses that are none is served from the root of a host.
        assert page.name == "404.html" or (page.parent / address.split("?")[0]).exists(), (page, address)
    for style in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\W?(https?:)?//", style.read_text(encoding="utf-8")), style
    # What the theme's script could load from elsewhere are diagrams, of which there are none, and the stars of a
    # repository, which is not named.
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert 'class="mermaid"' not in text
        assert 'data-md-component="source"' not in text


def test_formulas_are_drawn_by_the_browser(site):
    page = site / "how_it_works.html"
    text = page.read_text(encoding="utf-8")
    assert "math" in Loads(page).tags
    assert r"\(" not in text
    assert "<munder><mrow><mtext>mean</mtext></mrow>" in text
    assert "operatorname" not in text


def test_every_public_name_is_in_the_reference(site):
    ids = set().union(*(Loads(page).ids for page in (site / "api").glob("*.html")))
    names = {f"esv_jax.{name}" for name, value in vars(esv_jax).items() if _is_public(name, value)}
    for room in ROOMS:
        names |= {
            f"{room}.{name}" for name, value in vars(importlib.import_module(room)).items() if _is_public(name, value)
        }
    assert len(names) > 60
    assert names - ids == set()
    # Modules that are handed out whole.
    assert {"esv_jax.players", "esv_jax.removals"} <= ids


def _is_public(name, value):
    return not name.startswith("_") and not isinstance(value, types.ModuleType)


def test_every_page_is_in_the_navigation_or_said_not_to_be():
    """MkDocs tells of others, too, but does not count that as a warning where a page is generated."""
    said = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md"):
        assert f"{page.relative_to(DOCS)}\n" in said, page


def test_links_between_files_are_true_on_github():
    checked = 0
    for page in (*DOCS.rglob("*.md"), *ROOT.glob("*.md")):
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for link in re.findall(r"\]\((?!https?:)([^)\s#]+)[^)\s]*\)", text):
            assert (page.parent / link).exists(), (page, link)
            checked += 1
    assert checked > 100


def test_every_flag_in_the_documentation_exists():
    shared = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "experiments").glob("*.py"))
    used = set()
    for page in DOCS.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        for script, line in re.findall(r"(?:python -m experiments\.|esv-jax )(\w+)((?: \\\n|[^\n`])*)", text):
            assert (ROOT / "experiments" / f"{script}.py").exists(), (page, script)
            for flag in re.findall(r"--(\w+)", line):
                assert f'"{flag}"' in shared or f'"{flag.removeprefix("no")}"' in shared, (page, script, flag)
                used.add((script, flag))
    assert len(used) > 30


def test_the_notebook(tmp_path):
    for package in ("nbclient", "ipykernel", "av", "matplotlib"):
        pytest.importorskip(package)
    notebook = DOCS / "notebooks" / "approximation.ipynb"
    assert not any(cell.get("outputs") for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"])
    run = (
        "import nbclient, nbformat, sys\n"
        "notebook = nbformat.read(sys.argv[1], as_version=4)\n"
        "nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3').execute()\n"
        "nbformat.write(notebook, 'done.ipynb')\n"
    )
    kept = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "notebook")}
    command = [sys.executable, "-c", run, notebook]
    ran = subprocess.run(command, cwd=tmp_path, env=kept, capture_output=True, text=True, timeout=500, check=False)
    assert ran.returncode == 0, ran.stderr
    cells = json.loads((tmp_path / "done.ipynb").read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = "".join("".join(output["text"]) for output in outputs if output.get("name") == "stdout")
    shown = [output["data"] for output in outputs if "data" in output]
    (page,) = ("".join(data["text/html"]) for data in shown if "text/html" in data)
    assert page.startswith("<div><iframe srcdoc=")
    assert "A clip, exactly" in page
    assert any("image/png" in data for data in shown)
    rows = re.findall(r"^(stratified|surrogate) +(\d+) +(\S+) +(\S+) +(\S+)$", printed, flags=re.MULTILINE)
    assert len(rows) == 4
    # The paper's need not add up, ours do; both come nearer with more.
    for name in ("stratified", "surrogate"):
        first, last = [[float(x) for x in row[1:]] for row in rows if row[0] == name]
        assert last[1] > 0.9
        assert last[2] < first[2]
        assert name == "stratified" or last[3] < 1e-4

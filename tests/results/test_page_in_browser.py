"""Pages in a browser, from the disk: what they show is what is in the store, whatever is sorted, filtered, hovered."""

import io
import re
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from esv_jax import results
from esv_jax.results import page
from tests.results import browsers
from tests.results.fakes import fake_explanation
from tests.results.pages import CLASSES, LENGTH, PRIOR, chunk, index_of, inline_json, write_clips, write_store
from tests.video.videos import number_of, write_images, write_video

MINUS = "\N{MINUS SIGN}"
ODD = ["b/c #1.mp4", "100%.mp4", "é?.mp4", "<script>&\"'.mp4"]
UIDS = [*ODD, *(f"clip {i}.mp4" + "x" * (i % 3) for i in range(16))]
PERSONS = {uid: ("ann", "bob", "")[i % 3] for i, uid in enumerate(UIDS)}
SIZES = {uid: str(7 * i % 20) for i, uid in enumerate(UIDS)}


@pytest.fixture(scope="module")
def browser():
    with browsers.chromium() as found:
        yield found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A page of 20 videos, four with their clips, by 8 frames; twelve of them by 16 too; and what is in the store."""
    folder = tmp_path_factory.mktemp("made")
    truth = write_store(folder / "s.zarr", UIDS)
    write_store(folder / "s.zarr", UIDS[:12], 16)
    write_clips(folder / "clips", ODD)
    page.write(folder / "s.zarr", folder / "page", clips=folder / "clips", columns={"person": PERSONS, "size": SIZES})
    return folder, truth


@pytest.fixture
def table(browser, made):
    with browsers.opened(browser, made[0] / "page" / "index.html") as found:
        yield found


def _text_of(value, decimals):
    text = f"{value:.{decimals}f}"
    return f"{'' if float(text) == 0 else '+' if value > 0 else MINUS}{text.removeprefix('-')}"


def _number_of(text):
    return float(text.replace(MINUS, "-"))


def _terms(shown):
    """What the sum in words is made of, in units of its last decimal."""
    terms = shown.evaluate("[...document.querySelectorAll('#sum b')].map(term => term.textContent)")
    return [round(1000 * _number_of(term)) for term in terms]


def test_it_opens_from_the_disk_says_nothing_and_asks_for_nothing_elsewhere(browser, made):
    folder, _ = made
    with browsers.opened(browser, folder / "page" / "index.html", f"#uid={quote(UIDS[0], safe='')}") as found:
        found.until("document.querySelector('video')?.readyState >= 2")
        found.page.click("#show-overview")
        found.until("document.querySelector('.confusion') !== null")
        assert found.said == []
        inside = (folder.as_uri(), "data:")
        assert [url for url in found.asked_for if not url.startswith(inside)] == []
        policy = found.page.get_attribute("meta[http-equiv]", "content")
        assert policy.startswith("default-src 'none';")
        refused = "fetch('https://example.com').then(() => 'sent', () => 'refused')"
        assert found.page.evaluate(refused) == "refused"
        found.page.evaluate(
            "new Promise(done => { const i = new Image(); i.onerror = done; i.src = 'https://a.b/c.png'; })"
        )
        assert len([said for said in found.said if "Content Security Policy" in said]) >= 2


def _columns(truth):
    predicted = truth.score.argmax(axis=1)
    of_predicted = truth.esv[np.arange(len(UIDS)), :, predicted]
    return {
        "Video": UIDS,
        "True class": [CLASSES[c] for c in truth.label],
        "Predicted": [CLASSES[c] for c in predicted],
        "Right": (predicted == truth.label).tolist(),
        "Score": truth.score.max(axis=1).tolist(),
        "▲ Most": of_predicted.max(axis=1).tolist(),
        "▼ Least": of_predicted.min(axis=1).tolist(),
        "Top at": of_predicted.argmax(axis=1).tolist(),
        "person": [PERSONS[uid] for uid in UIDS],
        "size": [int(SIZES[uid]) for uid in UIDS],
    }


@pytest.mark.parametrize("down", [False, True])
def test_every_column_sorts_what_is_not_known_last(table, made, down):
    for name, values in _columns(made[1]).items():
        button = table.page.get_by_role("columnheader").get_by_role("button", name=re.compile(f"^{re.escape(name)}"))
        table.page.click("#all")
        button.click()
        if (button.inner_text().endswith("↓")) != down:
            button.click()
        known = [i for i, value in enumerate(values) if value != ""]
        expected = sorted(known, key=lambda i: values[i], reverse=down)
        if down:  # equals stay in the order of the store
            expected = sorted(known, key=lambda i: (_rank(values)[i], i))
        expected += [i for i, value in enumerate(values) if value == ""]
        assert table.uids() == [UIDS[i] for i in expected], name


def _rank(values):
    """The place of every value, the highest first."""
    order = sorted({value for value in values if value != ""}, reverse=True)
    return [order.index(value) if value != "" else -1 for value in values]


def test_filters_are_their_definitions(table, made):
    truth, shown = made[1], table.page
    predicted = truth.score.argmax(axis=1)
    right = predicted == truth.label
    of_predicted = truth.esv[np.arange(len(UIDS)), :, predicted]

    def passing(keep):
        return [uid for uid, kept in zip(UIDS, keep, strict=True) if kept]

    for c, name in enumerate(CLASSES):
        shown.get_by_label("True class").select_option(str(c))
        assert table.uids() == passing(truth.label == c), name
        shown.get_by_label("Outcome").select_option("wrong")
        assert table.uids() == passing((truth.label == c) & ~right)
        shown.click("#all")
        shown.locator("#filters select >> nth=1").select_option(str(c))
        assert table.uids() == passing(predicted == c)
        shown.click("#all")
    shown.get_by_label("Outcome").select_option("right")
    assert table.uids() == passing(right)
    shown.click("#all")
    shown.fill("input[type=search]", "CLIP 1")
    assert table.uids() == [uid for uid in UIDS if "clip 1" in uid]
    assert shown.inner_text("#count").startswith("7 of 20 videos")
    shown.click("#all")
    shown.click("summary:has-text('More filters')")
    middle = float(np.median(truth.score.max(axis=1)))
    shown.get_by_label("Score, from").fill(f"{middle}")
    assert table.uids() == passing(truth.score.max(axis=1) >= middle)
    shown.get_by_label("Score, from").fill("")
    shown.get_by_label("Top at, to").fill("0.5")
    assert table.uids() == passing((of_predicted.argmax(axis=1) + 0.5) / 8 <= 0.5)
    shown.get_by_label("person").select_option("bob")
    early = (of_predicted.argmax(axis=1) + 0.5) / 8 <= 0.5
    assert table.uids() == passing(early & np.array([PERSONS[uid] == "bob" for uid in UIDS]))


def test_wrong_surest_first(table, made):
    truth = made[1]
    table.page.click("#surest")
    wrong = np.flatnonzero(truth.score.argmax(axis=1) != truth.label)
    expected = sorted(wrong, key=lambda i: -truth.score[i].max())
    assert table.uids() == [UIDS[i] for i in expected]
    table.page.click(".row >> nth=0")
    first = f"Predicted: {CLASSES[truth.score[expected[0]].argmax()]}, score "
    table.until(f"document.querySelector('.verdict')?.textContent.startsWith({first!r})")
    assert table.page.inner_text("#video h2") == UIDS[expected[0]]
    table.page.click(".next")
    table.until(f"document.querySelector('#video h2').textContent === {UIDS[expected[1]]!r}")


def test_rows_are_reached_by_keys(table):
    table.page.focus(".row[tabindex='0']")
    for key, at in (("ArrowDown", 1), ("ArrowDown", 2), ("ArrowUp", 1), ("End", 19), ("Home", 0), ("ArrowDown", 1)):
        table.page.keyboard.press(key)
        assert table.page.evaluate("document.activeElement.dataset.uid") == UIDS[at]
    table.page.keyboard.press("Enter")
    table.until(f"document.querySelector('#video h2')?.textContent === {UIDS[1]!r}")
    table.page.keyboard.press("Escape")
    table.until("document.getElementById('video').hidden")
    assert "uid=" not in table.page.url


@pytest.mark.parametrize("uid", ODD)
def test_a_deep_link_shows_a_class_of_a_video_and_its_numbers(browser, made, uid):
    folder, truth = made
    v = UIDS.index(uid)
    address = f"#uid={quote(uid, safe='')}&class={quote(CLASSES[1], safe='')}"
    with browsers.opened(browser, folder / "page" / "index.html", address) as found:
        shown = found.page
        assert shown.inner_text("#video h2") == uid
        assert shown.evaluate("document.getElementById('class').selectedOptions[0].textContent") == CLASSES[1]
        esv = truth.esv[v, :, 1].astype(np.float64)
        marks = shown.evaluate("[...document.querySelectorAll('.frame .mark')].map(mark => mark.textContent)")
        assert marks == [f"{'▲' if value > 0 else '▼'} {_text_of(value, 3)}" for value in esv]
        shown.click("summary:has-text('All values')")
        rows = shown.evaluate(
            "[...document.querySelectorAll('.numbers tbody tr')].map(row => row.cells[3].textContent)"
        )
        assert rows == [_text_of(value, 4) for value in esv]
        _check_sum(shown, PRIOR[1], esv, truth.score[v, 1])
        assert found.said == []


def _check_sum(shown, prior, esv, score):
    """The sum in words adds up as it is written, each within a unit of its last decimal."""
    written = _terms(shown)
    assert written[0] + written[1] + written[2] == written[3]
    exact = [prior, esv[esv > 0].sum(), esv[esv < 0].sum(), score]
    np.testing.assert_allclose(written, 1000 * np.array(exact, np.float64), atol=1.001)


def test_a_mistake_is_predicted_minus_true_at_first(browser, made):
    folder, truth = made
    predicted = truth.score.argmax(axis=1)
    v = int(np.flatnonzero(predicted != truth.label)[0])
    with browsers.opened(browser, folder / "page" / "index.html", f"#uid={quote(UIDS[v], safe='')}") as found:
        one, other = predicted[v], truth.label[v]
        chosen = "['class', 'against'].map(id => document.getElementById(id).value).join()"
        assert found.page.evaluate(chosen) == f"{one},{other}"
        esv = (truth.esv[v, :, one] - truth.esv[v, :, other]).astype(np.float64)
        _check_sum(found.page, PRIOR[one] - PRIOR[other], esv, truth.score[v, one] - truth.score[v, other])
        found.page.click(".predictions button >> nth=2")
        third = int(truth.score[v].argsort()[::-1][2])
        found.until(f"{chosen} === '{third},-1'")
        _check_sum(found.page, PRIOR[third], truth.esv[v, :, third].astype(np.float64), truth.score[v, third])


def test_intervals_of_samples_and_what_they_leave_unexplained(browser, tmp_path):
    truth = write_store(tmp_path / "s.zarr", UIDS[:3], sampled=True)
    page.write(tmp_path / "s.zarr", tmp_path / "page")
    dataset = results.open(tmp_path / "s.zarr")
    address = f"#uid={quote(UIDS[1], safe='')}&class={quote(CLASSES[2], safe='')}"
    with browsers.opened(browser, tmp_path / "page" / "index.html", address) as found:
        found.page.click("summary:has-text('All values')")
        ends = found.page.evaluate(
            "[...document.querySelectorAll('.numbers tbody tr')].map(row => [3, 4].map(k => row.cells[k].textContent))"
        )
        for column, name in enumerate(("low", "high")):
            texts = [_number_of(row[column]) for row in ends]
            np.testing.assert_allclose(texts, dataset[name].values[1, :, 2], atol=5.1e-5)
        assert found.page.locator(".curve .interval").count() == 1
        written = _terms(found.page)
        assert len(written) == 5
        assert sum(written[:4]) == written[4]
        gap = truth.score[1, 2] - PRIOR[2] - truth.esv[1, :, 2].sum()
        assert abs(written[3] - 1000 * gap) <= 1.001


def test_another_number_of_frames_by_the_switch(browser, made):
    folder, _ = made
    with browsers.opened(browser, folder / "page" / "index.html", f"#uid={quote(UIDS[0], safe='')}") as found:
        assert found.page.locator(".frame").count() == 8
        found.page.select_option("#num-frames", "16")
        found.until("document.querySelectorAll('.frame').length === 16")
        assert found.page.inner_text("#count").startswith("12 of 12 videos; 8 have no values by 16 frames")
        found.page.evaluate(f"location.hash = 'frames=16&uid=' + encodeURIComponent({UIDS[15]!r})")
        found.until("document.querySelector('.problem')?.textContent.includes('has no values by 16 frames')")
        found.page.evaluate("location.hash = 'uid=nobody'")
        found.until("document.querySelector('.problem')?.textContent.includes('is not in this store')")


# Films


def _number_shown(found, second):
    """The number that the player's picture shows, when it has come to a time and nothing changes any more."""
    found.page.evaluate("document.querySelector('video').controls = false")
    found.until(
        "(player => !player.seeking && player.readyState >= 2 && "
        f"Math.abs(player.currentTime - {second}) < 0.002)(document.querySelector('video'))"
    )
    pictures: list[bytes] = []
    while len(pictures) < 30 and (len(pictures) < 6 or len(set(pictures[-6:])) > 1):
        found.page.wait_for_timeout(100)
        pictures.append(found.page.locator("video").screenshot())
    image = Image.open(io.BytesIO(pictures[-1])).convert("RGB").resize((64, 48), Image.Resampling.BILINEAR)
    return number_of(np.asarray(image))


def _seconds(about):
    """Where the player is to be sent for each frame."""
    return about["start"] + np.array(about["middles"])


VARIED = np.cumsum(np.random.default_rng(0).integers(15, 120, LENGTH))
FILMS = {
    "h264.mp4": {"codec": "libx264"},
    "late.mp4": {"codec": "libx264", "pts": 1500 + 40 * np.arange(LENGTH)},
    "late.webm": {"codec": "libvpx-vp9", "pts": 1500 + 40 * np.arange(LENGTH)},
    "varied and late.mp4": {"codec": "libx264", "pts": 1500 + VARIED - VARIED[0]},
}


@pytest.mark.parametrize(("videos", "films"), [("link", list(FILMS)), ("preview", list(FILMS)[2:])])
def test_the_frame_at_the_cursor_is_the_one_that_its_value_is_of(browser, tmp_path, videos, films):
    write_store(tmp_path / "s.zarr", films)
    (tmp_path / "clips").mkdir()
    for name in films:
        fine = {"crf": "10", "preset": "ultrafast"} if name.endswith("mp4") else {}
        write_video(tmp_path / "clips" / name, num_frames=LENGTH, options=fine, **FILMS[name])
    page.write(tmp_path / "s.zarr", tmp_path / "page", clips=tmp_path / "clips", videos=videos)
    index = results.open(tmp_path / "s.zarr")["frame_index"].values
    ((_, values),) = index_of(tmp_path / "page")["sets"][0]["chunks"]
    told = chunk(tmp_path / "page", values)["videos"]
    for v, name in enumerate(films):
        with browsers.opened(browser, tmp_path / "page" / "index.html", f"#uid={quote(name)}") as found:
            found.until("document.querySelector('video')?.readyState >= 2")
            found.page.hover(".frame[data-t='5']")
            assert _number_shown(found, _seconds(told[v])[5]) == index[v, 5], name
            found.page.focus(".frame[tabindex='0']")
            found.page.keyboard.press("Home")
            found.page.keyboard.press("ArrowRight")
            assert _number_shown(found, _seconds(told[v])[1]) == index[v, 1], name
            assert found.page.inner_text("#frame").startswith(f"frame {index[v, 1]}, ")


def test_the_cursor_runs_with_the_film(browser, made):
    folder, _ = made
    with browsers.opened(browser, folder / "page" / "index.html", f"#uid={quote(ODD[0], safe='')}") as found:
        found.until("document.querySelector('video')?.readyState >= 3")
        found.page.evaluate("document.querySelector('video').currentTime = 0")
        before = found.page.get_attribute(".cursor", "d")
        found.page.evaluate("document.querySelector('video').play()")
        found.until("document.querySelector('video').ended")
        assert found.page.get_attribute(".cursor", "d") != before
        found.until("document.querySelectorAll('.frame')[7].getAttribute('aria-selected') === 'true'")


def test_frames_alone_where_there_is_no_film(browser, tmp_path):
    write_store(tmp_path / "s.zarr", ["images", "none", "gone.mp4", "broken.mp4"])
    write_clips(tmp_path / "clips", ["gone.mp4", "broken.mp4"])
    write_images(tmp_path / "clips" / "images", [f"{i}.png" for i in range(LENGTH)])
    page.write(tmp_path / "s.zarr", tmp_path / "page", clips=tmp_path / "clips")
    (tmp_path / "clips" / "gone.mp4").unlink()
    (tmp_path / "clips" / "broken.mp4").write_bytes(b"no film")
    index = results.open(tmp_path / "s.zarr")["frame_index"].values
    for uid in ("images", "gone.mp4", "broken.mp4"):
        with browsers.opened(browser, tmp_path / "page" / "index.html", f"#uid={uid}") as found:
            found.until("document.querySelector('.still img')?.complete")
            found.page.hover(".frame[data-t='6']")
            picture = found.page.locator(".still .picture").screenshot()
            image = Image.open(io.BytesIO(picture)).convert("RGB").resize((64, 48), Image.Resampling.BILINEAR)
            assert number_of(np.asarray(image)) == index[0, 6]
            told = found.page.locator(".stage .problem").all_inner_texts()
            assert [text.split(" is missing, or this browser cannot play it")[0] for text in told] == (
                [] if uid == "images" else [f"../clips/{uid}"]
            )
    with browsers.opened(browser, tmp_path / "page" / "index.html", "#uid=none") as found:
        assert "there is no such video" in found.page.inner_text(".stage .problem")
        assert found.page.inner_text(".frame[data-t='6'] .picture") == str(index[1, 6])
        assert "1 are shown without their frames" in found.page.inner_text("#count")


def test_values_that_are_missing_or_damaged_are_told_of(browser, tmp_path):
    write_store(tmp_path / "s.zarr", UIDS)
    page.write(tmp_path / "s.zarr", tmp_path / "page")
    for file in (tmp_path / "page" / "values").iterdir():
        if "-all-" in file.name:
            file.unlink()
        else:
            file.write_text("esvArrived(")
    with browsers.opened(browser, tmp_path / "page" / "index.html", "#uid=clip%201.mp4x") as found:
        found.until("document.querySelector('#video .problem') !== null")
        assert "is missing or cannot be read: make the page again" in found.page.inner_text("#video")
        found.page.click("#show-overview")
        found.until("document.querySelector('#overview .problem') !== null")
        assert "is missing or cannot be read: make the page again" in found.page.inner_text("#overview")


# The overview


def test_every_mark_of_the_overview_leads_to_its_videos(table, made):
    truth = made[1]
    predicted = truth.score.argmax(axis=1)
    every = np.arange(len(UIDS))
    of_true, of_predicted = truth.esv[every, :, truth.label], truth.esv[every, :, predicted]
    shown = table.page

    def overview():
        shown.click("#all")
        shown.click("#show-overview")
        table.until("document.querySelector('.confusion') !== null")

    overview()
    means = [
        _number_of(re.search("mean value (.*?[0-9.]+);", text)[1])
        for text in shown.locator(".bar-button").evaluate_all("all => all.map(one => one.title)")
    ]
    np.testing.assert_allclose(means, of_true.mean(axis=0), atol=7.6e-5)
    shown.click(".bar-button >> nth=3")
    table.until("!document.getElementById('table').hidden")
    assert table.uids() == [uid for uid, top in zip(UIDS, of_predicted.argmax(axis=1), strict=True) if top == 3]
    shares = {c: 100 * (of_true[truth.label == c] > 0).mean() for c in range(3)}
    for c, share in shares.items():
        overview()
        row = shown.locator(".shares button", has_text=CLASSES[c])
        assert f"▲ {share:.1f} %, {(truth.label == c).sum()} videos" in row.inner_text()
        row.click()
        table.until("!document.getElementById('table').hidden")
        assert table.uids() == [uid for uid, label in zip(UIDS, truth.label, strict=True) if label == c]
    for a in range(3):
        for b in range(3):
            own = [uid for i, uid in enumerate(UIDS) if (truth.label[i], predicted[i]) == (a, b)]
            if own:
                overview()
                cell = shown.locator(f".confusion button[title^='{len(own)} of {CLASSES[a]} taken for {CLASSES[b]};']")
                mean = of_predicted[(truth.label == a) & (predicted == b)].mean(axis=0)
                assert f"most supported at frame {mean.argmax() + 1} of 8" in cell.get_attribute("title")
                cell.click()
                table.until("!document.getElementById('table').hidden")
                assert table.uids() == own


def test_the_overview_is_of_what_passes_the_filters(table, made):
    truth = made[1]
    table.page.get_by_label("True class").select_option("1")
    table.page.click("#show-overview")
    table.until("document.querySelector('.confusion') !== null")
    assert table.page.locator(".confusion tbody tr:has(button)").count() == 1
    mine = truth.esv[truth.label == 1, :, 1]
    assert f"all videos: {100 * (mine > 0).mean():.1f} %" in table.page.inner_text("#overview")


# One file, one video, for everyone


def test_one_file_shows_it_all(browser, made, tmp_path):
    folder, _ = made
    page.write(folder / "s.zarr", tmp_path / "p.html", clips=folder / "clips", videos="preview", one_file=True)
    with browsers.opened(browser, tmp_path / "p.html", f"#uid={quote(ODD[1], safe='')}") as found:
        found.until("document.querySelector('video')?.readyState >= 2")
        index = results.open(folder / "s.zarr", 8)["frame_index"].values
        found.page.hover(".frame[data-t='4']")
        within = inline_json(tmp_path / "p.html")
        told = within[within["index"]["sets"][0]["chunks"][0][1]]["videos"][1]
        assert _number_shown(found, _seconds(told)[4]) == index[1, 4]
        found.page.click("#show-overview")
        found.until("document.querySelector('.confusion') !== null")
        assert found.said == []
        assert {url.split(":")[0] for url in found.asked_for[1:]} <= {"data"}
        assert found.uids()[:8] == UIDS[:8]


def test_an_explained_video_shows_its_pairs(browser, tmp_path):
    pairs = np.random.default_rng(0).normal(0, 0.1, (6, 6, 4))
    explained = fake_explanation(6)
    page.write_one(tmp_path / "p.html", explained, {}, uid="clip", num_frames_in_video=60, pairs=pairs)
    with browsers.opened(browser, tmp_path / "p.html") as found:
        found.until("document.querySelector('#video h2')?.textContent === 'clip'")
        c = int(explained.full.argmax())
        upper = np.where(np.triu(np.ones((6, 6)), 1) > 0, pairs[:, :, c], -np.inf)
        i, j = np.unravel_index(upper.argmax(), (6, 6))
        heading = found.page.inner_text(".pairs-of h3")
        first, second = explained.frames[[i, j]]
        assert re.search(rf"most by frame {first}, .* and frame {second}, ", heading)
        assert heading.endswith(f"({_text_of(upper[i, j], 3)})")
        assert found.page.locator(".pairs path").count() == 15
        assert found.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_is_found_by_axe_and_nothing_sticks_out(browser, made, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    for address in ("", f"#uid={quote(ODD[0], safe='')}", "#view=overview"):
        with browsers.opened(browser, made[0] / "page" / "index.html", address, width=width, scheme=scheme) as found:
            found.until("document.querySelector('#overview section, .frame, .row') !== null")
            if "uid" in address:
                found.page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            broken = axe.run(found.page, options=options).response["violations"]
            assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in broken] == []
            assert found.page.evaluate("document.documentElement.scrollWidth") <= width

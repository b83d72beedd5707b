"""How large and how quick the page of a large store is: makes one, opens it in Chromium, prints what was measured.

python -m tests.slow.page_figures --videos=10000
python -m tests.slow.page_figures --videos=200000 --folder=/tmp/large
"""

import argparse
import resource
import shutil
import statistics
import time
from pathlib import Path

import numpy as np

from esv_jax.results import page, store_writer
from esv_jax.results.video_index import VideoIndex
from tests.results import browsers

T, C, BATCH = 16, 174, 512
_SEARCH = "(i => { i.value = '99'; i.dispatchEvent(new Event('input')); })(document.querySelector('[type=search]'))"


def write_store(path: Path, num_videos: int) -> None:
    """Values as a softmax makes them: a few classes have most of the score, and of the values."""
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.full(C, 5.0)).astype(np.float32)
    index = VideoIndex(
        uid=tuple(f"{i:06d}" for i in range(num_videos)),
        label=rng.integers(0, C, num_videos),
        num_frames_in_video=np.full(num_videos, 48),
        frame_index=np.tile(np.arange(T) * 3 + 1, (num_videos, 1)),
        left_out={},
    )
    with store_writer.writing(path, {"seed": 0}) as folder:
        chunks = store_writer.open_group(
            folder,
            index,
            prior=prior,
            class_names=tuple(f"Doing the thing of number {c} to something" for c in range(C)),
            batch_size=BATCH,
            sampled=False,
            provenance={"command": "tests.slow.page_figures"},
        )
        for k in chunks.unfinished():
            label = index.label[k * BATCH : (k + 1) * BATCH]
            logits = 2.0 * rng.normal(size=(len(label), C))
            logits[np.arange(len(label)), label] += 6.0  # right for about every second
            score = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            spread = rng.normal(size=(len(label), T, C)) * np.sqrt(score * (1 - score))[:, None] / T
            esv = ((score - prior)[:, None] / T + spread - spread.mean(axis=1, keepdims=True)).astype(np.float32)
            store_writer.write_chunk(chunks, k, {"esv": esv, "score": score.astype(np.float32)})


def measure(file: Path) -> None:
    with browsers.chromium() as browser:
        start = time.perf_counter()
        with browsers.opened(browser, file) as found:
            found.until("document.querySelector('.row') !== null")
            print(f"table after {time.perf_counter() - start:.2f} s")
            uids, rng = found.uids(), np.random.default_rng(1)
            start = time.perf_counter()
            _choose(found, uids[3])
            print(f"first video after {time.perf_counter() - start:.2f} s")
            found.page.click(".close")
            for column in range(9):
                name = f"document.querySelectorAll('.head [role=columnheader] button')[{column}]"
                if found.page.evaluate(f"{name} === undefined"):
                    continue
                print(
                    f"sort by {found.page.evaluate(f'{name}.textContent')}: {_timed(found, f'{name}.click()'):.0f} ms"
                )
            for what, action in {
                "wrong, surest first": "document.getElementById('surest').click()",
                "search": _SEARCH,
                "all": "document.getElementById('all').click()",
            }.items():
                print(f"{what}: {_timed(found, action):.0f} ms")
            count = int(found.page.inner_text("#count").split(" of ")[1].split()[0].replace(",", ""))
            taken = []
            for number in rng.permutation(count)[:400]:
                start = time.perf_counter()
                _choose(found, f"{number:06d}")
                taken.append(time.perf_counter() - start)
            print(f"choosing: median {1000 * statistics.median(taken):.0f} ms, longest {1000 * max(taken):.0f} ms")
            session = found.page.context.new_cdp_session(found.page)
            session.send("HeapProfiler.collectGarbage")
            heap = found.page.evaluate("performance.memory.usedJSHeapSize") / 1e6
            print(f"heap after 400 videos: {heap:.0f} MB")
            print(f"renderers: {', '.join(f'{size:.0f} MB' for size in _renderers())} (resident, their own)")
            start = time.perf_counter()
            found.page.click("#show-overview")
            found.until("document.querySelector('.confusion') !== null")
            print(f"overview after {time.perf_counter() - start:.2f} s")
            print(f"said: {found.said}")


def _choose(found: browsers.Opened, uid: str) -> None:
    found.page.evaluate(f"location.hash = 'uid={uid}'")
    found.until(f"document.querySelector('#video h2')?.textContent === '{uid}'")


def _timed(found: browsers.Opened, action: str) -> float:
    """Milliseconds until what an action changed has been drawn."""
    drawn = "requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)))"
    return found.page.evaluate(f"new Promise(done => {{ const start = performance.now(); {action}; {drawn}; }})")


def _renderers() -> list[float]:
    """Megabytes of the browser's processes that draw pages, without what they share."""
    sizes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"--type=renderer" in command:
                rows = (process / "smaps_rollup").read_text().splitlines()
                own = [int(row.split()[1]) for row in rows if row.startswith(("Private_Clean", "Private_Dirty"))]
                sizes.append(sum(own) / 1000)
        except OSError:
            continue
    return sizes


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, default=Path("out/page_figures"))
    given = parser.parse_args()
    store, out = given.folder / "s.zarr", given.folder / "page"
    given.folder.mkdir(parents=True, exist_ok=True)
    if not store.exists():
        write_store(store, given.videos)
    shutil.rmtree(out, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    for what in ("made", "again"):
        start = time.perf_counter()
        made = page.write(store, out)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
        print(
            f"{what} in {time.perf_counter() - start:.1f} s: {made.num_videos} videos, {made.num_written} files written"
        )
    values = sum(file.stat().st_size for file in (out / "values").iterdir())
    print(f"peak {peak:.0f} MB, {before:.0f} MB before")
    print(f"index {(out / 'index.html').stat().st_size / 1e6:.2f} MB, values {values / 1e6:.1f} MB")
    measure(out / "index.html")


if __name__ == "__main__":
    main()

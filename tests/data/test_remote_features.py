"""Feature stores on an object store, served by a server on this machine."""

import numpy as np
import pytest

import esv_jax
from esv_jax.data import feature_store, remote_features
from esv_jax.data.labelled_features import open_labelled
from tests.data import object_store
from tests.data.object_store import FILES

HEADER = feature_store.StoreHeader(5, "float16", ("run", "jump"))
ADDRESS = "s3://lab/sets/mine"


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote") / "mine"
    rng = np.random.default_rng(0)
    with feature_store.create_or_append(folder, HEADER) as writer:
        for i in range(7):
            features = rng.normal(size=(3 + i, 5)).astype(np.float32)
            writer.append(f"v{i}", f"{i}.webm", HEADER.classes[i % 2], "test", features)
    return folder


@pytest.fixture(scope="module")
def objects(local):
    """(name, content) -> puts it there; the store is."""
    with object_store.serving() as put:
        object_store.put_store(put, local, "sets/mine")
        yield put


def test_what_is_read_is_what_is_stored(local, objects):
    here, there = open_labelled(local, HEADER.classes), open_labelled(ADDRESS, HEADER.classes)
    assert there.header == here.header
    assert there.clips == here.clips
    np.testing.assert_array_equal(there.labels, here.labels)
    for numbers in ([0, 3, 6], [5], []):
        for found, expected in zip(there.read(numbers), here.read(numbers), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_the_digest_is_that_of_the_content(local, objects):
    digest = remote_features.digest(ADDRESS)
    for name in FILES:
        objects(f"copy/{name}", (local / name).read_bytes())
    assert remote_features.digest("s3://lab/copy/") == digest
    objects("copy/clips.csv", (local / "clips.csv").read_bytes().replace(b"v3", b"w3"))
    assert remote_features.digest("s3://lab/copy/") != digest


def test_what_is_damaged_or_not_there(local, objects, monkeypatch):
    content = bytearray((local / "features.bin").read_bytes())
    content[0] ^= 1
    for name in FILES:
        objects(f"bad/{name}", bytes(content) if name == "features.bin" else (local / name).read_bytes())
    bad = open_labelled("s3://lab/bad", HEADER.classes)
    bad.read([1, 2])
    with pytest.raises(esv_jax.InputError, match=r"^the clip v0 in s3://lab/bad is damaged: its features, or its line"):
        bad.read([0, 1])
    objects("bad/features.bin", bytes(content[:40]))
    with pytest.raises(esv_jax.InputError, match=r"^s3://lab/bad/features.bin is damaged: it has 40 bytes, which end "):
        open_labelled("s3://lab/bad", HEADER.classes)
    with pytest.raises(esv_jax.InputError, match=r"^s3://lab/bad/features.bin .*"):
        bad.read([6])
    with pytest.raises(esv_jax.InputError, match=r"^there is no feature store s3://lab/none: it has no store.json$"):
        open_labelled("s3://lab/none", HEADER.classes)


def test_stores_without_checksums_are_refused(local, objects):
    lines = (local / "clips.csv").read_text().splitlines()
    for name in FILES:
        objects(f"old/{name}", (local / name).read_bytes())
    objects("old/clips.csv", "".join(f"{line.rpartition(',')[0]}\n" for line in lines).encode())
    with pytest.raises(esv_jax.InputError, match=r"^s3://lab/old is a feature store of format 1, without checksums"):
        open_labelled("s3://lab/old", HEADER.classes)


@pytest.mark.parametrize("path", ["out/s3", "s3:/a", "/s3://", "file:///a", "C://a"])
def test_paths_are_no_addresses(path):
    assert not remote_features.is_remote(path)

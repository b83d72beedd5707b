"""What `check_model` measures, against loops over videos and subsets in float64."""

import itertools

import jax
import numpy as np
import pytest

import esv_jax
from esv_jax.analyses import model_check_page
from esv_jax.analyses.model_check import check_model
from esv_jax.analyses.model_verdict import verdict
from esv_jax.base import Game, Masks, identity
from esv_jax.checks import InputError
from esv_jax.metrics.calibration import brier_score, calibration_error

KEY = jax.random.key(0)
B, T, D, C = 20, 4, 3, 3
WEIGHT = np.array([1.0, 0.5, 2.0, 1.5])


def videos_and_labels(seed=0, num_frames=T, num_videos=B):
    rng = np.random.default_rng(seed)
    label = np.arange(num_videos) % C
    videos = rng.normal(size=(num_videos, num_frames, D)) + np.eye(C)[label][:, None]
    return videos.astype(np.float32), label


def scores_of(frames, sharpness=1.0):
    """A model of any number of frames to which their order matters: the later, the more they count."""
    counts = np.arange(1, len(frames) + 1)[:, None]
    logits = sharpness * (np.asarray(frames, np.float64) * counts).sum(axis=0) / counts.sum()
    e = np.exp(logits - logits.max())
    return e / e.sum()


def host(sharpness=1.0, asked=None):
    def predict(model, clips):
        if asked is not None:
            asked.append(len(clips))
        return np.stack([scores_of(clip, sharpness) for clip in clips]).astype(np.float32)

    return esv_jax.host_game(
        predict, empty=np.full(C, 1 / C, np.float32), removal="delete", link="identity", check=False
    )


def additive(weight, pair=0.0, triple=0.0):
    """Worths are a sum of weighted frames, and of products of two and of three of them where that is asked for."""
    weight = tuple(float(w) for w in weight)

    def prepare(params, video):
        return video

    def logits(video, mask):
        shown = mask.astype(video.dtype)
        both = shown[:, 0] * shown[:, 1]
        more = pair * both + triple * both * shown[:, 2]
        return (shown * np.asarray(weight, np.float32)[None]) @ video + more[:, None]

    return Game(np.zeros(D, np.float32), prepare, logits, identity, Masks())


def subsets(size):
    return [list(members) for members in itertools.combinations(range(T), size)]


@pytest.fixture(scope="module")
def checked():
    videos, label = videos_and_labels()
    return check_model(host(), None, videos, label, key=KEY)


def test_by_size_where_every_subset_is_asked(checked):
    videos, label = videos_and_labels()
    for size in range(1, T + 1):
        scores = np.array([scores_of(video[members]) for video in videos for members in subsets(size)])
        labels = np.repeat(label, len(subsets(size)))
        entropy = -(scores * np.log(scores)).sum(axis=1) / np.log(C)
        right = scores.argmax(axis=1) == labels
        expected = {
            "accuracy": right.mean(),
            "confidence": scores.max(axis=1).mean(),
            "surer": scores.max(axis=1).mean() - right.mean(),
            "calibration_error": calibration_error(scores, labels),
            "brier": brier_score(scores, labels),
            "entropy": entropy.mean(),
        }
        for name, value in expected.items():
            found = getattr(checked.by_size, name)
            assert found.mean[size - 1] == pytest.approx(value, abs=2e-6), (name, size)
            assert found.low[size - 1] <= found.high[size - 1]
        per_video = right.reshape(B, -1).mean(axis=1)
        half = 1.96 * per_video.std() / np.sqrt(B)
        accuracy = checked.by_size.accuracy
        assert (accuracy.high - accuracy.low)[size - 1] / 2 == pytest.approx(half, rel=0.3)
    gaps = np.maximum(checked.by_size.surer.mean, 0)
    assert float(checked.surer.mean) == pytest.approx(gaps.mean())


def test_by_class(checked):
    videos, label = videos_and_labels()
    assert checked.class_videos.tolist() == np.bincount(label).tolist()
    assert checked.chance == checked.class_videos.max() / B
    for c in range(C):
        for size in range(1, T + 1):
            scores = np.array([scores_of(v[m]) for v in videos[label == c] for m in subsets(size)])
            assert checked.class_accuracy[c, size - 1] == pytest.approx((scores.argmax(axis=1) == c).mean())
            assert checked.class_confidence[c, size - 1] == pytest.approx(scores.max(axis=1).mean(), abs=1e-6)


def test_order_blank_and_removal(checked):
    videos, label = videos_and_labels()
    whole = np.array([scores_of(video) for video in videos])
    backwards = np.array([scores_of(video[::-1]) for video in videos])
    found = checked.order["reversed"]
    assert float(found.accuracy.mean) == pytest.approx((backwards.argmax(axis=1) == label).mean())
    assert float(found.other_class.mean) == pytest.approx((backwards.argmax(axis=1) != whole.argmax(axis=1)).mean())
    assert float(found.change.mean) == pytest.approx(np.abs(backwards - whole).sum(axis=1).mean() / 2, abs=1e-6)
    assert float(checked.order["shuffled"].change.mean) > 0.01
    assert checked.blank.change == pytest.approx(0, abs=1e-6)
    assert checked.blank.confidence == pytest.approx(1 / C)
    for i in range(T):
        without = np.array([scores_of(np.delete(video, i, axis=0)) for video in videos])
        assert checked.removed[i] == pytest.approx(np.abs(without - whole).sum(axis=1).mean() / 2, abs=1e-6)
    assert checked.ignored == ()


def test_a_model_that_is_blind_to_order_says_the_same():
    videos, label = videos_and_labels()
    game = esv_jax.clip_game(lambda params, clips: clips.mean(axis=1) * 3, empty=np.full(C, 1 / C, np.float32))
    found = check_model(game, None, videos, label, key=KEY)
    for altered in found.order.values():
        assert float(altered.change.mean) < 1e-6
        assert float(altered.other_class.mean) == 0


def test_frames_that_it_does_not_look_at():
    videos, label = videos_and_labels()
    found = check_model(additive([1, 0, 2, 0]), None, videos, label, key=KEY)
    assert found.ignored == (1, 3)
    assert found.replaced is not None
    assert (found.replaced[[1, 3]] == 0).all()
    assert (found.replaced[[0, 2]] > 0.1).all()
    assert found.verdict == "doubtful"
    assert "2 of 4 frames never change a score (positions 1, 3" in found.sentence


def test_groups_of_one_frame_in_another_order_are_no_frames():
    videos, label = videos_and_labels()
    game = esv_jax.grouped(additive([1, 0, 2, 0]), esv_jax.players.each(T)[::-1])
    found = check_model(game, None, videos, label, key=KEY)
    assert found.ignored == (0, 2)
    assert (found.order, found.replaced, found.copies, found.blank) == ({}, None, None, None)


def test_the_credit_of_copies():
    """In an additive game a copy gets what the frame gets: weights of neighbours that differ keep them apart."""
    videos, label = videos_and_labels()
    even = check_model(additive([1, 1, 1, 1]), None, videos, label, key=KEY)
    assert float(even.copies.total.mean) == pytest.approx(2, abs=1e-4)
    assert float(even.copies.apart.mean) == pytest.approx(0, abs=1e-4)
    odd = check_model(additive([1, 3, 1, 3]), None, videos, label, key=KEY)
    assert float(odd.copies.apart.mean) > 0.3


@pytest.mark.parametrize(("pair", "triple"), [(0.0, 0.0), (2.0, 0.0), (2.0, 3.0)])
def test_what_single_frames_and_pairs_explain(pair, triple):
    """R2 by weighted least squares over all coalitions, sizes alike, for a video at a time."""
    videos, label = videos_and_labels()
    found = check_model(additive(WEIGHT, pair, triple), None, videos, label, key=KEY)
    shares = []
    for video in videos.astype(np.float64):
        mask = np.array([m for m in itertools.product([0, 1], repeat=T) if any(m)], float)
        size = mask.sum(axis=1).astype(int)
        both = mask[:, 0] * mask[:, 1]
        scores = (mask * WEIGHT) @ video + (pair * both + triple * both * mask[:, 2])[:, None]
        y = scores[:, scores[-1].argmax()]
        weight = 1 / np.array([[0, 4, 6, 4, 1][k] for k in size])
        columns = [np.ones(len(mask)), *mask.T]
        of_video = []
        for terms in (columns, columns + [mask[:, i] * mask[:, j] for i, j in itertools.combinations(range(T), 2)]):
            x = np.stack(terms, axis=1)
            root = np.sqrt(weight)
            fit = x @ np.linalg.lstsq(x * root[:, None], y * root, rcond=None)[0]
            middle = np.average(y, weights=weight)
            left, spread = (np.average(np.square(y - of), weights=weight) for of in (fit, middle))
            of_video.append(1 - left / spread)
        shares.append(of_video)
    few = np.array(shares)
    for interval, share in zip(found.explained, few.T, strict=True):
        assert share.min() - 1e-5 <= float(interval.mean) <= share.max() + 1e-5
        # Of 16 of the 20 videos.
        assert float(interval.mean) == pytest.approx(share.mean(), abs=2 * share.std() / 4 + 1e-5)
    assert float(found.explained.pairs.mean) == pytest.approx(1, abs=1e-5) or triple
    assert found.by_size.confidence is None
    assert found.surer is None


def test_a_model_that_is_sure_of_what_it_does_not_know_is_not_believed():
    videos, label = videos_and_labels(seed=1, num_videos=90)
    sure = check_model(host(sharpness=30.0), None, videos, label, key=KEY)
    assert sure.verdict == "bad"
    assert "are not to be believed" in sure.sentence
    shy = check_model(host(sharpness=1.0), None, videos, label, key=KEY)
    assert shy.verdict == "doubtful"
    assert "less sure than it is right, as models are that were not trained on so few frames" in shy.sentence
    calm = check_model(host(sharpness=3.0), None, *videos_and_labels(), key=KEY)
    assert calm.verdict == "good"
    assert calm.sentence.startswith("good: shown all 4 frames it is right in ")


def test_a_model_at_chance_has_nothing_to_explain():
    videos, label = videos_and_labels()
    found = check_model(host(), None, videos, np.roll(label, 1), key=KEY)
    assert found.verdict == "bad"
    assert "always saying the most frequent class" in found.sentence


def test_too_few_videos_to_tell_from_chance_are_doubtful_and_not_bad(checked):
    accuracy = checked.by_size.accuracy
    few = accuracy._replace(low=np.full(T, 0.3), mean=np.full(T, 0.5), high=np.full(T, 0.7))
    check = checked._replace(chance=0.4, by_size=checked.by_size._replace(accuracy=few), ignored=(1,))
    found, sentence = verdict(check)
    assert found == "doubtful"
    assert "right in 50% of videos, which 20 videos do not tell from the 40% of always saying" in sentence
    sure = checked.surer._replace(low=np.array(0.2))
    assert verdict(check._replace(surer=sure))[0] == "bad"
    even = check.by_size._replace(surer=check.by_size.surer._replace(high=np.zeros(T)))
    assert verdict(check._replace(chance=0.2, by_size=even))[1].startswith("doubtful: 1 of 4 frames never change")


@pytest.mark.parametrize(("num_frames", "budget"), [(1, 100), (2, 300), (5, 400), (5, 3000), (9, 2500), (16, 4000)])
def test_the_budget_is_kept(num_frames, budget):
    videos, label = videos_and_labels(num_frames=num_frames)
    asked, told = [], []
    found = check_model(
        host(asked=asked), None, videos, label, key=KEY, max_evaluations=budget, callback=lambda *of: told.append(of)
    )
    assert sum(asked) <= found.num_evaluations == told[-1][0] <= told[-1][1] <= budget
    assert sum(asked) > 0.9 * found.num_evaluations  # coalitions drawn twice are asked once
    assert found.num_videos >= 10
    assert (found.explained is None) == (found.copies is None) == (found.replaced is None)


def test_the_same_key_gives_the_same():
    videos, label = videos_and_labels()
    first, again = (check_model(host(), None, videos, label, key=KEY, max_evaluations=500) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"videos": 9}, "videos should be at least 10, found 9"),
        ({"label": np.zeros(B)}, "labels should be class numbers, int of 0 and more, found float64"),
        ({"label": np.full(B, 7)}, "labels should be classes of the model, which has 3, at least 2; found 7"),
        ({"label": np.zeros(B - 1, int)}, r"labels should have shape \[20\], found \[19\]"),
        ({"label": np.ones(B, int)}, "labels should be of two classes at least, or being right says nothing, found 1"),
        ({"max_evaluations": 50}, "max_evaluations should be at least 91 for 10 videos of 4 frames, found 50"),
    ],
)
def test_mistakes_are_one_sentence(change, message):
    videos, label = videos_and_labels()
    videos, label = videos[: change.get("videos", B)], change.get("label", label)[: change.get("videos", B)]
    budget = change.get("max_evaluations", 1000)
    with pytest.raises(InputError, match=message):
        check_model(host(), None, videos, label, key=KEY, max_evaluations=budget)


def test_scores_that_are_not_finite_are_refused():
    videos, label = videos_and_labels()
    videos[3] = np.nan
    with pytest.raises(InputError, match="the model's scores"):
        check_model(additive(WEIGHT), None, videos, label, key=KEY)


@pytest.mark.parametrize("other", [0, 7])
def test_videos_of_several_lengths_are_refused(other):
    videos, label = videos_and_labels()
    several = list(videos)
    several[other] = np.concatenate([videos[other], videos[other]])
    for game in (host(), additive(WEIGHT)):
        with pytest.raises(InputError, match="should have shape"):
            check_model(game, None, several, label, key=KEY)


def test_a_model_that_has_no_scores_of_zeros():
    videos, label = videos_and_labels()

    def predict(params, clips):
        total = clips.sum(axis=1)
        length = jax.numpy.sqrt(jax.numpy.square(total).sum(axis=-1, keepdims=True))
        return jax.nn.softmax(3 * total / length)

    game = esv_jax.clip_game(predict, empty=np.full(C, 1 / C, np.float32))
    found = check_model(game, None, videos, label, key=KEY)
    assert found.blank is None
    assert found.order


def test_one_frame(tmp_path):
    pytest.importorskip("matplotlib")
    videos, label = videos_and_labels(num_frames=1)
    found = check_model(host(), None, videos, label, key=KEY, max_evaluations=B + 1)
    scores = np.array([scores_of(video) for video in videos])
    assert found.removed == pytest.approx([np.abs(scores - 1 / C).sum(axis=1).mean() / 2])
    assert (found.num_videos, found.num_evaluations) == (B, B + 1)
    assert "with fewer" not in found.sentence
    model_check_page.save_check(tmp_path, found, list("abc"), "model")
    assert "| 1 | " in (tmp_path / "check.md").read_text()


def test_the_page(tmp_path, checked):
    pytest.importorskip("matplotlib")
    model_check_page.save_check(tmp_path, checked, ["run", "jump | sit", "$x$"], "my|model")
    page = (tmp_path / "check.md").read_text()
    assert f"**{checked.sentence}.**" in page
    assert f"| 1 | {checked.by_size.accuracy.mean[0]:.3f} [" in page
    assert "reversed: accuracy" in page
    assert (tmp_path / "check.png").stat().st_size > 20_000
    table = (tmp_path / "check_by_class.csv").read_text().splitlines()
    assert len(table) == 1 + C
    assert table[0].startswith("class,videos,accuracy of 1,")
    of_scores = check_model(additive([1, 0, 2, 0]), None, *videos_and_labels(), key=KEY)
    model_check_page.save_check(tmp_path, of_scores, ["a", "b", "c"], "scores")
    assert "no probabilities" not in (tmp_path / "check.md").read_text()  # the worst fault is told
    assert "confidence" not in (tmp_path / "check_by_size.csv").read_text()

"""Models of other packages that attributions are measured on, and what their users write to have them explained.

- transformer: PyTorch, 16 frames of features, 10 classes; takes an attention mask and gives logits.
- videomae: a tiny VideoMAEForVideoClassification of Hugging Face, 16 frames of 32 x 32, 10 classes; nearest frames.
- gru: PyTorch, 16 frames of features, 10 classes; clips of any length, so that frames are deleted.
- labels: PyTorch, convolutions over 16 frames of features; 8 labels that do not exclude one another; zeros.
- mlp: a pipeline of scikit-learn, 12 frames of features, 6 classes; gives probabilities alone; the mean frame.
- forest: trees of scikit-learn that regress one number on 12 frames of features; the mean frame.

Weights are random, or fitted to what is generated, and the same whenever they are made. Of every model there are two
functions of a user: `NAME_game` for this package, and `NAME_worths` for those that take a function of coalitions: bool
[N, T] -> float [N], the worth of one class. `lines_of` counts them.
"""

import ast
import contextlib
import dataclasses
import inspect
import textwrap
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, cast

import jax
import numpy as np

import esv_jax
from esv_jax.base import Attribution, Game, Host, identity
from esv_jax.benchmarks.black_box import OverBudget
from esv_jax.benchmarks.peers import Worths
from esv_jax.coalitions import masks

T, T_OF_SKLEARN = 16, 12
DIM, HIDDEN, CLASSES = 16, 32, 10
TRAINED_ON = 2000
# Of a table's coalitions in one call.
TABLE_BATCH = 256


class Case(NamedTuple):
    """A model, a video, and what its user writes.

    Attributes:
      model: as its package gives it.
      method: of the model, what is called with clips [N, ...] first.
      video: float32 [T, ...].
      empty: the worth of nobody [C]; None where the model is asked for it.
      game: empty -> the game of `model` for `esv_jax.explain`.
      worths: (model, video, empty, class) -> what other packages are given.
    """

    model: Any
    method: str
    video: np.ndarray
    empty: np.ndarray | None
    game: Callable[[Any], Game]
    worths: Callable[[Any, np.ndarray, Any, int], Worths]


class Table(NamedTuple):
    """Everything a model says: scores [2^T, C] by `index` of the coalition, and how these become worths."""

    scores: np.ndarray
    empty: np.ndarray
    game: Game

    def worths(self, target: int) -> np.ndarray:
        """float64 [2^T], of one class."""
        found = np.array(self.game.link(jax.numpy.asarray(self.scores)), np.float64)
        return np.concatenate([self.empty[None], found[1:]])[:, target]

    def of(self, mask: np.ndarray) -> np.ndarray:
        """Scores [N, C] of coalitions bool [N, T]."""
        return self.scores[index(mask)]


class Meter:
    """Counts and times the calls of a model.

    Attributes:
      evaluations: clips that the model was asked about.
      seconds: how long it took over them.
      calls: their arguments, where they are kept.
    """

    def __init__(self, budget: float = float("inf"), keep: bool = False):
        self._budget, self._keep = budget, keep
        self.evaluations, self.seconds, self.calls = 0, 0.0, list[tuple[Any, ...]]()

    @contextlib.contextmanager
    def watching(self, model: Any, method: str) -> Iterator[None]:
        """While it lasts, model.method(clips, ...) is counted; OverBudget where more is asked than allowed."""
        inner = getattr(model, method)

        def asked(clips: Any, *others: Any) -> Any:
            self.evaluations += len(clips)
            if self.evaluations > self._budget:
                raise OverBudget(f"asked for {self.evaluations} clips where {self._budget} were allowed")
            if self._keep:
                self.calls.append((clips, *others))
            start = time.perf_counter()
            said = inner(clips, *others)
            self.seconds += time.perf_counter() - start
            return said

        setattr(model, method, asked)
        try:
            yield
        finally:
            delattr(model, method)


def index(mask: np.ndarray) -> np.ndarray:
    """Numbers [N] of coalitions bool [N, T]: those of their bits."""
    return np.asarray(mask, bool) @ (1 << np.arange(mask.shape[1]))


def tabulated(case: Case) -> Table:
    """What the model says of all 2^T coalitions, asked through its game."""
    game = case.game(case.empty)
    form = dataclasses.replace(cast(Host, game.form), batch_size=TABLE_BATCH)
    of_scores = game._replace(link=identity, form=form)
    scores = np.asarray(esv_jax.worths(of_scores, case.model, case.video, masks.every(len(case.video))))
    return with_scores(case, scores)


def with_scores(case: Case, scores: np.ndarray) -> Table:
    """The table of what was said before; the game is one of the table, a model that takes masks [N, T] for clips."""
    game = case.game(case.empty)
    empty = np.asarray(game.link(jax.numpy.asarray(scores[:1])))[0] if game.empty is None else np.asarray(game.empty)
    table = esv_jax.host_game(_look_up, empty=empty, removal="attention_mask", link=game.link, batch_size=TABLE_BATCH)
    return Table(scores, empty, table)


def _look_up(of: Callable[[np.ndarray], np.ndarray], clips: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return of(mask)


def explained(game: Game, model: Any, video: np.ndarray, evaluations: int, seed: int) -> Attribution:
    """Ours. The model is asked once more about the whole video, and perhaps about nobody."""
    estimator = esv_jax.recommended(max_evaluations=evaluations - 2)
    return esv_jax.explain(estimator, game, model, video, key=jax.random.key(seed))


def lines_of(*functions: Callable[..., Any]) -> int:
    """Lines of code in the bodies, without docstrings, imports, comments and blank lines."""
    return sum(_lines(function) for function in functions)


def _lines(function: Callable[..., Any]) -> int:
    source = textwrap.dedent(inspect.getsource(function))
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    first = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    kept = [node for node in body[first:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    lines = source.splitlines()
    texts = [line.strip() for node in kept for line in lines[node.lineno - 1 : node.end_lineno]]
    return sum(bool(text) and not text.startswith("#") for text in texts)


def transformer() -> Case:
    """Two blocks of self-attention over the frames that are there; scores are of the mean over these."""
    import torch

    class Masked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layer = torch.nn.TransformerEncoderLayer(
                HIDDEN, 4, 2 * HIDDEN, dropout=0, batch_first=True, norm_first=True, activation="gelu"
            )
            self.enter = torch.nn.Linear(DIM, HIDDEN)
            self.position = torch.nn.Parameter(torch.zeros(T, HIDDEN))
            self.blocks = torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.leave = torch.nn.Linear(HIDDEN, CLASSES)

        def forward(self, clips: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            tokens = self.blocks(self.enter(clips) + self.position, src_key_padding_mask=~mask)
            present = mask[..., None].to(tokens.dtype)
            return self.leave((tokens * present).sum(dim=1) / present.sum(dim=1))

    model = _with_random_weights(Masked, seed=1, gain=1.5)
    return Case(model, "forward", _features(1, T), _prior(CLASSES), transformer_game, transformer_worths)


def transformer_game(empty: np.ndarray) -> Game:
    return esv_jax.torch_game(empty=empty, removal="attention_mask", layout="BTD", batch_size=64)


def transformer_worths(model: Any, video: np.ndarray, empty: np.ndarray, target: int) -> Worths:
    import torch

    def worths(mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits = model(torch.from_numpy(video).expand(len(mask), -1, -1), torch.from_numpy(mask))
        return np.where(mask.any(axis=1), logits.softmax(dim=1)[:, target].numpy(), empty[target])

    return worths


def videomae() -> Case:
    """Two layers on 8 x 4 tokens, each of two frames of 16 x 16 pixels."""
    import transformers

    sizes = dict(hidden_size=HIDDEN, intermediate_size=2 * HIDDEN, num_hidden_layers=2, num_attention_heads=2)
    options: Any = dict(sizes, num_frames=T, image_size=32, num_labels=CLASSES)
    config = transformers.VideoMAEConfig(**options)
    model = _with_random_weights(lambda: transformers.VideoMAEForVideoClassification(config), seed=2, gain=1.5)
    video = np.random.default_rng(2).normal(size=(T, 3, 32, 32)).astype(np.float32)
    return Case(model, "forward", video, _prior(CLASSES), videomae_game, videomae_worths)


def videomae_base() -> Case:
    """The configuration of VideoMAE base: 12 layers of 768 hidden units on 16 frames of 224 x 224."""
    import transformers

    options: Any = dict(num_labels=400)
    config = transformers.VideoMAEConfig(**options)
    model = _with_random_weights(lambda: transformers.VideoMAEForVideoClassification(config), seed=2, gain=1.0)
    video = np.random.default_rng(0).normal(size=(T, 3, 224, 224)).astype(np.float32)
    return Case(model, "forward", video, _prior(400), videomae_base_game, videomae_worths)


def videomae_game(empty: np.ndarray) -> Game:
    return esv_jax.torch_game(empty=empty, batch_size=64)


def videomae_base_game(empty: np.ndarray) -> Game:
    return esv_jax.torch_game(empty=empty, batch_size=4)


def videomae_worths(model: Any, video: np.ndarray, empty: np.ndarray, target: int) -> Worths:
    import torch

    distance = np.abs(np.arange(len(video))[:, None] - np.arange(len(video)))

    def worths(mask: np.ndarray) -> np.ndarray:
        nearest = np.where(mask[:, None], distance, len(video)).argmin(axis=2)
        with torch.inference_mode():
            logits = model(torch.from_numpy(video[nearest])).logits
        return np.where(mask.any(axis=1), logits.softmax(dim=1)[:, target].numpy(), empty[target])

    return worths


def gru() -> Case:
    """Two layers; scores are of the last state."""
    import torch

    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.states = torch.nn.GRU(DIM, HIDDEN, num_layers=2, batch_first=True)
            self.leave = torch.nn.Linear(HIDDEN, CLASSES)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            return self.leave(self.states(clips)[0][:, -1])

    model = _with_random_weights(Recurrent, seed=3, gain=2.0)
    return Case(model, "forward", _features(3, T), _prior(CLASSES), gru_game, gru_worths)


def gru_game(empty: np.ndarray) -> Game:
    return esv_jax.torch_game(empty=empty, removal="delete", layout="BTD", batch_size=64)


def gru_worths(model: Any, video: np.ndarray, empty: np.ndarray, target: int) -> Worths:
    import torch

    def worths(mask: np.ndarray) -> np.ndarray:
        found = np.full(len(mask), empty[target])
        for size in set(mask.sum(axis=1)) - {0}:
            rows = mask.sum(axis=1) == size
            clips = video[np.nonzero(mask[rows])[1].reshape(-1, size)]
            with torch.inference_mode():
                found[rows] = model(torch.from_numpy(clips)).softmax(dim=1)[:, target].numpy()
        return found

    return worths


def labels() -> Case:
    """Two convolutions over time, the mean over it, logits of labels."""
    import torch

    class Convolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv1d(DIM, HIDDEN, 3, padding=1)
            self.second = torch.nn.Conv1d(HIDDEN, HIDDEN, 5, padding=2)
            self.leave = torch.nn.Linear(HIDDEN, 8)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            hidden = self.second(self.first(clips.transpose(1, 2)).relu()).relu()
            return self.leave(hidden.mean(dim=2))

    model = _with_random_weights(Convolutions, seed=4, gain=1.5)
    return Case(model, "forward", _features(4, T), None, labels_game, labels_worths)


def labels_game(empty: None) -> Game:
    return esv_jax.torch_game(removal="zero", link="sigmoid", layout="BTD", batch_size=64)


def labels_worths(model: Any, video: np.ndarray, empty: None, target: int) -> Worths:
    import torch

    def worths(mask: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(video * mask[:, :, None])).sigmoid()[:, target].numpy()

    return worths


def labels_captum(model: Any, video: np.ndarray, target: int, evaluations: int, seed: int) -> np.ndarray:
    """KernelShap of clips rather than of coalitions: zeros are its baseline, and frames its features. Values [T]."""
    import torch
    from captum.attr import KernelShap

    torch.manual_seed(seed)
    explainer, frames = KernelShap(lambda clips: model(clips).sigmoid()), torch.arange(len(video))[None, :, None]
    options = dict(feature_mask=frames, n_samples=evaluations, perturbations_per_eval=64, return_input_shape=False)
    return explainer.attribute(torch.from_numpy(video)[None], target=target, **options)[0].numpy()


def mlp() -> Case:
    """Scaled features into a network of two hidden layers, fitted to the classes of a random network."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    clips, scores = _generated(5)
    model = make_pipeline(StandardScaler(), MLPClassifier((64, 64), max_iter=60, random_state=0, early_stopping=True))
    model.fit(clips[:-1], scores[:-1].argmax(axis=1))
    video = clips[-1].reshape(T_OF_SKLEARN, -1)
    return Case(model, "predict_proba", video, None, mlp_game, mlp_worths)


def mlp_game(empty: None) -> Game:
    predict = lambda model, clips: model.predict_proba(clips.reshape(len(clips), -1))  # noqa: E731
    return esv_jax.host_game(predict, removal="mean", batch_size=64)


def mlp_worths(model: Any, video: np.ndarray, empty: None, target: int) -> Worths:
    def worths(mask: np.ndarray) -> np.ndarray:
        clips = np.where(mask[:, :, None], video, video.mean(axis=0))
        return model.predict_proba(clips.reshape(len(clips), -1))[:, target]

    return worths


def forest() -> Case:
    """A hundred trees, fitted to a score of a random network."""
    from sklearn.ensemble import RandomForestRegressor

    clips, scores = _generated(6)
    model = RandomForestRegressor(100, random_state=0, max_features=0.3).fit(clips[:-1], scores[:-1, 0])
    video = clips[-1].reshape(T_OF_SKLEARN, -1)
    return Case(model, "predict", video, None, forest_game, forest_worths)


def forest_game(empty: None) -> Game:
    predict = lambda model, clips: model.predict(clips.reshape(len(clips), -1))  # noqa: E731
    return esv_jax.host_game(predict, removal="mean", batch_size=64)


def forest_worths(model: Any, video: np.ndarray, empty: None, target: int) -> Worths:
    def worths(mask: np.ndarray) -> np.ndarray:
        clips = np.where(mask[:, :, None], video, video.mean(axis=0))
        return model.predict(clips.reshape(len(clips), -1))

    return worths


def _features(seed: int, num_frames: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_frames, DIM)).astype(np.float32)


def _prior(num_classes: int) -> np.ndarray:
    return np.full(num_classes, 1 / num_classes, np.float32)


def _with_random_weights(make: Callable[[], Any], seed: int, gain: float) -> Any:
    """The module in eval mode, its matrices normal with the deviation gain / sqrt(inputs): scores then vary."""
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = make()
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                inputs = 1 if "position" in name else weight[0].numel()
                weight.normal_(0, gain / inputs**0.5)
    return model.eval()


def _generated(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clips float32 [N + 1, T D] and scores [N + 1, 6] of them: a random network of neighbouring frames."""
    rng = np.random.default_rng(seed)
    clips = rng.normal(size=(TRAINED_ON + 1, T_OF_SKLEARN, 4))
    pairs = np.concatenate([clips[:, 1:], clips[:, :-1]], axis=2)
    hidden = np.tanh(pairs @ rng.normal(size=(8, 24))).mean(axis=1)
    return clips.reshape(len(clips), -1).astype(np.float32), hidden @ rng.normal(size=(24, 6))


CASES: dict[str, Callable[[], Case]] = {
    "transformer": transformer,
    "videomae": videomae,
    "gru": gru,
    "labels": labels,
    "mlp": mlp,
    "forest": forest,
}

"""What the factories of games are given: functions that hold nothing, worths of nobody, and what functions return."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import esv_jax
from esv_jax import baselines
from tests import oracles

D, C = 3, 2
HALF = np.full(C, 0.5, np.float32)
W = np.random.default_rng(0).normal(size=(D, C)).astype(np.float32)
VIDEO = np.random.default_rng(1).normal(size=(4, D)).astype(np.float32)


def mean_scores(params, clips):
    return jax.nn.softmax(jnp.tanh(clips).mean(axis=1) @ params)


def scores_by(weights):
    return lambda params, clips: mean_scores(weights, clips)


class Model:
    """Predicts as objects do."""

    def __init__(self, weights):
        self.weights = weights

    def predict(self, params, clips):
        return mean_scores(self.weights, clips)

    @functools.partial(jax.jit, static_argnums=0)
    def compiled(self, params, clips):
        return self.predict(params, clips)

    __call__ = predict


class Slots:
    __slots__ = ("weights",)

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, params, clips):
        return mean_scores(self.weights, clips)


class Net(nn.Module):
    @nn.compact
    def __call__(self, clips, train=False):
        return nn.softmax(nn.Dense(C)(nn.relu(clips.mean(axis=1))))


NET = Net()
VARIABLES = NET.init(jax.random.key(0), jnp.zeros((1, 2, D)))


def with_default(params, clips, weights=W):
    return mean_scores(weights, clips)


def with_keyword(params, clips, *, weights=W):
    return mean_scores(weights, clips)


@functools.wraps(mean_scores)
def wrapping(params, clips):
    return mean_scores(params, clips)


def rescaled(scale):
    @functools.wraps(mean_scores)
    def function(params, clips):
        return mean_scores(params, clips) * scale

    return function


def of_module(module):
    return lambda params, clips: module(clips)


HOLDING = {
    "a bound method": Model(W).predict,
    "a compiled bound method": Model(W).compiled,
    "a callable object": Model(jnp.asarray(W)),
    "an object of slots": Slots(W),
    "a closure over NumPy": scores_by(W),
    "a closure over JAX": scores_by(jnp.asarray(W)),
    "a closure over a tree": scores_by({"layer": [W]}),
    "a closure over an object": scores_by(Model(W)),
    "a closure over such a function": of_module(scores_by(W)),
    "a partial": functools.partial(lambda weights, params, clips: mean_scores(weights, clips), W),
    "a partial by name": functools.partial(with_keyword, weights=jnp.asarray(W)),
    "a default": with_default,
    "a default of a keyword": with_keyword,
    "a decorated function": rescaled(W[0]),
    "a compiled closure": jax.jit(scores_by(W)),
    "a vectorised closure": jax.vmap(scores_by(W), (None, 0)),
    "a module with its variables": NET.bind(VARIABLES).__call__,
    "a closure over such a module": of_module(NET.bind(VARIABLES)),
    "a closure over variables": scores_by((NET, VARIABLES)),
    "a module of nnx": of_module(nnx.Linear(D, C, rngs=nnx.Rngs(0))),
}
FREE = {
    "a function": mean_scores,
    "a compiled function": jax.jit(mean_scores),
    "a wrapping function": wrapping,
    "a flax module's apply": NET.apply,
    "a compiled apply": jax.jit(NET.apply, static_argnames="train"),
    "a partial of options": functools.partial(NET.apply, train=False),
    "a closure over a module": lambda params, clips, net=NET: net.apply(params, clips),
    "a sequence of layers": nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(C)]).apply,
    "a closure over numbers": rescaled(2.0),
    "a closure over functions": of_module(jax.nn.softmax),
    "a vectorised function": jax.vmap(mean_scores, (None, 0)),
}
FACTORIES = {
    "predict": lambda function: esv_jax.clip_game(function, empty=HALF),
    "frame_logits": lambda function: esv_jax.frame_mean_game(function, empty=HALF),
    "fns[1]": lambda function: esv_jax.multiscale_game([mean_scores, function], empty=HALF),
    "to_features": lambda function: baselines.activation_game(esv_jax.clip_game(mean_scores, empty=HALF), function),
}


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("kind", HOLDING)
def test_functions_that_hold_arrays_are_refused(name, kind):
    with pytest.raises(esv_jax.InputError) as raised:
        FACTORIES[name](HOLDING[kind])
    told = str(raised.value)
    assert told.startswith(f"{name} holds arrays of its own (")
    assert told.endswith(f"would not see change: pass them as params, {name} = lambda params, x: ...")
    assert "\n" not in told


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("kind", FREE)
def test_functions_that_hold_none_are_taken(name, kind):
    FACTORIES[name](FREE[kind])


def test_what_a_module_says_follows_its_variables():
    game = esv_jax.clip_game(NET.apply, empty=HALF)
    for scale in (1.0, -2.0):
        variables = jax.tree.map(lambda a, scale=scale: scale * a, VARIABLES)
        found = esv_jax.worths(game, variables, VIDEO, np.ones((1, 4), bool))
        dense = jax.tree.map(lambda a: np.asarray(a, np.float64), variables["params"]["Dense_0"])
        hidden = np.maximum(VIDEO.astype(np.float64).mean(axis=0), 0)
        np.testing.assert_allclose(found[0], oracles.softmax(hidden @ dense["kernel"] + dense["bias"]), atol=1e-6)


NOT_SHARES = {
    "negative": ([-0.5, 1.5], "none negative and of sum 1, found the least -0.5 and the sum 1"),
    "of sum 3": ([1.0, 2.0], "none negative and of sum 1, found the least 1 and the sum 3"),
    "of sum 0.5": ([0.2, 0.3], r"found the least 0.2 and the sum 0\.5"),
    "logits": ([-1.0, 2.0], "probabilities"),
    "NaN": ([0.5, np.nan], "empty should be finite, found 1 NaN or infinite values of 2, the first at index"),
    "infinite": ([np.inf, 0.0], "empty should be finite"),
}
MODEL = esv_jax.models.TSN(num_classes=C)
TRN = esv_jax.models.MultiscaleTRN(num_scales=2, hidden_dim=3, num_classes=C)
OF_SOFTMAX = {
    "frame_mean_game": lambda empty: esv_jax.frame_mean_game(mean_scores, empty=empty),
    "multiscale_game": lambda empty: esv_jax.multiscale_game([mean_scores], empty=empty),
    "multiscale_game, of scores": lambda empty: esv_jax.multiscale_game([mean_scores], empty=empty, average="scores"),
    "tsn_game": lambda empty: esv_jax.tsn_game(MODEL, empty=empty),
    "trn_game": lambda empty: esv_jax.trn_game(TRN, empty=empty),
}
OF_ANY = {
    "clip_game": lambda empty: esv_jax.clip_game(mean_scores, empty=empty),
    "host_game": lambda empty: esv_jax.host_game(mean_scores, empty=empty, removal="delete"),
}


@pytest.mark.parametrize("name", [*OF_SOFTMAX, *OF_ANY])
@pytest.mark.parametrize("kind", NOT_SHARES)
def test_the_worth_of_nobody(name, kind):
    values, message = NOT_SHARES[kind]
    factory = {**OF_SOFTMAX, **OF_ANY}[name]
    for empty in (values, np.asarray(values, np.float32), np.asarray(values, ">f4"), jnp.asarray(values)):
        if name in OF_ANY and np.isfinite(values).all():
            np.testing.assert_allclose(factory(empty).empty, values, rtol=1e-7)
        else:
            with pytest.raises(esv_jax.InputError, match=message):
                factory(empty)


@pytest.mark.parametrize("name", [*OF_SOFTMAX, *OF_ANY])
def test_the_shape_and_kind_of_the_worth_of_nobody(name):
    factory = {**OF_SOFTMAX, **OF_ANY}[name]
    for empty, message in [
        (HALF[None], r"empty should have shape \[C\], found \[1, 2\]"),
        (np.float32(1), r"empty should have shape \[C\], found \[\]"),
        (np.array([0, 1]), "empty should be floating point, found int"),
        (np.ma.masked_array(HALF, [True, False]), "empty should be a plain array, found a masked one"),
        ("0.5, 0.5", "empty should be arrays of numbers, found str"),
        (np.array(["0.5", "0.5"]), "empty should be arrays of numbers"),
    ]:
        with pytest.raises(esv_jax.InputError, match=message):
            factory(empty)
    for rounded in (np.array([0.333, 0.666], np.float32), [0.5, 0.5], (0.0, 1.0)):
        np.testing.assert_allclose(factory(rounded).empty, rounded, atol=1e-7)


def by_a_callback(params, clips):
    shape = jax.ShapeDtypeStruct((clips.shape[0], C), jnp.float32)
    of_host = functools.partial(np.asarray, dtype=np.float32)
    return jax.pure_callback(lambda p, c: of_host(mean_scores(p, c)), shape, params, clips, vmap_method="sequential")


def as_float(params, clips):
    return jnp.asarray([[float(x) for x in row] for row in mean_scores(params, clips)])


def by_branches(params, clips):
    return mean_scores(params, clips) if clips.sum() > 0 else mean_scores(-params, clips)


def of_numpy(params, clips):
    return oracles.softmax(np.tanh(np.asarray(clips)).mean(axis=1) @ np.asarray(params))


def of_torch(params, clips):
    return clips.mean(axis=1).numpy() @ params


ONE_ARRAY = r"what predict returns should be one array of scores \[4, C\], found {}: return the scores alone"
SHAPE = r"what predict returns should have shape \[4, C\], found {}"
FLOATING = "what predict returns should be floating point, found {}"
TRACED = r"predict should be a function that JAX can trace, .*: explain it as a esv_jax\.host_game"
WRONG = {
    "a tuple": (lambda p, c: (mean_scores(p, c), c.mean(axis=1)), ONE_ARRAY.format("tuple")),
    "a tuple of equals": (lambda p, c: (mean_scores(p, c),) * 2, ONE_ARRAY.format("tuple")),
    "a dict": (lambda p, c: {"scores": mean_scores(p, c)}, ONE_ARRAY.format("dict")),
    "a list": (lambda p, c: [mean_scores(p, c)], ONE_ARRAY.format("list")),
    "None": (lambda p, c: None, ONE_ARRAY.format("NoneType")),
    "a number": (lambda p, c: 0.5, ONE_ARRAY.format("float")),
    "one number a clip": (lambda p, c: mean_scores(p, c)[:, 0], SHAPE.format(r"\[4\]")),
    "one number": (lambda p, c: mean_scores(p, c).sum(), SHAPE.format(r"\[\]")),
    "integers": (lambda p, c: (100 * mean_scores(p, c)).astype(jnp.int32), FLOATING.format("int32")),
    "booleans": (lambda p, c: mean_scores(p, c) > 0.5, FLOATING.format("bool")),
    "complex": (lambda p, c: mean_scores(p, c).astype(jnp.complex64), FLOATING.format("complex64")),
    "another number of classes": (lambda p, c: mean_scores(p, c)[:, :1], r"worths should have shape \[.*, 2\], found"),
    "of NumPy": (of_numpy, TRACED),
    "as of PyTorch": (of_torch, TRACED),
    "of Python's floats": (as_float, TRACED),
    "of Python's branches": (by_branches, TRACED),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_function_returns(kind):
    function, message = WRONG[kind]
    game = esv_jax.clip_game(function, empty=HALF)
    mask = np.eye(4, dtype=bool)
    for ask in (
        lambda: esv_jax.explain(esv_jax.exact(), game, W, VIDEO),
        lambda: esv_jax.explain(esv_jax.regression(max_evaluations=13), game, W, VIDEO, key=jax.random.key(0)),
        lambda: esv_jax.explain_batch(esv_jax.exact(), game, W, VIDEO[None]),
        lambda: esv_jax.worths(game, W, VIDEO, mask),
        lambda: baselines.explain(baselines.frame_alone(), game, W, VIDEO),
    ):
        with pytest.raises(esv_jax.InputError, match=message.replace("[4", r"[\d+")) as raised:
            ask()
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["frame_logits", "fns[1]"])
@pytest.mark.parametrize("kind", ["a tuple", "None", "of NumPy"])
def test_the_other_games_say_the_same_of_their_functions(name, kind):
    function, message = WRONG[kind]
    if name == "frame_logits":
        function = functools.partial(lambda function, p, video: function(p, video[:, None]), function)
    message = message.replace("predict", name.replace("[", r"\[").replace("]", r"\]")).replace("[4, C", r"[\d+, .")
    with pytest.raises(esv_jax.InputError, match=message):
        esv_jax.explain(esv_jax.exact(), FACTORIES[name](function), W, VIDEO)


def test_scores_of_the_host_by_a_callback_are_taken():
    found = esv_jax.explain(esv_jax.exact(), esv_jax.clip_game(by_a_callback, empty=HALF), W, VIDEO)
    worth = lambda s: of_numpy(W, VIDEO[None, list(s)].astype(np.float64))[0] if s else HALF  # noqa: E731
    np.testing.assert_allclose(found.values, oracles.permutation_shapley(worth, 4), atol=1e-6)

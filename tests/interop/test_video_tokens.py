"""Tokens that classifiers leave out, against models that never had them. Needs PyTorch and transformers."""

import copy

import numpy as np
import pytest

import esv_jax
from esv_jax import InputError, players

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

T, C = 8, 3
EMPTY = np.full(C, 1 / C, np.float32)
VIDEO = np.random.default_rng(0).normal(size=(T, 3, 32, 32)).astype(np.float32)
SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3, "num_labels": C}
KINDS = {
    "videomae": ("VideoMAE", {"num_frames": T, "image_size": 32, "patch_size": 16, "intermediate_size": 32}),
    "vivit": ("Vivit", {"num_frames": T, "image_size": 32, "tubelet_size": [2, 16, 16], "intermediate_size": 32}),
    "vjepa2": ("VJEPA2", {"frames_per_clip": T, "crop_size": 32, "num_pooler_layers": 1, "mlp_ratio": 2.0}),
    "timesformer": ("Timesformer", {"num_frames": T, "image_size": 32, "patch_size": 16, "intermediate_size": 32}),
}
TUBELET = {"timesformer": 1}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def made(kind, **changed):
    name, options = KINDS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SIZES | options | changed)
    model = getattr(transformers, f"{name}ForVideoClassification")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # position embeddings and others that begin with zeros
                parameter.normal_(0, 0.5)
    return model


def of_these(kind, model, times):
    """A model without the other times, given the frames of these alone."""
    size = TUBELET.get(kind, 2)
    frames = torch.from_numpy(VIDEO[np.ravel([range(t * size, (t + 1) * size) for t in times])])[None]
    if kind == "vjepa2":
        return without_columns(model, times)
    other = made(kind, num_frames=size * len(times))
    state = copy.deepcopy(model.state_dict())
    if kind == "timesformer":
        state["timesformer.embeddings.time_embeddings"] = state["timesformer.embeddings.time_embeddings"][:, times]
    if kind == "vivit":
        places = [0, *(1 + 4 * t + i for t in times for i in range(4))]
        name = "vivit.embeddings.position_embeddings"
        state[name] = state[name][:, places]
    other.load_state_dict(state)
    if kind == "videomae":
        places = [4 * t + i for t in times for i in range(4)]
        table = model.videomae.embeddings.position_embeddings
        other.videomae.embeddings.position_embeddings = table[:, places]
    with torch.inference_mode():
        return other(frames).logits[0].numpy()


def without_columns(model, times):
    """V-JEPA 2 of the whole video, where no token attends to those that are left out."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    seen = torch.zeros(16, dtype=torch.bool)
    for time in times:
        seen[4 * time : 4 * time + 4] = True

    def attention(module, query, key, value, mask, scaling, **_):
        weights = query @ key.transpose(2, 3) * scaling
        if key.shape[2] == 16:
            weights = weights.masked_fill(~seen, float("-inf"))
        return (weights.softmax(dim=-1) @ value).transpose(1, 2).contiguous(), None

    ALL_ATTENTION_FUNCTIONS["without_columns"] = attention
    other = copy.deepcopy(model)
    other.config._attn_implementation = "without_columns"
    for module in other.modules():
        if hasattr(module, "config"):
            module.config._attn_implementation = "without_columns"
    with torch.inference_mode():
        return other(torch.from_numpy(VIDEO)[None]).logits[0].numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_left_out_as_if_they_had_never_been(kind):
    model, size = made(kind), TUBELET.get(kind, 2)
    game = esv_jax.grouped(esv_jax.torch_game(empty=EMPTY, removal="tokens"), players.tubelets(T, size))
    num = T // size
    mask = np.array([[t in times for t in range(num)] for times in ([0], [num - 1], [0, 2], [1, 3], list(range(num)))])
    found = np.asarray(esv_jax.worths(game, model, VIDEO, mask))
    for row, worth in zip(mask, found, strict=True):
        scores = of_these(kind, model, np.flatnonzero(row).tolist())
        np.testing.assert_allclose(worth, np.exp(scores) / np.exp(scores).sum(), atol=1e-5)
    with torch.inference_mode():
        scores = model(torch.from_numpy(VIDEO)[None]).logits[0].numpy()
    np.testing.assert_allclose(found[-1], np.exp(scores) / np.exp(scores).sum(), atol=1e-5)
    if kind == "timesformer":
        assert model.config.num_frames == T


def test_a_timesformer_that_is_not_told_mixes_space_and_time():
    model = made("timesformer")
    with torch.inference_mode():
        untold = model(torch.from_numpy(VIDEO[:4])[None]).logits[0].numpy()
    game = esv_jax.torch_game(empty=EMPTY, removal="tokens", link="identity")
    told = esv_jax.worths(game, model, VIDEO, (np.arange(T) < 4)[None])[0]
    assert np.abs(told - untold).max() > 0.01


def test_videomae_says_what_its_own_masks_say():
    model = made("videomae")
    hidden = torch.ones(1, 16, dtype=torch.bool)
    hidden[:, 4:12] = False
    with torch.inference_mode():
        states = model.videomae(torch.from_numpy(VIDEO)[None], hidden).last_hidden_state
        scores = model.classifier(model.fc_norm(states.mean(1)))[0].numpy()
    game = esv_jax.torch_game(empty=EMPTY, removal="tokens", link="identity")
    mask = np.isin(np.arange(T), [2, 3, 4, 5])[None]
    np.testing.assert_allclose(esv_jax.worths(game, model, VIDEO, mask)[0], scores, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_values_add_up(kind):
    game = esv_jax.torch_game(empty=EMPTY, removal="tokens")
    game = esv_jax.grouped(game, players.segments(T, 4))
    out = esv_jax.explain(esv_jax.exact(), game, made(kind), VIDEO)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-5)


def test_what_cannot_be_left_out_is_refused():
    game = esv_jax.torch_game(empty=EMPTY, removal="tokens")
    with pytest.raises(InputError, match=r"whole tubelets of 2 frames, found a part of one: esv_jax\.grouped"):
        esv_jax.explain(esv_jax.exact(), game, made("videomae"), VIDEO)
    with pytest.raises(
        InputError, match=r"is for videomae, vivit, vjepa2, timesformer of transformers .*, found Linear"
    ):
        esv_jax.explain(esv_jax.exact(), game, torch.nn.Linear(2, 2), VIDEO)
    with pytest.raises(InputError, match="found attention 'space_only'"):
        esv_jax.explain(esv_jax.exact(), game, made("timesformer", attention_type="space_only"), VIDEO)
    with pytest.raises(InputError, match="empty should be given, the worth of nobody"):
        esv_jax.torch_game(removal="tokens")
    model = made("vivit")
    model.vivit.embeddings.register_forward_hook(lambda module, args, out: out * 1.01)
    with pytest.raises(InputError, match="should say the same of its own tokens as of the video, found logits that"):
        esv_jax.explain(esv_jax.exact(), game, model, VIDEO)

"""Games of PyTorch modules, as they are: the model stays where it is and what it is."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from esv_jax import checks
from esv_jax.base import Game, Link
from esv_jax.games.host import host_game
from esv_jax.games.removals import made
from esv_jax.interop import layouts
from esv_jax.interop.evaluation import in_eval
from esv_jax.interop.video_tokens import tokens_game


def torch_game(
    *,
    empty: Any = None,
    removal: Any = "nearest",
    link: str | Link = "softmax",
    layout: str = "BTCHW",
    dtype: Any = None,
    output: Callable[[Any], Any] | None = None,
    batch_size: int = 8,
    check: bool = True,
) -> Game:
    """`host_game` of a `torch.nn.Module`, which `explain` is given as params; Hugging Face's models are such.

    The video is an array or tensor [T, ...], its other axes in the order that `layout` says. It is asked in eval mode
    (modules are put back into their own), in inference mode, on the device of the parameters, which are not moved.

    Args:
      empty, removal, batch_size, check: as for `host_game`. One removal more, "tokens": removed frames are left out of
        what the model's layers see, exactly and faster, in VideoMAE, ViViT, V-JEPA 2 and TimeSformer of transformers;
        where models see two frames as one, for `grouped(game, players.tubelets(T, 2))`.
      link: "softmax", as models give logits as a rule; or as for `host_game`.
      layout: the axes of what the model takes: B and T, and as there are: C, H, W of images, D of features. "BTCHW" for
        most of Hugging Face's, "BCTHW" for those of torchvision; videos are [T, C, H, W] with both.
      dtype: of the numbers that the model is given; None: that of its parameters.
      output: what the model returns -> scores [N, C], if that is not obvious: lambda out: out[:, -1].

    Raises:
      InputError: an argument is none of these.
    """
    layouts.check(layout)
    if isinstance(removal, str) and removal == "tokens":
        return tokens_game(
            empty=empty, link=link, layout=layout, dtype=dtype, output=output, batch_size=batch_size, check=check
        )
    removal = layouts.of_removal(removal, layout)
    predict = functools.partial(_predict, layout, dtype, output, made(removal).show is None)
    return host_game(predict, empty=empty, removal=removal, link=link, batch_size=batch_size, check=check)


def _predict(
    layout: str,
    dtype: Any,
    output: Callable[[Any], Any] | None,
    is_masked: bool,
    model: Any,
    clips: np.ndarray,
    mask: np.ndarray | None = None,
) -> Any:
    torch = checks.require("torch", extra="torch")
    if not isinstance(model, torch.nn.Module):
        raise checks.InputError(f"the model should be a torch.nn.Module, found {type(model).__name__}")
    ordered = layouts.ordered(clips, layout)
    parameter = next(model.parameters(), torch.zeros(0))
    tensor = torch.from_numpy(ordered).to(parameter.device, dtype or parameter.dtype)
    masks = [torch.from_numpy(np.array(mask)).to(parameter.device)] if is_masked else []
    with in_eval(model), torch.inference_mode():
        said = model(tensor, *masks)
        return said if output is None else output(said)

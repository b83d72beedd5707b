"""Small video-language models with random weights, each with what its processor would make of frames and a question."""

from typing import Any, NamedTuple

import numpy as np

NUM_TOKENS = 320
SPECIAL = (
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|video_pad|>",
    "<|image_pad|>",
    "<video>",
    "<image>",
    "<img>",
    "</img>",
    "<IMG_CONTEXT>",
    "<fake_token_around_image>",
    "<global-img>",
)
QUESTION = "What does she take first?"
OPTIONS = ("a red cup", "the hat", "nothing")
TEXT = "{video}" + QUESTION + "\n" + "".join(f"{c}. {o}\n" for c, o in zip("ABC", OPTIONS, strict=True))
FRAMES = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
LM = {
    "vocab_size": NUM_TOKENS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "max_position_embeddings": 4096,
}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


class Case(NamedTuple):
    """A model, its tokenizer, how many frames of `FRAMES` it sees as one, and `inputs(frames seen, words, ...)`.

    `inputs(shown)` are of the frames (as the model sees them) whose numbers are in `shown`, in a prompt with `text`.
    """

    model: Any
    tokenizer: Any
    merged: int
    inputs: Any


def tokenizer():
    """A token a byte, and special ones."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    of_bytes = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    of_bytes.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    of_bytes.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=of_bytes, additional_special_tokens=list(SPECIAL))


def case(name, **options):
    import torch

    torch.manual_seed(0)
    tok = tokenizer()
    model, merged, inputs = MAKERS[name]({t: tok.convert_tokens_to_ids(t) for t in SPECIAL}, tok, **options)
    return Case(model.eval(), tok, merged, inputs)


def chat(tok, text, video):
    prompt = f"<|im_start|>user\n{text.format(video=video)}<|im_end|>\n<|im_start|>assistant\n"
    return tok(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]


def patches(frames, patch, merge):
    """[T, C, H, W] -> Qwen's [T / 2 h w, C 2 patch patch], and (t, h, w)."""
    import torch

    num, channels, height, width = frames.shape
    t, h, w = num // 2, height // patch, width // patch
    parts = frames.reshape(t, 2, channels, h // merge, merge, patch, w // merge, merge, patch)
    flat = parts.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, -1)
    return torch.from_numpy(flat.copy()), torch.tensor([[t, h, w]])


class Processor:
    """In place of Qwen's, which needs torchvision: of images of 32 x 32."""

    def __init__(self, of):
        self.tokenizer, self._of = of.tokenizer, of

    def apply_chat_template(self, said, *, tokenize, add_generation_prompt):
        ((_, text),) = [part["content"] for part in said]
        assert add_generation_prompt
        assert not tokenize
        return "{video}" + text["text"]

    def __call__(self, *, text, videos, video_metadata, **options):
        assert options == {"do_sample_frames": False, "return_tensors": "pt"}
        assert len(video_metadata[0]["frames_indices"]) == len(videos[0])
        frames = np.stack(videos[0]).transpose(0, 3, 1, 2).astype(np.float32) / 128 - 1
        return self._of.inputs(range(len(frames) // 2), text[0], frames)


def pairs(shown):
    return np.ravel([[2 * i, 2 * i + 1] for i in shown]).astype(int)


def qwen(ids, tok, *, kind="Qwen2_5_VL", dtype=None, text=LM, vision=None, patch=8):
    import torch
    import transformers

    # Time, height and width have a part of the 4 pairs of a head each.
    rope = {"rope_type": "default", "type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
    if text is not LM:
        sections = text["hidden_size"] // text["num_attention_heads"] // 8
        rope["mrope_section"] = [2 * sections, sections, sections]
    text, given = text | {"rope_scaling": rope, "rope_parameters": rope}, vision or {}
    vision = {"depth": 2, "num_heads": 4, "patch_size": patch, "spatial_merge_size": 2, "in_channels": 3}
    if kind == "Qwen2_5_VL":
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32, "window_size": 32}
        vision |= {"fullatt_block_indexes": [1], "initializer_range": 0.2}
    elif kind == "Qwen2VL":
        vision |= {"embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2, "initializer_range": 0.2}
    else:
        text |= {"head_dim": 8}
        vision |= {"hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 32, "num_position_embeddings": 16}
        vision |= {"deepstack_visual_indexes": [0, 1], "initializer_range": 0.2}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text,
        vision_config=vision | given,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    if dtype is not None:
        model = model.to(dtype)

    def inputs(shown, text=TEXT, frames=FRAMES):
        of_frame = "<|video_pad|>" * (frames.shape[2] // patch // 2) ** 2
        video = "<|vision_start|>" + of_frame * len(shown) + "<|vision_end|>"
        if kind == "Qwen3VL":
            video = "".join(f"<{7.5 + 2 * i:.1f} seconds><|vision_start|>{of_frame}<|vision_end|>" for i in shown)
        input_ids = chat(tok, text, video if len(shown) else "")
        found = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        found["mm_token_type_ids"] = 2 * (input_ids == config.video_token_id).int()
        if len(shown):
            values, grid = patches(frames[pairs(shown)], patch, 2)
            found |= {"pixel_values_videos": values, "video_grid_thw": grid}
            if kind == "Qwen2_5_VL":
                found["second_per_grid_ts"] = torch.tensor([2.0])
        return _known(model, found)

    return model, 2, inputs


def _known(model, found):
    """But what the model does not take: other versions of transformers."""
    import inspect

    takes = inspect.signature(model.forward).parameters
    return {name: value for name, value in found.items() if name in takes}


def llava(ids, tok, *, kind="LlavaOnevision"):
    import torch
    import transformers

    is_onevision = kind == "LlavaOnevision"
    vision = VISION | {"image_size": 32, "patch_size": 8, "initializer_range": 0.2, "initializer_factor": 10.0}
    config = getattr(transformers, f"{kind}Config")(
        text_config=LM | {"model_type": "qwen2" if is_onevision else "llama"},
        vision_config=vision | {"model_type": "siglip_vision_model" if is_onevision else "clip_vision_model"},
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=[[32, 32]],
        vision_feature_layer=-1,
    )
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)

    def inputs(shown, text=TEXT):
        video = "<video>" * (4 * len(shown) + is_onevision) + "\n"
        input_ids = chat(tok, text, video if len(shown) else "\n")
        found = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if len(shown):
            found["pixel_values_videos"] = torch.from_numpy(FRAMES[shown])[None]
        return found

    return model, 1, inputs


def smolvlm(ids, tok):
    import torch
    import transformers

    config = transformers.SmolVLMConfig(
        text_config=LM | {"model_type": "llama"},
        vision_config=VISION | {"image_size": 32, "patch_size": 8, "initializer_range": 0.2},
        image_token_id=ids["<image>"],
        scale_factor=2,
    )
    model = transformers.SmolVLMForConditionalGeneration(config)

    def inputs(shown, text=TEXT):
        around = "<fake_token_around_image>"
        of_frame = f"{around}<global-img>" + "<image>" * 4 + around
        video = "".join(f"\nFrame from 00:{7 + i:02d}:{of_frame}" for i in shown)
        input_ids = chat(tok, text, f"See this.\n{video}\n\n")
        found = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if len(shown):
            found["pixel_values"] = torch.from_numpy(FRAMES[shown])[None]
        return found

    return model, 1, inputs


def internvl(ids, tok):
    import torch
    import transformers

    config = transformers.InternVLConfig(
        text_config=LM | {"model_type": "qwen2"},
        vision_config=VISION | {"image_size": [32, 32], "patch_size": [8, 8], "initializer_range": 0.2},
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    model = transformers.InternVLForConditionalGeneration(config)

    def inputs(shown, text=TEXT):
        video = "\n".join(f"Frame{i + 1}: <img>{'<IMG_CONTEXT>' * 4}</img>" for i in shown)
        input_ids = chat(tok, text, f"{video}\n" if len(shown) else "")
        found = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if len(shown):
            found["pixel_values"] = torch.from_numpy(FRAMES[shown])
        return found

    return model, 1, inputs


def videollama(ids, tok):
    import torch
    import transformers

    config = transformers.VideoLlama3Config(
        text_config=LM | {"model_type": "qwen2"},
        vision_config=VISION | {"patch_size": 8, "initializer_range": 0.2},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
    )
    model = transformers.VideoLlama3ForConditionalGeneration(config)
    # Of 4 tokens a frame those that its processor takes for changed.
    changed = np.random.default_rng(1).random((len(FRAMES), 4)) < 0.6
    changed[:, 0] = True

    def inputs(shown, text=TEXT):
        frames = FRAMES[shown]
        parts = frames.reshape(len(shown), 3, 2, 2, 8, 2, 2, 8).transpose(0, 2, 5, 3, 6, 1, 4, 7)
        video = ",".join(f"Time {7 + i}.0s:{'<|video_pad|>' * changed[i].sum()}" for i in shown)
        input_ids = chat(tok, text, f"{video}\n" if len(shown) else "\n")
        found = {"input_ids": input_ids, "attention_mask": torch.ones_like(input_ids)}
        if len(shown):
            found |= {
                "pixel_values_videos": torch.from_numpy(parts.reshape(len(shown) * 16, -1).copy()),
                "video_grid_thw": torch.tensor([[len(shown), 4, 4]]),
                "video_merge_sizes": torch.tensor([2]),
                "video_compression_mask": torch.from_numpy(changed[shown].reshape(-1)),
            }
        return found

    return model, 1, inputs


MAKERS = {
    "qwen2_5_vl": qwen,
    "qwen2_vl": lambda ids, tok: qwen(ids, tok, kind="Qwen2VL"),
    "qwen3_vl": lambda ids, tok: qwen(ids, tok, kind="Qwen3VL"),
    "llava_onevision": llava,
    "llava_next_video": lambda ids, tok: llava(ids, tok, kind="LlavaNextVideo"),
    "smolvlm": smolvlm,
    "internvl": internvl,
    "video_llama_3": videollama,
}

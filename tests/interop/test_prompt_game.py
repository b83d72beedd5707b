"""Prompts of video-language models against the models themselves. Needs PyTorch and transformers."""

import functools
import itertools
import math

import numpy as np
import pytest

import esv_jax
from esv_jax import InputError, players
from esv_jax.interop import Prompt, first_look, generated
from tests.interop import vlms

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

KINDS = [name for name in vlms.MAKERS if name != "video_llama_3" or hasattr(transformers, "VideoLlama3Config")]
LETTERS = "ABC"
WORDS = ["What", "does", "she", "take", "first?"]
OPTION_WORDS = ["a", "red", "cup", "the", "hat", "nothing"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cases():
    """Of each kind, made once: (case, prompt of all of its frames)."""
    made = {}

    def of(kind):
        if kind not in made:
            case = vlms.case(kind)
            made[kind] = case, Prompt(case.model, case.inputs(everyone(case)), processor=case.tokenizer)
        return made[kind]

    return of


def everyone(case):
    return list(range(len(vlms.FRAMES) // case.merged))


def native(case, inputs):
    with torch.inference_mode():
        return case.model(**inputs).logits[0].numpy()


def of_letters(case, logits):
    return logits[..., [case.tokenizer.convert_tokens_to_ids(letter) for letter in LETTERS]]


def all_players(prompt):
    return prompt.frames() + prompt.words("question") + prompt.words("options")


def masks_of(prompt, shown):
    """[1, P]: all words, and the frames that are shown."""
    mask = np.ones((1, len(all_players(prompt))), bool)
    mask[0, : len(prompt.video["frames"])] = np.isin(range(len(prompt.video["frames"])), shown)
    return mask


def asked(game, case, prompt):
    """masks [N, E] -> logits [N, C]."""
    return functools.partial(game.logits, game.prepare(case.model, prompt.video))


def logits_of(game, case, prompt, mask):
    return asked(game, case, prompt)(mask)


def letters_game(prompt, **options):
    return esv_jax.prompt_game(prompt, all_players(prompt), letters=LETTERS, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_slicing_is_dropping_frames_and_encoding_again(cases, kind):
    case, prompt = cases(kind)
    frames, ids = everyone(case), prompt.inputs["input_ids"][0].numpy()
    close, keep = (asked(letters_game(prompt, positions=name), case, prompt) for name in ("close", "keep"))
    for shown in [frames, frames[1:], frames[:1], frames[-1:], frames[1:3], [0, 2], []]:
        inputs, mask = case.inputs(shown), masks_of(prompt, shown)
        parts = players.parts_of(players.lengths_of(prompt.video))
        kept = prompt.kept({name: mask[:, part] for name, part in parts.items()})
        np.testing.assert_array_equal(ids[kept[0]], inputs["input_ids"][0])
        expected = of_letters(case, native(case, inputs)[-1])
        np.testing.assert_allclose(close(mask)[0], expected, atol=1e-5)
        other = np.abs(keep(mask)[0] - expected).max()
        # Frames at their own times are another question, but for those that the video begins with in some models.
        assert other < 1e-5 if shown == frames else other > 1e-3 or shown in ([], frames[:1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_padded_batch_says_what_each_says_alone(cases, kind):
    case, prompt = cases(kind)
    mask = np.random.default_rng(0).random((6, len(all_players(prompt)))) < 0.5
    for positions in ("keep", "close"):
        ask = asked(letters_game(prompt, positions=positions), case, prompt)
        np.testing.assert_allclose(ask(mask), np.concatenate([ask(row[None]) for row in mask]), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_taken_as_said(cases, kind):
    case, prompt = cases(kind)
    answers, asked = ["a red cup", "no"], case.inputs(everyone(case))
    tokens = [case.tokenizer(text, add_special_tokens=False)["input_ids"] for text in answers]
    expected = []
    for answer in tokens:
        longer = {**asked, "input_ids": torch.cat([asked["input_ids"], torch.tensor([answer])], dim=1)}
        for name, fill in (("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in asked:
                more = torch.full((1, len(answer)), fill, dtype=asked[name].dtype)
                longer[name] = torch.cat([asked[name], more], dim=1)
        said = native(case, longer).astype(np.float64)
        log_p = said - np.logaddexp.reduce(said, axis=1, keepdims=True)
        expected.append(log_p[range(-len(answer) - 1, -1), answer])
    mask = masks_of(prompt, everyone(case))
    for score, of in (("sum", np.sum), ("mean", np.mean)):
        game = esv_jax.prompt_game(prompt, all_players(prompt), answers=answers, score=score)
        np.testing.assert_allclose(logits_of(game, case, prompt, mask)[0], [of(e) for e in expected], atol=2e-5)
    game = esv_jax.prompt_game(prompt, all_players(prompt), answers=[tokens[0]], score="tokens")
    np.testing.assert_allclose(logits_of(game, case, prompt, mask)[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shared_prefix_changes_nothing(cases, kind):
    case, prompt = cases(kind)
    mask = np.random.default_rng(1).random((4, len(all_players(prompt)))) < 0.6
    shared, anew = (
        logits_of(
            esv_jax.prompt_game(prompt, prompt.frames(), answers=["the hat", "no"], **options), case, prompt, mask
        )
        for options in ({"cache": True}, {})
    )
    np.testing.assert_allclose(shared, anew, atol=2e-5)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "smolvlm"])
def test_values_of_frames_are_those_of_all_subsets(cases, kind, tmp_path):
    case, prompt = cases(kind)
    who = players.segments(len(prompt.video["frames"]), 4)
    game = esv_jax.prompt_game(prompt, who, letters=LETTERS, positions="close")
    out = esv_jax.explain(esv_jax.exact(), game, case.model, prompt.video, archive=tmp_path / "q.esv")

    def worth(coalition):
        shown = [i for s in sorted(coalition) for i in dict(who[s].parts)["frames"]]
        scores = of_letters(case, native(case, case.inputs(shown))[-1]).astype(np.float64)
        return np.exp(scores - np.logaddexp.reduce(scores))

    worths = {of: worth(of) for k in range(5) for of in itertools.combinations(range(4), k)}
    expected = np.zeros((4, 3))
    for player in range(4):
        for of in worths:
            if player not in of:
                weight = 1 / (4 * math.comb(3, len(of)))
                expected[player] += weight * (worths[tuple(sorted((*of, player)))] - worths[of])
    np.testing.assert_allclose(out.values, expected, atol=1e-5)
    np.testing.assert_allclose(out.empty, worths[()], atol=1e-5)
    np.testing.assert_allclose(out.values.sum(axis=0), out.full - out.empty, atol=1e-5)
    again = esv_jax.explain(esv_jax.exact(), game, case.model, prompt.video, archive=tmp_path / "q.esv")
    np.testing.assert_array_equal(out.values, again.values)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen2_vl", "qwen3_vl"])
def test_single_frames_are_merged_anew(cases, kind):
    case, _ = cases(kind)
    prompt = Prompt(case.model, case.inputs(everyone(case)), processor=case.tokenizer, single_frames=True)
    who = prompt.frames() + prompt.words("question") + prompt.words("options")
    assert len(prompt.frames()) == 8
    masks = np.ones((6, len(who)), bool)
    shown = [[0], [7], [1, 2, 6], [0, 3, 4, 5], [1, 2, 3, 4, 5, 6, 7], list(range(8))]
    masks[:, :8] = [np.isin(range(8), own) for own in shown]
    close = asked(esv_jax.prompt_game(prompt, who, letters=LETTERS, positions="close"), case, prompt)(masks)
    keep = asked(esv_jax.prompt_game(prompt, who, letters=LETTERS), case, prompt)(masks)
    for own, found in zip(shown, close, strict=True):
        frames = vlms.FRAMES.copy()
        doubled = own + own[-1:] * (len(own) % 2)
        places = [first // 2 for first in doubled[::2]]  # whose labels stay, where there are any
        frames[vlms.pairs(places)] = vlms.FRAMES[doubled]
        expected = of_letters(case, native(case, case.inputs(places, frames=frames))[-1])
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(keep[-1], close[-1], atol=1e-5)
    assert np.abs(keep[1] - close[1]).max() > 1e-3


def test_values_of_an_answers_tokens_add_up_to_the_answers(cases):
    case, prompt = cases("llava_onevision")
    who = players.segments(8, 3) + prompt.words("question")
    values = []
    for score in ("sum", "tokens"):
        game = esv_jax.prompt_game(prompt, who, answers=["a hat"], score=score)
        values.append(esv_jax.explain(esv_jax.exact(), game, case.model, prompt.video).values)
    np.testing.assert_allclose(values[0][:, 0], values[1].sum(axis=1), atol=1e-5)


def test_joint_players_and_their_sums_by_modality(cases):
    case, prompt = cases("qwen2_5_vl")
    who = prompt.frames() + prompt.words("question")
    game = esv_jax.prompt_game(prompt, who, letters=LETTERS, positions="close")
    out = esv_jax.explain(esv_jax.exact(), game, case.model, prompt.video)
    sums = players.by_modality(out.values, who)
    assert list(sums) == ["frames", "question"]
    np.testing.assert_array_equal(sums["frames"], np.asarray(out.values)[:4].sum(axis=0))
    np.testing.assert_allclose(sum(sums.values()), out.full - out.empty, atol=1e-5)
    full, without, noise = first_look(game, case.model, prompt)
    np.testing.assert_allclose(full, out.full, atol=1e-6)
    assert noise < 1e-5
    expected = of_letters(case, native(case, case.inputs([]))[-1])
    np.testing.assert_allclose(without, np.exp(expected) / np.exp(expected).sum(), atol=1e-5)


def test_the_models_own_answer_is_held(cases):
    case, prompt = cases("qwen2_5_vl")
    inputs = case.inputs(everyone(case))
    answer = generated(case.model, inputs, max_new_tokens=4)
    assert len(answer) == 4
    game = esv_jax.prompt_game(prompt, prompt.frames(), answers=[answer], score="tokens")
    log_p = logits_of(game, case, prompt, np.ones((1, 4 + len(WORDS) + len(OPTION_WORDS)), bool))[0]
    assert answer[0] == native(case, inputs)[-1].argmax()
    first = native(case, inputs)[-1].astype(np.float64)
    np.testing.assert_allclose(log_p[0], first[answer[0]] - np.logaddexp.reduce(first), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_words_and_frames_are_found(cases, kind):
    case, prompt = cases(kind)
    assert prompt.video["question"].tolist() == WORDS
    assert prompt.video["options"].tolist() == OPTION_WORDS
    texts = []
    for entry in range(len(prompt.video["frames"]), prompt.owner.max() + 1):
        texts.append(case.tokenizer.decode(prompt.inputs["input_ids"][0][prompt.owner == entry]).strip())
    assert texts == WORDS + OPTION_WORDS


def test_texts_may_be_told(cases):
    case, _ = cases("qwen2_5_vl")
    inputs = case.inputs(everyone(case), "Tell me what she holds. {video}Be short.")
    told = Prompt(case.model, inputs, processor=case.tokenizer, question="what she holds", options=["short"])
    assert told.video["question"].tolist() == ["what", "she", "holds"]
    assert told.video["options"].tolist() == ["short"]


def test_a_model_of_half_precision_is_asked_in_it():
    case = vlms.case("qwen2_5_vl", dtype=torch.bfloat16)
    prompt = Prompt(case.model, case.inputs(everyone(case)), processor=case.tokenizer)
    game = letters_game(prompt)
    said = logits_of(game, case, prompt, masks_of(prompt, [0, 1]))
    assert said.dtype == np.float32
    assert np.isfinite(said).all()
    assert 0 <= first_look(game, case.model, prompt).noise < 0.1


def test_a_result_says_which_positions_were_meant(cases, tmp_path):
    case, prompt = cases("smolvlm")
    who = players.segments(8, 2)
    keep, close = (esv_jax.prompt_game(prompt, who, letters=LETTERS, positions=name) for name in ("keep", "close"))
    assert "positions keep, letters" in keep.form.about
    esv_jax.explain(esv_jax.exact(), keep, case.model, prompt.video, archive=tmp_path / "a.esv")
    with pytest.raises(InputError, match=r"a\.esv should be of this question, found one of game .* positions keep"):
        esv_jax.explain(esv_jax.exact(), close, case.model, prompt.video, archive=tmp_path / "a.esv")


def test_every_slice_has_a_mask_and_positions(cases):
    """Gaps in positions without a mask are taken for packed texts: another answer, without a word."""
    case, prompt = cases("llava_onevision")
    given = []
    hook = case.model.model.language_model.register_forward_pre_hook(
        lambda _, args, named: given.append(named), with_kwargs=True
    )
    mask = masks_of(prompt, [0, 7])
    game = letters_game(prompt)
    said = logits_of(game, case, prompt, mask)
    hook.remove()
    for named in given[1:]:
        assert named["attention_mask"].shape == named["inputs_embeds"].shape[:2] == named["position_ids"].shape
    with torch.inference_mode():
        states = case.model.model.language_model(**{**given[-1], "attention_mask": None}).last_hidden_state
        unmasked = of_letters(case, case.model.lm_head(states)[0, -1].numpy())
    assert np.abs(unmasked - said[0]).max() > 0.01


def test_single_frames_of_a_model_that_merges_none(cases):
    case, prompt = cases("smolvlm")
    with pytest.raises(
        InputError, match=r"single_frames should be of a model that merges two frames, .* found SmolVLM"
    ):
        Prompt(case.model, prompt.inputs, processor=case.tokenizer, single_frames=True)


def test_what_a_model_gets_wrong_without_a_word_is_refused(cases):
    case, prompt = cases("smolvlm")
    inputs = case.inputs(everyone(case))
    black = inputs["pixel_values"].clone()
    black[0, 3] = 0
    with pytest.raises(
        InputError, match="frame of zeros alone, which SmolVLM leaves out without a word, found frame 3"
    ):
        Prompt(case.model, {**inputs, "pixel_values": black}, processor=case.tokenizer)
    other = {**prompt.video, "question": np.array(["Who"] * len(WORDS))}
    with pytest.raises(InputError, match=r"the video should be that of the game's prompt, prompt\.video, found anot"):
        esv_jax.explain(esv_jax.exact(), letters_game(prompt), case.model, other)
    case, _ = cases("qwen2_5_vl")
    inputs = case.inputs(everyone(case))
    if inputs.pop("mm_token_type_ids", None) is not None:  # of transformers 5
        with pytest.raises(InputError, match="inputs should hold mm_token_type_ids"):
            Prompt(case.model, inputs, processor=case.tokenizer)


def test_a_model_that_is_more_than_its_decoder_is_refused(cases):
    case, prompt = cases("internvl")

    def shifted(module, args, named, out):
        if named.get("position_ids") is None:  # as the model asks it, not we
            out.last_hidden_state = out.last_hidden_state * 1.001
        return out

    hook = case.model.model.language_model.register_forward_hook(shifted, with_kwargs=True)
    try:
        with pytest.raises(InputError, match="should say what the model says, found logits that differ by"):
            logits_of(letters_game(prompt), case, prompt, masks_of(prompt, [0]))
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "letters or answers should be given, one of them, found none"),
        ({"letters": "AB", "answers": ["x"]}, "letters or answers should be given, one of them, found both"),
        ({"letters": ["yes"]}, "letters should be of one token each, found more in yes"),
        ({"answers": [""]}, "answers should have at least one token, found ''"),
        ({"answers": ["a", "b"], "score": "tokens"}, "one alone for score='tokens'"),
        ({"letters": "AB", "positions": "open"}, "positions should be one of keep, close, found 'open'"),
        ({"answers": ["a"], "score": "max"}, "score should be one of sum, mean, tokens, found 'max'"),
    ],
)
def test_arguments_that_are_none(cases, options, sentence):
    _, prompt = cases("qwen2_5_vl")
    with pytest.raises(InputError, match=sentence):
        esv_jax.prompt_game(prompt, prompt.frames(), **options)


@pytest.mark.parametrize(
    ("change", "options", "sentence"),
    [
        ({"input_ids": None}, {}, r"inputs should hold input_ids \[1, L\] of one prompt, found none"),
        ({"pixel_values_videos": None}, {}, "inputs should hold one video, .* found none"),
        ({}, {"question": "Who?"}, "question should stand in the prompt's text, found no 'Who\\?' there"),
        ({}, {"processor": None, "question": "What"}, "question and options should come with a processor"),
        ({}, {"frames": [[3], [2]]}, "frames should be increasing positions within"),
        (
            {},
            {"frames": [[3], [4], [5]]},
            "frames should be those of pixel_values_videos .*, found 3 of them",
        ),
    ],
)
def test_prompts_that_are_none(cases, change, options, sentence):
    case, _ = cases("qwen2_5_vl")
    inputs = {**case.inputs(everyone(case)), **change}
    with pytest.raises(InputError, match=sentence):
        Prompt(case.model, inputs, **{"processor": case.tokenizer, **options})


def test_without_a_processor_there_are_frames_alone(cases):
    case, _ = cases("qwen2_5_vl")
    prompt = Prompt(case.model, case.inputs(everyone(case)))
    assert len(prompt.frames()) == 4
    with pytest.raises(InputError, match="the prompt should have words of the question, found none"):
        prompt.words("question")


def test_an_option_that_is_in_the_question_is_found_behind_it(cases):
    case, _ = cases("qwen2_5_vl")
    text = "{video}Is the hat A?\nA. A\nB. the hat\nC. hat"
    prompt = Prompt(
        case.model,
        case.inputs(everyone(case), text),
        processor=case.tokenizer,
        question="Is the hat A?",
        options=["A", "the hat", "hat"],
    )
    assert prompt.video["options"].tolist() == ["A", "the", "hat", "hat"]
    ids = prompt.inputs["input_ids"][0]
    assert [len(ids[prompt.owner == entry]) for entry in range(8, 12)] == [1, 3, 3, 3]
    assert case.tokenizer.decode(ids[prompt.owner == -1]).endswith(
        "\nA. \nB.  \nC. <|im_end|>\n<|im_start|>assistant\n"
    )

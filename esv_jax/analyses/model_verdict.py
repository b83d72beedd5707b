"""One sentence on whether a model's attributions can be believed, and why."""

from typing import TYPE_CHECKING

import numpy as np

from esv_jax.metrics.bootstrap import Interval

if TYPE_CHECKING:
    from esv_jax.analyses.model_check import ModelCheck

GOOD, DOUBTFUL, BAD = "good", "doubtful", "bad"
# How much surer than right, in the mean over sizes (`ModelCheck.surer`), at the lower end of its interval.
SURER_IS_DOUBTFUL, SURER_IS_BAD = 0.05, 0.1
# How much less sure than right, for one number of frames, at the upper end of its interval. On tracks of a fingertip a
# TRN that was trained on whole clips alone was .03 and more less sure of two frames, one trained on subsets was surer;
# equally often right about whole clips, they agree on the top frame of less than half of them.
LESS_SURE_IS_DOUBTFUL = 0.03


def verdict(check: "ModelCheck") -> tuple[str, str]:
    """(good, doubtful or bad, a sentence that begins with it), of what was measured. The worst fault is named."""
    accuracy, confidence = check.by_size.accuracy, check.by_size.confidence
    shown = "its 1 frame" if check.num_frames == 1 else f"all {check.num_frames} frames"
    whole = f"shown {shown} it is right in {accuracy.mean[-1]:.0%} of videos"
    if accuracy.mean[-1] <= check.chance:
        return BAD, (
            f"bad: {whole}, where always saying the most frequent class is right in {check.chance:.0%}, so there is "
            "nothing to explain"
        )
    if check.surer is not None and confidence is not None and check.surer.low > SURER_IS_DOUBTFUL:
        worst = int(np.argmax(confidence.mean - accuracy.mean)) + 1
        found, meant = DOUBTFUL, "are to be doubted"
        if check.surer.low > SURER_IS_BAD:
            found, meant = BAD, "are not to be believed"
        short = _of_size(worst, accuracy, confidence)
        return found, f"{found}: {short}; attributions are made of what it says of all such clips, and {meant}"
    if accuracy.low[-1] <= check.chance:
        return DOUBTFUL, (
            f"doubtful: {whole}, which {check.num_videos} videos do not tell from the {check.chance:.0%} of always "
            "saying the most frequent class: ask of more"
        )
    surer = check.by_size.surer
    if surer is not None and confidence is not None and surer.high[:-1].min(initial=0) < -LESS_SURE_IS_DOUBTFUL:
        short = _of_size(int(np.argmin(surer.high[:-1])) + 1, accuracy, confidence)
        return DOUBTFUL, (
            f"doubtful: {short}, less sure than it is right, as models are that were not trained on so few frames: "
            "what it says of them counts too little in attributions"
        )
    if check.ignored:
        some = ", ".join(map(str, check.ignored[:5])) + (", ..." if len(check.ignored) > 5 else "")
        return DOUBTFUL, (
            f"doubtful: {len(check.ignored)} of {check.num_frames} frames never change a score (positions {some}, "
            "counted from 0), so that the model does not look at them, whatever they show"
        )
    if confidence is None:
        return DOUBTFUL, (
            f"doubtful: its scores are no probabilities, so that nothing says how sure it is; {whole}, and shown one "
            f"in {accuracy.mean[0]:.0%}"
        )
    fewer = "it" if check.num_frames == 1 else "with fewer it"
    return GOOD, f"good: {whole}, and {fewer} is about as sure as it is right ({_of_size(1, accuracy, confidence)})"


def _of_size(size: int, accuracy: Interval, confidence: Interval) -> str:
    frames = "1 frame" if size == 1 else f"{size} frames"
    sure, right = confidence.mean[size - 1], accuracy.mean[size - 1]
    return f"shown {frames} of {len(accuracy.mean)} it is {sure:.0%} sure and right in {right:.0%}"

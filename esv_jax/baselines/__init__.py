"""Other answers to the same question, called as Element Shapley Values are: baselines to compare with."""

from esv_jax.baselines.call import Baseline as Baseline
from esv_jax.baselines.call import explain as explain
from esv_jax.baselines.call import explain_batch as explain_batch
from esv_jax.baselines.chance import random as random
from esv_jax.baselines.grad_cam import activation_game as activation_game
from esv_jax.baselines.grad_cam import grad_cam as grad_cam
from esv_jax.baselines.gradients import expected_gradients as expected_gradients
from esv_jax.baselines.gradients import gradient_times_input as gradient_times_input
from esv_jax.baselines.gradients import integrated_gradients as integrated_gradients
from esv_jax.baselines.gradients import smooth_grad as smooth_grad
from esv_jax.baselines.removal import frame_alone as frame_alone
from esv_jax.baselines.removal import leave_one_out as leave_one_out
from esv_jax.baselines.removal import occlusion as occlusion

"""Model folders, checkpoints of training, and weights from elsewhere."""

import json
import pickle
import shutil
import zipfile

import numpy as np

from esv_jax import files, saved
from esv_jax.checks import require
from esv_jax.interop import heads, keras_file, rules, torch_file
from esv_jax.saved import model_folder
from esv_jax.training import loop
from esv_jax.training.checkpoints import Checkpoints
from esv_jax.training.loop import Schedule

DEMO = saved.DEMO_MODEL.with_name("tsn")


def _load(folder, part=".", **fields):
    """Loads the demo's TSN with other fields in its card, or that of its backbone."""
    shutil.copytree(DEMO, folder / "model")
    path = folder / "model" / part / "model.json"
    path.write_text(json.dumps(files.read_json(path) | fields))
    model_folder.load_model(folder / "model")


def _load_with_options(folder, **options):
    _load(folder, options=files.read_json(DEMO / "model.json")["options"] | options)


def _load_trn(folder, **options):
    card = files.read_json(saved.DEMO_MODEL / "model.json")
    _load(folder, kind="multiscale_trn", options=card["options"] | options)


def a_folder_that_is_not_there(folder):
    model_folder.load_model(folder / "nowhere")


def a_folder_without_a_card(folder):
    model_folder.load_model(folder)


def a_folder_without_weights(folder):
    shutil.copytree(DEMO, folder / "model")
    shutil.rmtree(folder / "model" / "params")
    model_folder.load_model(folder / "model")


def weights_of_which_a_bit_has_changed(folder):
    shutil.copytree(DEMO, folder / "model")
    path = max((folder / "model/params").rglob("d/*"), key=lambda p: p.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    model_folder.load_model(folder / "model")


def a_card_that_is_a_list(folder):
    shutil.copytree(DEMO, folder / "model")
    (folder / "model" / "model.json").write_text("[]")
    model_folder.load_model(folder / "model")


def a_card_that_is_deep(folder):
    shutil.copytree(DEMO, folder / "model")
    (folder / "model" / "model.json").write_text(100_000 * "[" + 100_000 * "]")
    model_folder.load_model(folder / "model")


def a_card_that_ends_early(folder):
    shutil.copytree(DEMO, folder / "model")
    path = folder / "model" / "model.json"
    path.write_bytes(path.read_bytes()[:200])
    model_folder.load_model(folder / "model")


def a_card_that_was_changed_after_it_was_written(folder):
    model = model_folder.load_model(DEMO)
    model_folder.save_model(folder / "model", model.card._replace(backbone=None), model.variables)
    path = folder / "model" / "model.json"
    path.write_text(path.read_text().replace("Something appearing", "Something appealing"))
    model_folder.load_model(folder / "model")


def a_card_of_a_newer_format(folder):
    _load(folder, format_version=99)


def a_card_of_a_format_of_a_thousand_digits(folder):
    _load(folder, format_version=10**1000)


def a_card_of_a_negative_format(folder):
    _load(folder, format_version=-1)


def a_kind_that_is_a_list(folder):
    _load(folder, kind=["tsn"])


def a_kind_of_nothing_known(folder):
    _load(folder, kind="x" * 1000)


def options_that_are_a_list(folder):
    _load(folder, options=[17])


def an_option_that_is_a_list(folder):
    _load_with_options(folder, num_classes=[17])


def an_option_that_is_a_boolean(folder):
    _load_with_options(folder, num_classes=True)


def an_option_that_is_not_known(folder):
    _load_with_options(folder, **{name: 1 for name in "abcdefghijklmnop"}, parent=None)


def a_dropout_that_is_nan(folder):
    _load_with_options(folder, dropout=float("nan"))


def classes_by_the_thousand_million(folder):
    _load_with_options(folder, num_classes=10**9)


def scales_by_the_thousand_million(folder):
    _load_trn(folder, num_scales=10**9)


def scales_by_the_thousand(folder):
    _load_trn(folder, num_scales=2000)


def hidden_layers_by_the_thousand_million(folder):
    _load_trn(folder, num_hidden_layers=10**9)


def hidden_units_beyond_all_memory(folder):
    _load_trn(folder, hidden_dim=10**12)


def hidden_units_of_more_weights_than_memory(folder):
    _load_trn(folder, hidden_dim=10**6)


def features_of_a_dimension_beyond_all_memory(folder):
    _load(folder, feature_dim=10**12)


def features_of_a_dimension_in_words(folder):
    _load(folder, feature_dim="64")


def classes_that_are_numbers(folder):
    _load(folder, classes=list(range(17)))


def classes_that_are_one_word(folder):
    _load(folder, classes="seventeen letters")


def classes_that_are_no_text(folder):
    _load(folder, classes=["\ud800", *map(str, range(16))])


def a_class_named_twice(folder):
    _load(folder, classes=17 * ["long name " * 30])


def a_prior_of_nan(folder):
    _load(folder, prior=17 * [float("nan")])


def a_prior_of_words(folder):
    _load(folder, prior=17 * ["0.1"])


def a_prior_beyond_float32(folder):
    _load(folder, prior=17 * [1e300])


def a_prior_beyond_float64(folder):
    _load(folder, prior=17 * [10**400])


def a_prior_that_does_not_sum_to_1(folder):
    _load(folder, prior=17 * [0.5])


def a_prior_of_another_length(folder):
    _load(folder, prior=[0.5, 0.5])


def a_backbone_that_is_a_number(folder):
    _load(folder, backbone=3)


def a_backbone_of_another_model(folder):
    _load(folder, backbone={"name": "frame_cnn" * 100, "digest": "0"})


def a_head_with_a_preprocess(folder):
    _load(folder, preprocess=files.read_json(DEMO / "backbone" / "model.json")["preprocess"])


def a_preprocess_that_is_a_list(folder):
    _load(folder, "backbone", preprocess=[48, 48])


def images_of_a_thousand_million_pixels(folder):
    _load(folder, "backbone", preprocess={"short_side": 10**9, "size": 10**9, "mean": [0, 0, 0], "std": [1, 1, 1]})


def a_mean_of_nan(folder):
    mean = [float("nan"), 0, 0]
    _load(folder, "backbone", preprocess={"short_side": 48, "size": 48, "mean": mean, "std": [1, 1, 1]})


def channels_that_are_too_few(folder):
    _load(folder, "backbone", options={"feature_dim": 64, "channels": [32]})


def digests_that_are_a_list(folder):
    _load(folder, files=["manifest.ocdbt"])


def digests_that_are_not_there(folder):
    _load(folder, files={})


def a_model_that_is_written_into_a_file(folder):
    model = model_folder.load_model(DEMO)
    (folder / "model").write_text("")
    model_folder.save_model(folder / "model", model.card, model.variables)


def _checkpoints(folder):
    run = {"schedule": {"seed": 0}, "settings": {}}
    with Checkpoints(folder / "run", run) as checkpoints:
        checkpoints.save(1, [np.arange(9.0)], {})
        checkpoints.save(2, [np.arange(9.0)], {})
    return run


def _resume(folder, run):
    with Checkpoints(folder / "run", run) as checkpoints:
        checkpoints.latest([np.zeros(9)])


def a_checkpoint_of_which_a_bit_has_changed(folder):
    run = _checkpoints(folder)
    path = max((folder / "run/2/state").rglob("d/*"), key=lambda p: p.stat().st_size)
    content = path.read_bytes()
    path.write_bytes(content[:20] + bytes([content[20] ^ 1]) + content[21:])
    _resume(folder, run)


def a_checkpoint_that_is_half_removed(folder):
    run = _checkpoints(folder)
    shutil.rmtree(folder / "run/2/state")
    _resume(folder, run)


def a_checkpoint_without_its_description(folder):
    run = _checkpoints(folder)
    (folder / "run/2/run.json").unlink()
    _resume(folder, run)


def a_checkpoint_described_by_a_list(folder):
    run = _checkpoints(folder)
    (folder / "run/2/run.json").write_text("[1]")
    _resume(folder, run)


def a_checkpoint_of_another_run(folder):
    _checkpoints(folder)
    _resume(folder, {"schedule": {"seed": "x" * 1000}, "settings": {}})


def checkpoints_of_an_older_version(folder):
    run = _checkpoints(folder)
    (folder / "run/run.json").write_text("{}")
    _resume(folder, run)


def checkpoints_that_another_process_writes(folder):
    with Checkpoints(folder / "run", {}), Checkpoints(folder / "run", {}):
        pass


def _schedule(**change):
    loop.check_schedule(Schedule(**{"epochs": 1, "batch_size": 1, "learning_rate": 0.1} | change), 6)


def epochs_beyond_counting(folder):
    _schedule(epochs=10**18)


def a_seed_of_more_than_64_bits(folder):
    _schedule(seed=2**64)


def a_learning_rate_that_is_infinite(folder):
    _schedule(learning_rate=float("inf"))


def nothing_to_train_on(folder):
    loop.check_schedule(Schedule(1, 1, 0.1), 0)


def _torch(folder, content):
    require("torch").save(content, folder / "x.pth")
    torch_file.read_state_dict(folder / "x.pth")


def a_whole_module_of_torch(folder):
    _torch(folder, require("torch").nn.Linear(2, 3))


def a_list_of_state_dicts(folder):
    _torch(folder, [{"a": require("torch").ones(2)}])


def two_models_in_a_checkpoint(folder):
    state = {"a": require("torch").ones(2)}
    _torch(folder, {"generator": state, "discriminator": state})


def complex_weights(folder):
    _torch(folder, {"a" * 1000: require("torch").ones(2) + 1j})


def weights_without_values(folder):
    _torch(folder, {"a": require("torch").empty(2, device="meta")})


def a_sparse_tensor_larger_than_memory(folder):
    torch = require("torch")
    _torch(folder, {"a": torch.sparse_coo_tensor([[0], [1]], [1.0], (10**6, 10**6), check_invariants=True)})


def a_sparse_tensor_that_points_outside(folder):
    torch = require("torch")
    _torch(folder, {"a": torch.sparse_coo_tensor([[10**6]], [1.0], (2,), check_invariants=False)})


def _named_pth(folder, content):
    (folder / "x.pth").write_bytes(content)
    torch_file.read_state_dict(folder / "x.pth")


def the_page_of_a_failed_download(folder):
    _named_pth(folder, b"<!DOCTYPE html><html><title>Quota exceeded</title></html>")


def a_pointer_in_place_of_weights(folder):
    _named_pth(folder, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")


def a_pickle_of_something_else(folder):
    _named_pth(folder, pickle.dumps({"blobs": [1.0]}, 2))


def safetensors_in_place_of_torch(folder):
    _named_pth(folder, (2).to_bytes(8, "little") + b"{}")


def weights_that_are_cut_off(folder):
    require("torch").save({"a": require("torch").ones(1000)}, folder / "x.pth")
    _named_pth(folder, (folder / "x.pth").read_bytes()[:2000])


def weights_that_are_a_folder(folder):
    torch_file.read_state_dict(folder)


def a_zip_that_unpacks_to_much_more(folder):
    with zipfile.ZipFile(folder / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", bytes(10**7))
    torch_file.read_state_dict(folder / "x.pth")


def weights_for_another_head(folder):
    heads.tsn({f"layer.{i}.weight": np.zeros(2) for i in range(200)}, "x.pth")


def a_place_of_a_thousand_digits(folder):
    heads.trn({f"model.{'9' * 5000}.weight": np.zeros((2, 2))}, "x.pth", num_frames=1)


def a_place_that_is_a_superscript(folder):
    heads.trn({"model.².weight": np.zeros((2, 2))}, "x.pth", num_frames=1)


def weights_that_are_empty(folder):
    heads.tsn({"classifier.weight": np.zeros((0, 0)), "classifier.bias": np.zeros(0)}, "x.pth")


def _kernel(values):
    rules.convert([rules.Rule("a", (1,), "params/a")], {"a": np.array([values])}, "x.npz")


def integers_that_float32_does_not_hold(folder):
    _kernel(2**24 + 1)


def integers_of_8_bits(folder):
    _kernel(np.int8(3))


def complex_weights_of_keras(folder):
    _kernel(1j)


def weights_that_are_words(folder):
    _kernel("1.0")


def weights_beyond_float32(folder):
    _kernel(1e300)


def _h5(folder, write):
    with require("h5py").File(folder / "w.h5", "w") as file:
        write(file)
    keras_file.read_arrays(folder / "w.h5")


def weights_in_another_hdf5_file(folder):
    link = require("h5py").ExternalLink("/etc/hostname", "/a")
    _h5(folder, lambda file: file.create_group("a").__setitem__("kernel:0", link))


def weights_in_a_raw_file(folder):
    stored = [("/etc/hostname", 0, 8)]
    _h5(folder, lambda file: file.create_dataset("a/a/kernel:0", (2,), "f4", external=stored))


def keras_weights_beyond_all_memory(folder):
    _h5(folder, lambda file: file.create_dataset("a/a/kernel:0", (2**40,), "f4", chunks=(2**10,)))


def keras_weights_that_are_text(folder):
    (folder / "w.h5").write_text("<html>")
    keras_file.read_arrays(folder / "w.h5")


def an_npz_of_objects(folder):
    np.savez(folder / "w.npz", a=np.array([{}], object))
    keras_file.read_arrays(folder / "w.npz")

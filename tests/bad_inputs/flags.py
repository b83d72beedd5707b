"""What is typed behind `--`."""

from absl import flags

from esv_jax.checks import InputError
from experiments import cli
from tests.experiments.scripts import imported


def _path(text):
    try:
        cli.path_of(text)
    except ValueError as error:  # absl prints it behind the flag's name
        raise InputError(f"flag --out: {error}") from error


def a_path_that_is_empty(folder):
    _path("")


def a_path_with_a_nul(folder):
    _path("a\0b.mp4")


def an_address_in_place_of_a_path(folder):
    _path("https://example.org/clip.mp4")


def a_bucket_in_place_of_a_path(folder):
    _path("gs://bucket/features")


def a_file_on_another_machine(folder):
    _path("file://server/clip.mp4")


def a_variable_that_is_not_set(folder):
    _path("$ESV_JAX_NOT_SET/clip.mp4")


def a_home_of_nobody(folder):
    _path("~nobody-of-this-name/clip.mp4")


def an_output_folder_that_is_a_file(folder):
    (folder / "out").write_text("")
    cli.output_folder(str(folder / "out"))


def an_answer_to_certify_by_an_estimator_that_cannot_tell(folder):
    given = [f"--video={folder}", f"--out={folder / 'out'}", "--certify=top", "--estimator=stratified"]
    with imported("explain_video") as script:
        flags.FLAGS(["explain_video", *given])
        script.main()


def _asked(folder, *more):
    given = [f"--model={folder}", f"--video={folder}", "--question=What?", f"--out={folder / 'out'}", *more]
    with imported("explain_question") as script:
        flags.FLAGS(["explain_question", *given])
        script.main()


def a_choice_of_one_option(folder):
    _asked(folder, "--options=a cup")


def options_and_an_answer(folder):
    _asked(folder, "--options=a cup", "--options=a hat", "--answer=a cup")

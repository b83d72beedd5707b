from esv_jax import progress


def test_bars_count_and_say_on_stderr(capsys):
    with progress.bars("videos") as bars:
        task = bars.add_task("explaining", total=3, completed=1)
        bars.update(task, completed=3, said="2 videos/s")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "explaining" in printed.err
    assert "3/3 videos, 2 videos/s" in printed.err


def test_tracked_items_are_given_back(capsys):
    assert list(progress.track(["a", "b"], "converting", "clips")) == ["a", "b"]
    assert "2/2 clips" in capsys.readouterr().err


def test_names_are_no_markup(capsys):
    with progress.bars("videos") as bars:
        bars.add_task("[bold]clip[/x]", total=1, completed=1)
    assert "[bold]clip[/x]" in capsys.readouterr().err

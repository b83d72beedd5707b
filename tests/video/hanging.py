"""What a decoder process may be at when its parent dies; nothing slow is imported, so that it is soon there."""

import threading


def wait_for_ever(answers):
    answers.write(b"!")
    answers.flush()
    threading.Event().wait()


def keep_python_busy(answers):
    """As a library that does not let other threads of Python run."""
    answers.write(b"!")
    answers.flush()
    sum(range(10**15))

"""Where a command's first seconds went."""

import time

from whelp.base.start_up import StartUp


def test_stages_add_up_to_the_time_that_passed():
    """Every second is some stage's; a stage that comes again is longer."""
    count, begun = StartUp(), time.perf_counter()
    count.begin()
    for stage in ("imports", "model", "imports"):
        time.sleep(0.01)
        count.reach(stage)
    passed, seconds = time.perf_counter() - begun, count.end()
    assert list(seconds) == ["imports", "model"]
    assert seconds["imports"] >= 0.02
    assert abs(sum(seconds.values()) - passed) < 0.01


def test_it_is_told_once_and_begins_anew():
    """A second run of a process has a count of its own."""
    count = StartUp()
    count.reach("before anything began")
    assert count.end() is None
    count.begin()
    count.reach("model")
    count.begin()  # the command began before: this goes on
    assert list(count.end()) == ["model"]
    assert count.end() is None
    count.begin()
    assert count.end() == {}


def test_a_command_counts_from_the_start_of_its_process():
    """Imports before the first line of ours count as well."""
    count = StartUp()
    count.begin(with_process=True)
    count.reach("imports")
    assert count.end()["imports"] > 0.02

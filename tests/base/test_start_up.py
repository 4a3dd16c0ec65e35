"""Where a command's first seconds went."""

from types import SimpleNamespace

from whelp.base.start_up import StartUp


def test_stages_add_up_to_the_time_that_passed(monkeypatch):
    """Every second is some stage's; a stage that comes again is longer."""
    clock = iter([100.0, 100.5, 102.0, 106.0])
    monkeypatch.setattr("whelp.base.start_up.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    count = StartUp()
    count.begin()
    for stage in ("imports", "model", "imports"):
        count.reach(stage)
    assert count.end() == {"imports": 4.5, "model": 1.5}


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

"""Which way of taking a step is tried when; recording itself needs a GPU."""

from whelp.train.step_trial import Trial


class _Timer:
    """Counts steps instead of time."""

    def __init__(self, now):
        self.now, self.begun, self.ended = now, now[0], None

    def stop(self):
        self.ended = self.now[0]

    def read(self):
        return self.ended - self.begun


def test_four_steps_of_each_way_are_timed():
    """The first step compiles and the second records: neither counts. The ways take turns, and one slow step decides nothing."""
    now = [0]
    trial, ways = Trial(lambda: _Timer(now)), []
    found = None
    for duration in (1000, 500, 2, 20, 2, 20, 900, 30, 3, 30):
        assert found is None, "it is decided after the last step, not before"
        trial.begin_step()
        ways.append(trial.tries_second)
        now[0] += duration
        found = trial.end_step()
    assert found == (2.5, 25)
    assert ways == [False, False, *([False, True] * 4)]

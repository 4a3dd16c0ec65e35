"""Packed rows and a model in; a stream of step reports out.

    plan = make_plan(TrainConfig(num_steps=100), ...)          # plan.py: every number decided, before anything runs
    optimizer = build_optimizer(model, plan)                   # optimizer.py
    from whelp.train.fit import fit
    for report in fit(model, optimizer, rows, plan):           # fit.py: a generator of StepReport
        print(report.step, report.loss)

The loop only trains. Whoever drains it decides to print, evaluate, sample, save or stop.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.train.config import TrainConfig as TrainConfig
    from whelp.train.fit import Progress as Progress
    from whelp.train.fit import StepReport as StepReport
    from whelp.train.optimizer import build_optimizer as build_optimizer
    from whelp.train.plan import TrainPlan as TrainPlan
    from whelp.train.plan import make_plan as make_plan

_HOMES = {
    "TrainConfig": "config",
    "Progress": "fit",
    "StepReport": "fit",
    "build_optimizer": "optimizer",
    "TrainPlan": "plan",
    "make_plan": "plan",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)

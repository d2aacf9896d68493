"""What `--dry-run` says that a search will take."""

from autocompress.explore.preparation.estimate import Estimate
from autocompress.explore.session.budget import Budget

FAST = Estimate(once_s=10.0, candidate_s=5.0, recovery_s=100.0)


def test_what_is_made_once_and_the_finalists_leave_the_rest_of_a_budget_to_candidates():
    left_s = 600 * (0.85 - 0.12 - 0.10) - 10
    assert FAST.trials(Budget(total_s=600.0, recovery=False)) == 1 + int(left_s / 5)
    assert FAST.trials(Budget(total_s=None)) is None


def test_a_budget_with_recovery_has_fewer_candidates_however_long_one_would_train():
    budgets = [Budget(total_s=600.0, recovery=recovery) for recovery in (False, True)]
    without, with_recovery = (FAST.trials(budget) for budget in budgets)
    slow = Estimate(once_s=10.0, candidate_s=5.0, recovery_s=1e6)
    assert without and with_recovery and 8 < with_recovery < without
    assert slow.trials(budgets[1]) == with_recovery


def test_a_number_of_trials_without_recovery_takes_no_training():
    assert FAST.seconds(10, recovery=False) == 60.0
    assert FAST.seconds(10, recovery=True) == 560.0

"""How many samples a network of some size is looked at with."""

from autocompress.compress.options import CANDIDATE_MACS, FEWEST, CompressorOptions

RESNET20, RESNET50, BERT_BASE = 41_000_000, 4_089_000_000, 11_000_000_000  # multiply-accumulates of a sample


def test_a_small_network_has_all_samples():
    assert CompressorOptions().affordable(RESNET20) == CompressorOptions()


def test_a_large_network_has_as_many_as_a_pass_may_cost():
    options = CompressorOptions().affordable(RESNET50)
    assert options.database_samples == 244
    assert options.refit_samples == options.pruned_calibration_samples == CANDIDATE_MACS // RESNET50 == 61


def test_there_are_never_fewer_than_a_few_unless_asked_for():
    assert CompressorOptions().affordable(BERT_BASE).refit_samples == FEWEST
    assert CompressorOptions(refit_samples=0).affordable(BERT_BASE).refit_samples == 0

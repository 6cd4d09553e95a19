import pytest

from pipelines.settings import SettingsError, load


def test_no_loss_is_tolerable_as_only_what_chance_does_not_explain_counts() -> None:
    limits = load().evaluation
    assert limits.max_accuracy_loss == 0
    assert limits.false_block_rate == 0.05
    assert limits.missing_baseline == "refuse"


@pytest.mark.parametrize("key", ["max_calibration_error", "max_model_mb"])
def test_limits_that_may_be_left_out(key: str) -> None:
    assert getattr(load(overrides=[f"evaluation.{key}=null"]).evaluation, key) is None


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("min_slice_accuracy=80", "is 80: it must be less than or equal to 1."),
        ("min_slice_pictures=0", "is 0: it must be greater than or equal to 1."),
        ("max_accuracy_loss=-0.01", "is -0.01: it must be greater than or equal to 0."),
        ("false_block_rate=0", "is 0: it must be greater than 0."),
        ("missed_loss_rate=5", "is 5: it must be less than or equal to 0.5."),
        ("max_model_mb=0", "is 0: it must be greater than 0."),
        ("min_kept_labels=97", "is 97: it must be less than or equal to 1."),
        (
            "missing_baseline=ignored",
            "is 'ignored': it must be 'refuse' or 'ignore'. Did you mean 'ignore'?",
        ),
    ],
)
def test_a_wrong_limit_gets_one_sentence(override: str, complaint: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[f"evaluation.{override}"])
    key = override.partition("=")[0]
    assert str(caught.value) == f"The setting evaluation.{key} {complaint}"


def test_a_misspelt_limit_is_told_the_right_name() -> None:
    with pytest.raises(SettingsError, match=r"Did you mean 'evaluation.min_slice_accuracy'\?"):
        load(overrides=["evaluation.min_slices_accuracy=0.7"])

"""A doubt asks a person to look; it is stored beside the verdict and changes nothing of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conforme.audits import doubts
from conforme.audits.doubts import Doubt, DoubtReason

ONE = st.builds(
    Doubt,
    st.sampled_from(DoubtReason),
    st.integers(0, 10_000).map(lambda ten_thousandths: ten_thousandths / 10_000),
)
SEVERAL = st.lists(ONE, max_size=12)


@given(SEVERAL)
def test_what_is_stored_of_doubts_is_read_back_as_it_was(several: list[Doubt]) -> None:
    assert list(doubts.from_json(doubts.to_json(several))) == several


@given(SEVERAL)
def test_merged_doubts_name_each_reason_once_at_its_least_certain(several: list[Doubt]) -> None:
    merged = doubts.merged(several)
    assert {doubt.reason for doubt in merged} == {doubt.reason for doubt in several}
    assert len({doubt.reason for doubt in merged}) == len(merged)
    for kept in merged:
        assert kept.certainty == min(each.certainty for each in several if each.reason is kept.reason)
    assert doubts.certainty(merged) == doubts.certainty(several)
    assert [doubt.certainty for doubt in merged] == sorted(doubt.certainty for doubt in merged)


@pytest.mark.parametrize("certainty", [-0.1, 1.1, float("nan")])
def test_a_certainty_outside_0_and_1_is_refused(certainty: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Doubt(DoubtReason.NEAR_MISS, certainty)

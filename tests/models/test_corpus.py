"""A model's answer is read right or is called invalid, however it is cut: never another value that is called valid."""

import random
from collections import Counter

import pytest

from tests.models import answers
from tests.models.answers import Sample
from tests.models.messes import messy

SAMPLES = answers.samples()
#: Samples that go wrong today, and the names of tests below. Has to be empty in the end.
OPEN = answers.OPEN.read_text("utf-8").split()
CUTS = 8


OPEN_MARK = pytest.mark.xfail(strict=True, reason="goes wrong today; if not, run: python -m tests.models.answers")


def marked(names: list[str]) -> list[object]:
    return [pytest.param(name, marks=[OPEN_MARK] if name in OPEN else []) for name in names]


@pytest.fixture
def sample(request: pytest.FixtureRequest) -> Sample:
    return next(sample for sample in SAMPLES if sample.id == request.param)


@pytest.mark.parametrize("sample", marked([sample.id for sample in SAMPLES]), indirect=True)
async def test_an_answer_is_never_read_wrong(sample: Sample) -> None:
    deliveries = list(sample.deliveries())
    if sample.id not in OPEN:  # whole, in sizes, and some of the cuts in two: `make soak` tries all of them
        fixed, cuts = deliveries[:5], deliveries[5:]
        deliveries = fixed + random.Random(sample.id).sample(cuts, min(CUTS, len(cuts)))
    assert await answers.faults(sample, deliveries) == []


@pytest.mark.soak
@pytest.mark.parametrize("sample", marked([sample.id for sample in SAMPLES]), indirect=True)
async def test_an_answer_is_never_read_wrong_in_any_cut(sample: Sample) -> None:
    assert await answers.faults(sample, sample.deliveries()) == []


@pytest.mark.parametrize("name", marked(["nine-of-ten"]))
async def test_nine_of_ten_clear_answers_are_read_right(name: str) -> None:
    right, clear = await answers.clear_ones()
    assert right >= 0.9 * clear, f"{right} of {clear}"


async def test_the_page_has_the_table() -> None:
    assert await answers.page() == answers.PAGE.read_text("utf-8"), "write it anew: python -m tests.models.answers"


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    messy = [sample for sample in SAMPLES if not sample.clean]
    assert len(messy) >= 400
    assert len(SAMPLES) - len(messy) >= 50
    assert len({sample.id for sample in SAMPLES}) == len(SAMPLES)


@pytest.mark.seeds(1, 60)
async def test_answers_that_are_messy_in_several_ways(seed: int) -> None:
    verdicts: Counter[str] = Counter()
    for number in range(300 * seed, 300 * seed + 300):
        sample = messy(number)
        outcomes = [await answers.deliver(sample, pieces) for pieces in ([sample.text], *list(sample.in_sizes())[:3])]
        assert len({str(outcome) for outcome in outcomes}) == 1, f"{number} depends on the cut"
        found = answers.verdict(sample, outcomes[0])
        assert found == "right" or not sample.clean, number
        verdicts[found] += 1
    assert verdicts["wrong"] <= 3
    assert verdicts["right"] >= 225

"""The last words of `pipeline add`: where a split would save time."""

from conftest import notebook

from notebook_pipeline.add.advice import advise_split
from notebook_pipeline.notebook.document import parse

CHURN = parse(
    notebook("RATE = 0.5\nEPOCHS = 3", "clean = 1", "RATE_OF_OTHERS = 2", "fit(RATE, EPOCHS)", "print(EPOCHS)"), "notebooks/my churn.ipynb"
)  # fmt: skip


def test_a_change_that_would_rerun_what_it_does_not_concern():
    assert advise_split(CHURN, {1: 0.1, 2: 11.3, 3: 0.2, 4: 20.0, 5: 0.1}) == (
        "notebooks/my churn.ipynb: runs in 32 s, 12 s of them before it uses `RATE`. To rerun only what a change concerns: "
        'uv run pipeline split "notebooks/my churn.ipynb"'
    )


def test_nothing_to_save():
    assert advise_split(CHURN, {1: 0.1, 2: 0.3, 3: 0.2, 4: 200.0, 5: 0.1}) is None
    assert advise_split(parse(notebook("", "x = 1", "print(x)"), "x.ipynb"), {1: 0.1, 2: 70.0, 3: 0.1}) is None
    assert advise_split(CHURN, {}) is None

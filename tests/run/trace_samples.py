"""What the tests of `trace` share."""

from samples import ready

STAGE = """\
stages:
  fit:
    cmd: pipeline run notebooks/fit.ipynb outputs/fit.ipynb
    deps: [notebooks/fit.ipynb, data/a.csv]
    params: [train]
    outs: [outputs/fit.ipynb, processed/out.csv]
"""
READ = "open('data/a.csv').read()\n"
WRITE = "open('processed/out.csv', 'w').write('1')\n"
READ_UNDECLARED = (
    "notebooks/fit.ipynb: stage `fit` read what dvc.yaml does not declare. Fix: add to its `deps:` "
    "(`pipeline add notebooks/fit.ipynb` does it)\n"
)


def traced(bare, *cells: str, stage: str = STAGE):
    """A project whose notebook touches what its stage declares, and then runs these cells."""
    ready(bare, READ + WRITE + "None", *cells)
    bare.write("dvc.yaml", stage)
    for name in ("a", "b", "c"):
        bare.write(f"data/{name}.csv", "x\n1\n")
    return bare

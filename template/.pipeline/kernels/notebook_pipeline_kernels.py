"""Has each kernel of the environment load the extension `notebook_pipeline.editor.values`.

Lies in site-packages, where the `.pth` file beside it imports it at each start of Python: also in a layer over the environment
(`uv run --with jupyterlab`), whose kernels do not read the environment's own configuration of IPython.
"""

import os
import sys

EXTENSION = "notebook_pipeline.editor.values"


def load_in_kernel() -> None:
    """Add `--ext`, IPython's own option, to the arguments of a kernel that starts; the extension removes it from `sys.argv`."""
    from importlib.util import find_spec
    from pathlib import Path

    if find_spec("notebook_pipeline") is None:
        # Until the next `uv run` in a project that was moved, its package is looked for in the old place.
        found = (folder / ".pipeline" for folder in Path(__file__).parents)
        sys.path += [str(folder) for folder in found if (folder / "notebook_pipeline").is_dir()][:1]
    try:
        if find_spec(EXTENSION):  # an older commit's .pipeline has none
            sys.argv.append(f"--ext={EXTENSION}")
    except ModuleNotFoundError:
        pass


if "ipykernel_launcher" in sys.orig_argv and os.environ.get("PIPELINE_INTERACTIVE") != "0":
    load_in_kernel()

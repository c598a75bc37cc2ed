"""What the notebooks of several stages call to hand values over: `hand_over` at the end of one, `load` at the start of the next.

Needs nothing but the standard library, and loads pandas, NumPy, matplotlib or torch only where the notebook has.
"""

import enum
import hashlib
import importlib.util
import io
import marshal
import os
import pickle
import sys
import types
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

FOLDER = "data/handover"
TORCH = ".pt"
"""How a file ends that `torch.save` writes: pickle's bytes of a tensor differ in each run."""


class HandoverError(Exception):
    """A value that cannot be handed over, or was not; one line: what is wrong, what to do."""


def hand_over(path: str, /, **values: object) -> None:
    """Write values into one file, in which those that share an object keep sharing it.

    Raises:
        HandoverError: one of them cannot be pickled.
    """
    place = _root() / path
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.endswith(TORCH):
            sys.modules["torch"].save(values, place)
        else:
            with open(place, "wb") as file:
                Pickler(file, values).dump(values)
    except (TypeError, AttributeError, ValueError, RecursionError, pickle.PicklingError) as error:
        raise HandoverError(f"{path}: {error}. Fix: hand over what it is made from, and make it again") from None


def load(*paths: str) -> object:
    """Read the values of files that `hand_over` wrote, in the order in which they were given; a single one as it is."""
    values = [value for path in paths for value in _read(path).values()]
    return values[0] if len(values) == 1 else tuple(values)


def unchanged(path: str, /, **values: object) -> None:
    """Make sure that values, loaded here and used by later stages as well, are what the file holds.

    Raises:
        HandoverError: one has changed. The later stages would get the old one.
    """
    old = _read(path)
    for name, value in values.items():
        if digest(old[name]) != digest(value):
            raise HandoverError(
                f"`{name}` was changed here, and later stages load it from {path}, as it was before. Fix: hand it over here, "
                "too, and load it from there"
            )


def hand_over_state(path: str, *parts: str) -> None:
    """Write parts of the process's state (see STATE) into a file: of random generators, and settings of libraries."""
    hand_over(path, **{part: _get(part) for part in parts})


def restore(*paths: str) -> None:
    """Set the state that `hand_over_state` wrote."""
    for path in paths:
        for part, value in _read(path).items():
            if part == "warnings":
                _set_filters(value)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of settings that will go
                STATE[part][2](value)


def _read(path: str) -> dict[str, object]:
    place = _root() / path
    if not place.exists():
        raise HandoverError(f"{path}: does not exist. Fix: uv run dvc repro, which runs the stage that makes it")
    if path.endswith(TORCH):
        return import_module("torch").load(place, weights_only=False)
    return pickle.loads(place.read_bytes())


def _root() -> Path:
    """Return the project's folder: a notebook may have changed to another one below it."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").exists()), here)


class Pickler(pickle.Pickler):
    """Pickles the notebook's own functions and classes by their names, as every stage that needs them defines them.

    Lambdas have no such name. They go as code that reads the globals of the notebook where they arrive; cloudpickle would give
    them globals of their own.
    """

    def __init__(self, file: io.IOBase, values: dict[str, object], **options):
        super().__init__(file, protocol=5, **options)
        self.by_value = {id(value) for value in values.values()}

    def reducer_override(self, obj: object) -> object:
        if isinstance(obj, types.ModuleType):
            return import_module, (obj.__name__,)
        if isinstance(obj, types.FunctionType) and obj.__module__ == "__main__":
            if id(obj) in self.by_value or getattr(sys.modules["__main__"], obj.__qualname__, None) is not obj:
                cells = tuple(cell.cell_contents for cell in obj.__closure__ or ())
                parts = (obj.__name__, obj.__defaults__, obj.__kwdefaults__, cells, obj.__dict__)
                return _make_function, (importlib.util.MAGIC_NUMBER, marshal.dumps(_anonymous(obj.__code__)), *parts)
        return NotImplemented


def _anonymous(code: types.CodeType) -> types.CodeType:
    """Replace the file name in code: IPython's has the number of the process."""
    constants = (_anonymous(each) if isinstance(each, types.CodeType) else each for each in code.co_consts)
    return code.replace(co_filename="<notebook>", co_consts=tuple(constants))


def _make_function(magic: bytes, code: bytes, name: str, defaults, keywords, cells: tuple, attributes: dict):
    if magic != importlib.util.MAGIC_NUMBER:
        raise HandoverError(f"`{name}` was handed over by another Python. Fix: uv run dvc repro --force")
    made = types.FunctionType(
        marshal.loads(code), sys.modules["__main__"].__dict__, name, defaults, tuple(map(types.CellType, cells))
    )
    made.__kwdefaults__, made.__module__ = keywords, "__main__"
    made.__dict__.update(attributes)
    return made


# ---------------------------------------------------------------------------------------------------------------------
# What a value is, as far as a later stage can tell
# ---------------------------------------------------------------------------------------------------------------------


class _Hash(io.RawIOBase):
    """A file that keeps the MD5 of what is written into it, and its size."""

    def __init__(self):
        self.md5, self.size = hashlib.md5(usedforsecurity=False), 0

    def write(self, part) -> int:
        self.md5.update(part)
        self.size += memoryview(part).nbytes
        return memoryview(part).nbytes

    def write_buffer(self, buffer: pickle.PickleBuffer) -> None:
        self.write(buffer.raw())


class _Digest(Pickler):
    def reducer_override(self, obj: object) -> object:
        pandas = sys.modules.get("pandas")
        if pandas and isinstance(obj, pandas.DataFrame):
            # How its columns are stored together changes when it is read, loaded or copied.
            columns = [obj.iloc[:, at].array for at in range(obj.shape[1])]
            return _digested, (type(obj), obj.columns, obj.index, columns, obj.attrs)
        if pandas and isinstance(obj, pandas.Series):
            return _digested, (type(obj), obj.name, obj.index, obj.array, obj.attrs)
        torch = sys.modules.get("torch")
        if torch and isinstance(obj, torch.Tensor):
            return _digested, (type(obj), obj.requires_grad, str(obj.device), obj.detach().cpu().numpy())
        return super().reducer_override(obj)


def _digested(*_) -> None:
    """Stand for a table in a digest, which nobody loads."""


def digest(value: object) -> tuple[str, int]:
    """Compute a hash of a value, equal for what was loaded again, and its size in bytes.

    Raises:
        Exception: it cannot be pickled; of any kind, as a value's own `__reduce__` may raise.
    """
    for fast in (True, False):
        into = _Hash()
        pickler = _Digest(into, {"": value}, buffer_callback=into.write_buffer)
        # Whether two equal texts in it are one object depends on where they come from. What contains itself needs to know.
        pickler.fast = fast
        try:
            pickler.dump(value)
            return into.md5.hexdigest(), into.size
        except (ValueError, RecursionError):
            if not fast:
                raise
    raise AssertionError


class Walker(Pickler):
    """Goes through all that a value is made of.

    Attributes:
        arrays: the NumPy arrays in it, each with the id of what it belongs to: itself, or a table.
    """

    def __init__(self, value: object):
        super().__init__(_Hash(), {"": value}, buffer_callback=lambda _: None)
        self.arrays = []
        self.dump(value)
        # The pickler remembers, with its id, each object that it met.
        self.objects = [each for _, each in self.memo.copy().values()]

    def reducer_override(self, obj: object) -> object:
        pandas, numpy = sys.modules.get("pandas"), sys.modules.get("numpy")
        if pandas and isinstance(obj, pandas.Index | pandas.api.extensions.ExtensionDtype):
            return object, ()  # nothing can change it
        if pandas and isinstance(obj, pandas.DataFrame | pandas.Series):
            columns = [obj.iloc[:, at] for at in range(obj.shape[1])] if obj.ndim == 2 else [obj]
            arrays = [each.to_numpy() for each in columns if isinstance(each.dtype, numpy.dtype)]
            self.arrays += [(id(obj), array) for array in arrays if not array.dtype.hasobject]
            return _digested, (obj.attrs, [array for array in arrays if array.dtype.hasobject])
        if numpy and isinstance(obj, numpy.ndarray) and not obj.dtype.hasobject:
            self.arrays.append((id(obj), obj))
        return super().reducer_override(obj)

    def mutable(self) -> set[int]:
        """Return the ids of the objects in it that can change."""
        return {id(each) for each in self.objects if not _is_fixed(each)}

    def notebook_names(self) -> set[str]:
        """Return the names of the notebook's own functions and classes in it."""
        return {
            each.__qualname__.partition(".")[0]
            for each in self.objects
            if isinstance(each, type | types.FunctionType) and each.__module__ == "__main__"
        }


_FIXED = (str, bytes, int, float, complex, tuple, frozenset, type(None), type, range, slice, enum.Enum)
_FIXED += (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, os.PathLike)
# Modules all of whose objects are values: dates, numbers, patterns, types of NumPy's columns.
_OF_VALUES = ("datetime", "decimal", "fractions", "uuid", "re", "zoneinfo", "pandas._libs", "numpy.dtypes")


def _is_fixed(value: object) -> bool:
    module, pandas = type(value).__module__, sys.modules.get("pandas")
    if (
        type(value).__name__ == "dtype"
        or "function" in type(value).__name__
        or (pandas and isinstance(value, pandas.Index))
    ):
        return True
    is_value = any(module == each or module.startswith(f"{each}.") for each in _OF_VALUES)
    return is_value or isinstance(value, _FIXED)


# ---------------------------------------------------------------------------------------------------------------------
# What a process keeps beside its names
# ---------------------------------------------------------------------------------------------------------------------


def _get_plot_settings() -> dict:
    # The backend is the kernel's.
    return {
        name: value for name, value in import_module("matplotlib").rcParams.items() if not name.startswith("backend")
    }


def _get_options(options: object = None, prefix: str = "") -> dict[str, object]:
    options = import_module("pandas").options if options is None else options
    found = {}
    for name in dir(options):
        value = getattr(options, name)
        found |= _get_options(value, f"{prefix}{name}.") if type(value) is type(options) else {f"{prefix}{name}": value}
    return found


def _set_options(options: dict[str, object]) -> None:
    now = _get_options()
    for name, value in options.items():
        if now.get(name) != value:
            import_module("pandas").set_option(name, value)


def _get_printing() -> tuple[dict, dict]:
    return import_module("numpy").get_printoptions(), import_module("numpy").geterr()


def _set_printing(settings: tuple[dict, dict]) -> None:
    import_module("numpy").set_printoptions(**settings[0])
    import_module("numpy").seterr(**settings[1])


def _get_filters() -> list[tuple]:
    return [
        (action, getattr(message, "pattern", message), category, getattr(module, "pattern", module), line)
        for action, message, category, module, line in warnings.filters
    ]


def _set_filters(filters: list[tuple]) -> None:
    warnings.resetwarnings()
    for action, message, category, module, line in reversed(filters):
        warnings.filterwarnings(action, message or "", category, module or "", line)


def _get_places() -> list[str]:
    """Return the folders below the project in which Python looks for modules, as seen from it."""
    root = _root()
    places = [Path(os.path.abspath(place)) for place in sys.path if place]
    return [place.relative_to(root).as_posix() for place in places if place.is_relative_to(root)]


def _set_places(places: list[str]) -> None:
    sys.path += [os.fspath(_root() / place) for place in places if place not in _get_places()]


STATE: dict[str, tuple[str, Callable, Callable]] = {
    "random": (
        "random",
        lambda: import_module("random").getstate(),
        lambda state: import_module("random").setstate(state),
    ),
    "numpy_random": (
        "numpy.random",
        lambda: import_module("numpy.random").get_state(),
        lambda state: import_module("numpy.random").set_state(state),
    ),
    "torch_random": (
        "torch",
        lambda: import_module("torch").get_rng_state().numpy(),
        lambda state: import_module("torch").set_rng_state(import_module("torch").from_numpy(state)),
    ),
    "matplotlib": ("matplotlib", _get_plot_settings, lambda state: import_module("matplotlib").rcParams.update(state)),
    "pandas": ("pandas", _get_options, _set_options),
    "numpy": ("numpy", _get_printing, _set_printing),
    "warnings": ("warnings", _get_filters, _set_filters),
    "folder": ("os", lambda: os.path.relpath(os.getcwd(), _root()), lambda state: os.chdir(_root() / state)),
    "sys_path": ("sys", _get_places, _set_places),
}
"""Each part of the state: the module that has it, if it is loaded, and what gets and sets it."""
RANDOM = ("random", "numpy_random", "torch_random")


def digest_state() -> dict[str, str]:
    """Compute a hash of each part of the state whose module is loaded."""
    return {part: digest(_get(part))[0] for part, (module, _, _) in STATE.items() if module in sys.modules}


def _get(part: str) -> object:
    if part == "warnings":
        return _get_filters()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that will go
        return STATE[part][1]()

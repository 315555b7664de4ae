"""ONNX models: opened with the execution providers that are there, and checked against what they must look like."""

from __future__ import annotations

import difflib
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnxruntime as ort

from anonymizer.errors import ConfigError, ModelError

log = logging.getLogger(__name__)

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "directml": "DmlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "acl": "ACLExecutionProvider",
    "cann": "CANNExecutionProvider",
}
"""Short names of execution providers, as users write them."""

_FRUGAL = ort.RunOptions()
_FRUGAL.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")

_warned: set[str] = set()
_asked = threading.Event()

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Port:
    """An input or output that a model must have. name: "" stands for any name, then the position decides.

    shape: None stands for any shape, and None in it for any size of that axis; a model whose axis is dynamic fits
    every size.
    """

    name: str
    shape: Shape | None = None

    def __str__(self) -> str:
        return f"{self.name or 'any'}{_text(self.shape)}"


@dataclass(frozen=True)
class Contract:
    """What a model must take and give. More outputs than these are fine, more inputs are not."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def run_options(session: ort.InferenceSession, frugal: bool = False) -> ort.RunOptions | None:
    """What to run a model with: on the CPU, and where frugal is set or once after ``give_back``, so that the run ends
    with giving back what the arena does not use."""
    if not (frugal or _asked.is_set()) or session.get_providers() != [PROVIDERS["cpu"]]:
        return None
    _asked.clear()
    return _FRUGAL


def give_back() -> None:
    """Have the arena's unused memory freed by the next run. Costs that run and the next of each model a millisecond or
    more.

    How much the arena once held depends on which models happened to run at the same moment; without this, rare moments
    would make a process grow for hours.
    """
    _asked.set()


def provider_names(short: Sequence[str]) -> list[str]:
    """onnxruntime's names of the providers in ``short`` that this build of onnxruntime has; CPU always comes last.

    Each provider that is missing is warned about once. Raises ConfigError for a name that nobody knows.
    """
    available = ort.get_available_providers()
    chosen = []
    for name in short:
        if name not in PROVIDERS:
            near = difflib.get_close_matches(name, PROVIDERS, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"unknown execution provider {name!r}; known are {', '.join(PROVIDERS)}{hint}")
        if PROVIDERS[name] in available:
            chosen.append(PROVIDERS[name])
        else:
            _warn_once(name, "this build of onnxruntime does not have it")
    return list(dict.fromkeys([*(n for n in chosen if n != PROVIDERS["cpu"]), PROVIDERS["cpu"]]))


def open_session(
    path: str | Path, *, threads: int = 1, providers: Sequence[str] = ("cpu",), contract: Contract | None = None
) -> ort.InferenceSession:
    """Load the ONNX model at ``path``.

    threads: most threads that one call of ``run`` may use on the CPU; waiting threads sleep instead of spinning.
    providers: short names (see PROVIDERS), the preferred first; what is missing or does not start is replaced by the
    CPU with one warning. contract: what the model's inputs and outputs must be. Raises ModelError for a file that is
    missing, is no ONNX model or does not fit the contract, ConfigError for an unknown provider.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no model at {path}; check the path or run `anonymizer models fetch`")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    _one_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    names = provider_names(providers)
    # Memory patterns: on the CPU they keep a second copy and save no time, and DirectML refuses them.
    options.enable_mem_pattern = len(names) > 1 and PROVIDERS["directml"] not in names
    session = None
    if len(names) > 1:
        try:
            session = ort.InferenceSession(str(path), options, providers=names)
        except Exception as error:
            _warn_once(names[0], str(error).splitlines()[0])
    if session is None:
        try:
            session = ort.InferenceSession(str(path), options, providers=[PROVIDERS["cpu"]])
        except Exception as error:
            raise ModelError(
                f"{path} is not a model that onnxruntime can load: {str(error).splitlines()[0]}"
            ) from error
    if contract is not None:
        check(path, session, contract)
    return session


def check(path: Path, session: ort.InferenceSession, contract: Contract) -> None:
    """Raise ModelError, with what was expected and what was found, where the model does not fit the contract."""
    _check(path, "input", contract.inputs, session.get_inputs(), exact=True)
    _check(path, "output", contract.outputs, session.get_outputs(), exact=False)


@cache
def _one_arena() -> None:
    """Let all sessions of the process share one arena on the CPU, which grows by what is asked for.

    An arena of each session doubles instead: the largest batch of faces there ever was cost a worker 30 MB for good.
    """
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    as_requested = ort.OrtArenaCfg({"arena_extend_strategy": 1, "max_mem": 0})
    ort.create_and_register_allocator(memory, as_requested)


def _warn_once(name: str, reason: str) -> None:
    if name not in _warned:
        _warned.add(name)
        log.warning("execution provider %s is not used, the CPU takes over: %s", name, reason)


def _check(path: Path, kind: str, ports: tuple[Port, ...], found: Sequence[ort.NodeArg], *, exact: bool) -> None:
    by_name = {arg.name: arg for arg in found}
    fits = len(found) == len(ports) if exact else len(found) >= len(ports)
    for position, port in enumerate(ports):
        arg = by_name.get(port.name) if port.name else (found[position] if position < len(found) else None)
        fits = fits and arg is not None and _agrees(port.shape, tuple(arg.shape))
    if not fits:
        expected = ", ".join(map(str, ports))
        actual = ", ".join(f"{arg.name}{_text(tuple(arg.shape))}" for arg in found) or "none"
        raise ModelError(f"{path} has the wrong {kind}s: expected {expected}; found {actual}. Is it another model?")


def _agrees(wanted: Shape | None, found: tuple[int | str | None, ...]) -> bool:
    if wanted is None:
        return True
    return len(wanted) == len(found) and all(
        w is None or not isinstance(f, int) or w == f for w, f in zip(wanted, found, strict=True)
    )


def _text(shape: Sequence[object] | None) -> str:
    return "" if shape is None else "[" + "×".join(str(n) if isinstance(n, int) else "?" for n in shape) + "]"

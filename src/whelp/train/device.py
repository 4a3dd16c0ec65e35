"""Where to compute, in which arithmetic, on how many threads."""

from __future__ import annotations

import contextlib
import importlib.util
import threading
import time
from collections.abc import Iterator

import torch

from whelp.base.errors import BusyError, PlanError, say_first_line
from whelp.base.machine import count_cores, count_free_bytes, count_peak_bytes
from whelp.train.process_rank import ProcessRank

_BF16_FAMILIES = ("gpt2", "qwen3")  # on a CPU; the others were not measured
_BF16_WIDTH = 128  # narrower models gain little or lose
_SMALL, _SMALL_TRIES = 128, 24  # products so short that some are not interrupted, on a busy machine either
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",  # of what the driver itself takes: pinned memory, graphs
    "CUBLAS_STATUS_ALLOC_FAILED",
    "Cuda failure 2 'out of memory'",  # of NCCL
    "Triton Error [CUDA]: out of memory",  # a kernel is loaded when it is first called
    "MPS backend out of memory",
    "Invalid buffer size",  # of Apple's GPU: one tensor is larger than all there is
)


def choose_device(asked: str, process: ProcessRank | None = None, *, option: str = "train.device") -> torch.device:
    """'auto' is a GPU when there is one; of many processes each takes the GPU of its number on this machine.

    Args:
        asked: auto, or a device of PyTorch.
        process: Which of many this one is.
        option: Where it was asked for: its name in what is said of a device that is not there.

    Raises:
        PlanError: When the asked device is not there, or there are more processes than GPUs.
    """
    process = process or ProcessRank()
    if process.num_processes > 1 and (asked == "cuda" or (asked == "auto" and torch.cuda.is_available())):
        num_gpus = torch.cuda.device_count()
        number = process.choose_gpu(num_gpus)
        if number >= num_gpus:
            raise PlanError(
                "train.device",
                f"{process.num_local_processes} processes are to share {num_gpus} GPUs",
                "a GPU for each",
                "Start fewer processes, or use train.device=cpu.",
            )
        torch.cuda.set_device(number)
        return torch.device("cuda")
    if process.num_processes > 1 and asked not in ("auto", "cpu"):
        raise PlanError(
            "train.device",
            f"{asked!r} is one device for {process.num_processes} processes",
            "auto, cpu or cuda",
            "Use one of those.",
        )
    if asked == "auto" and process.num_processes == 1:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device("cpu" if asked == "auto" else asked)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = say_first_line(error)
        if "Expected one of" in reason or "Could not run" in reason:  # lists of all that torch was ever built for
            reason = "PyTorch has no such device here"
        raise PlanError(
            option, f"{asked!r} cannot be used ({reason})", "auto, cpu, cuda or mps", f"Use {option}=cpu."
        ) from None
    return device


def choose_precision(asked: str, device: torch.device, *, family: str, width: int, num_processes: int = 1) -> str:
    """Arithmetic of the matrix products: `fp32`, `tf32`, `bf16` or `fp8`; auto is bf16 where the device does it fast.

    On a CPU that is a rule and no measurement, so that the same machine always computes the same: one process, bf16 tiles (AMX), a
    transformer of ours of width 128 or more. There a step takes 0.5 to 0.65 of the time; with a width of 64 0.85, of 32 1.1.

    Raises:
        PlanError: When the device has no such arithmetic.
    """
    if asked == "auto" and device.type == "cpu":
        is_wide = family in _BF16_FAMILIES and width >= _BF16_WIDTH
        return "bf16" if is_wide and num_processes == 1 and has_bf16_tiles() else "fp32"
    if asked == "auto":
        return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    usual = choose_precision("auto", device, family=family, width=width, num_processes=num_processes)
    advice = f"Use train.precision={usual}, also for a run that goes on."
    if asked == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        found = describe_device(device)
        raise PlanError("train.precision", f"tf32 on {found}", "a GPU that has it", advice)
    if asked == "fp8" and not has_eight_bit_products(device):
        expected = "a GPU of NVIDIA since Ada and Hopper (RTX 40, L4, H100), with Triton"
        raise PlanError("train.precision", f"fp8 on {describe_device(device)}", expected, advice)
    if asked == "fp8" and family == "hf":
        expected = "a family of ours: architectures of transformers come with products of their own"
        raise PlanError("train.precision", "fp8 with model.family: hf", expected, advice)
    return asked


def can_compile_for(device: torch.device) -> bool:
    """Whether `torch.compile` has what it writes a GPU's kernels in: PyTorch for Windows and for some GPUs comes without."""
    return device.type != "cuda" or importlib.util.find_spec("triton") is not None


def has_eight_bit_products(device: torch.device) -> bool:
    """Whether the device multiplies numbers of 8 bits, and kernels that round to them can run."""
    if device.type != "cuda" or torch.version.cuda is None or importlib.util.find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= (8, 9)


def has_bf16_tiles() -> bool:
    """Whether the processor multiplies tiles of bf16 (AMX: Intel's Xeon since 2023), and the system lets it.

    Instructions for bf16 without tiles (AVX-512) make a step slower than float32: 0.8 of the speed, and 0.4 without any.
    """
    return bool(torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx())


def get_product_type(precision: str) -> torch.dtype:
    """The numbers that matrix products take; with fp8 those that are not rounded further."""
    return torch.bfloat16 if precision in ("bf16", "fp8") else torch.float32


def allow_fast_products(precision: str) -> None:
    """Let float32 products round their factors to tf32, unless whole float32 was asked for: 8 times slower on an H200."""
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")


class _Settings:
    """What torch is set to for the whole process, kept while trainings are going on in one thread of it."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._num_trainings = 0
        self._before = contextlib.ExitStack()

    def enter(self, device: torch.device) -> None:
        with self._changing:
            this = threading.current_thread()
            if self._num_trainings and self._thread is not this and self._thread is not None and self._thread.is_alive():
                raise BusyError(
                    "training",
                    f"another thread of this process ({self._thread.name}) is training",
                    "one at a time: they would share torch's random numbers, its threads and its precision",
                    "Wait until that has ended; `whelp.train` takes a process of its own meanwhile.",
                )
            if not self._num_trainings:
                self._before.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
                self._before.callback(_set, torch.get_num_threads(), torch.get_float32_matmul_precision())
            self._thread = this
            self._num_trainings += 1

    def leave(self) -> None:
        with self._changing:
            self._num_trainings -= 1
            if not self._num_trainings:
                self._before.close()


def _set(num_threads: int, precision: str) -> None:
    torch.set_float32_matmul_precision(precision)
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)


_settings = _Settings()


@contextlib.contextmanager
def kept_settings(device: torch.device) -> Iterator[None]:
    """Afterwards torch is set as before: its threads, the precision of its products, the state of its random numbers.

    Training sets all three for the whole process, which may go on with other work. Of trainings inside one another each leaves
    the random numbers as it found them; whichever ends last leaves all as it was before the first.

    Raises:
        BusyError: When another thread is training.
    """
    _settings.enter(device)
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        _settings.leave()


def describe_device(device: torch.device) -> str:
    """A name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({count_cores()} cores)" if device.type == "cpu" else device.type


def measure_ceiling(
    device: torch.device, precision: torch.dtype, *, size: int = 8192, num_products: int = 8, num_tries: int = 3
) -> float:
    """Floating-point operations a second of plain matrix products: the most that a model can hope for. Takes an instant."""
    # Drawn, not all alike: products of such take less power on a GPU, which would then be faster than any model can be.
    matrix = torch.randn(size, size, generator=torch.Generator(device).manual_seed(0), device=device, dtype=precision)
    best = float("inf")
    for _ in range(num_tries):  # the first one warms up
        wait_for(device)
        start = time.perf_counter()
        for _ in range(num_products):
            torch.mm(matrix, matrix)
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return num_products * 2 * size**3 / best


def measure_slowdown(device: torch.device, precision: str) -> float:
    """How many times as long as fp32's small matrix products of a precision take, on one thread of a CPU. Takes an instant.

    Large ones, of a wide vocabulary for example, may take longer still.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # more would tell how busy the cores are
    try:
        plain, other = (
            measure_ceiling(device, number, size=_SMALL, num_products=1, num_tries=_SMALL_TRIES)
            for number in (torch.float32, get_product_type(precision))
        )
    finally:
        torch.set_num_threads(before)
    return plain / other


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is want of memory, of a GPU or of the machine, where PyTorch has no class of its own for it."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(word in str(error) for word in _OUT_OF_MEMORY)
    )


def wait_for(device: torch.device) -> None:
    """Wait until a device has done all that it was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_idle_memory(device: torch.device) -> None:
    """Let others have what PyTorch keeps of a GPU's memory for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def count_free_memory(device: torch.device) -> int:
    """Bytes there is room for, on the device; 0 when the system does not say.

    Apple's GPU has the memory of the machine: as much of it as the system recommends, which others may use, too.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return max(0, int(torch.mps.recommended_max_memory()) - int(torch.mps.driver_allocated_memory()))
    return count_free_bytes()


def used_memory(device: torch.device) -> int:
    """The most bytes that this process has taken so far: of the GPU, or of the machine; 0 when the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    if device.type == "mps":  # what was taken is kept, but where memory did not suffice
        return int(torch.mps.driver_allocated_memory())
    return count_peak_bytes()

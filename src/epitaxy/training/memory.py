"""Memory that a step has freed stays at hand for the next one."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_AT_MOST = 2**31 - 1  # bytes, what an int holds
_USUAL_MMAP, _USUAL_TRIM = 32 * 2**20, 64 * 2**20  # bytes, what glibc's own rule rises to


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Within, blocks of any size are taken from the heap, which keeps what is freed.

    The C library asks the system for every block above 32 MB anew, and the system clears each of
    its pages: steps of 200,000 edges then cost up to three times as much per edge as small ones.
    Does nothing where the C library is not glibc; at the end what is free is given back.
    """
    library = ctypes.CDLL(None) if sys.platform.startswith("linux") else None
    if library is None or not hasattr(library, "gnu_get_libc_version"):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _AT_MOST)
    library.mallopt(_TRIM_THRESHOLD, _AT_MOST)
    try:
        yield
    finally:
        library.mallopt(_MMAP_THRESHOLD, _USUAL_MMAP)
        library.mallopt(_TRIM_THRESHOLD, _USUAL_TRIM)
        library.malloc_trim(ctypes.c_size_t(0))

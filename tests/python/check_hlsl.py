"""Compiles shaders in HLSL as DX12 does: by the DirectX shader compiler (DXC), of which compushady's source package
on PyPI holds a build for Linux. `check_hlsl.py LIBRARY FOLDER`: LIBRARY is libdxcompiler.so."""

import ctypes
import re
import sys
import uuid
from pathlib import Path

# Of dxcapi.h: the objects and their interfaces.
LIBRARY = uuid.UUID("6245d6af-66e0-48fd-80b4-4d271796748c"), uuid.UUID("e5204dc7-d18c-4c3c-bdfb-851673980fe7")
COMPILER = uuid.UUID("73e22d93-e6ce-47f3-b5bf-f0664f39c1b0"), uuid.UUID("8c210bf3-011f-4422-8d70-6f9acb8db617")
# Numbers of methods. Of the five of IUnknown, two are its destructor, outside of Windows.
RELEASE, FIRST = 2, 5
CREATE_BLOB_ON_HEAP, COMPILE = FIRST + 4, FIRST
GET_STATUS, GET_ERRORS = FIRST, FIRST + 2
GET_POINTER, GET_SIZE = FIRST, FIRST + 1
UTF8 = 65001


def call(this, method, result, *arguments):
    """Calls a method of an object by its number; arguments are objects of ctypes."""
    table = ctypes.cast(this, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p))).contents
    types = [type(argument) for argument in arguments]
    return ctypes.CFUNCTYPE(result, ctypes.c_void_p, *types)(table[method])(this, *arguments)


def checked(status):
    if status != 0:
        raise OSError(f"the compiler answered 0x{status & 0xFFFFFFFF:08x}")


def create(library, names):
    this = ctypes.c_void_p()
    checked(library.DxcCreateInstance(*(name.bytes_le for name in names), ctypes.byref(this)))
    return this


def compiled(compiler, library, text, entry_point):
    """Returns what the compiler complains about; None if it compiled the text."""
    text = text.encode()
    source, result, status = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int32()
    size, page = ctypes.c_uint32(len(text)), ctypes.c_uint32(UTF8)
    checked(call(library, CREATE_BLOB_ON_HEAP, ctypes.c_int32, ctypes.c_char_p(text), size, page, ctypes.pointer(source)))
    flags = (ctypes.c_wchar_p * 4)("-enable-16bit-types", "-HV", "2018", "-Od")
    none, zero = ctypes.c_void_p(), ctypes.c_uint32(0)
    entry_point, profile = ctypes.c_wchar_p(entry_point), ctypes.c_wchar_p("cs_6_2")
    checked(call(compiler, COMPILE, ctypes.c_int32, source, none, entry_point, profile, flags, ctypes.c_uint32(len(flags)),
                 none, zero, none, ctypes.pointer(result)))
    checked(call(result, GET_STATUS, ctypes.c_int32, ctypes.pointer(status)))
    complaint = None
    if status.value != 0:
        errors = ctypes.c_void_p()
        checked(call(result, GET_ERRORS, ctypes.c_int32, ctypes.pointer(errors)))
        length = call(errors, GET_SIZE, ctypes.c_size_t)
        complaint = ctypes.string_at(call(errors, GET_POINTER, ctypes.c_void_p), length).decode(errors="replace")
        call(errors, RELEASE, ctypes.c_uint32)
    for this in (result, source):
        call(this, RELEASE, ctypes.c_uint32)
    return complaint


def main(path, folder):
    dxc = ctypes.CDLL(path)
    library, compiler = create(dxc, LIBRARY), create(dxc, COMPILER)
    # It must be able to refuse.
    assert "undeclared" in compiled(compiler, library, "[numthreads(1,1,1)] void main() { x = 1; }", "main")
    shaders = sorted(Path(folder).glob("*.hlsl"))
    assert shaders, f"no shaders in {folder}"
    refused = 0
    for shader in shaders:
        text = shader.read_text()
        entry_point = re.search(r"\[numthreads\([^)]*\)\]\s*void (\w+)\(", text).group(1)
        complaint = compiled(compiler, library, text, entry_point)
        if complaint is not None:
            refused += 1
            print(f"{shader.name}: {complaint[:600]}", flush=True)
    print(f"{len(shaders)} shaders, {refused} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""A look into a SavedModel before it is loaded: a SavedModel is a program.

Only the protocol buffer is parsed. Every operator, in the graph and in all functions, must be one of
operators.py; the operators that save files must not be reachable from anything that loading or
encoding runs.
"""

from __future__ import annotations

import pathlib
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from transforms.encoders.digest import saved_model_files
from transforms.encoders.operators import ALLOWED, RESTORING, SAVING
from transforms.encoders.tensorflow_runtime import first_line, import_tensorflow
from transforms.errors import EncoderError

MAX_GRAPH_BYTES = 2**31 - 1
"""Protocol buffers end here."""

MAX_FILES = 10_000

_TRUST = "give --trust-model if you trust its author"
_INITIALISERS = ("saved_model_main_op", "legacy_init_op", "saved_model_train_op", "table_initializer")


def check_files(directory: pathlib.Path) -> None:
    """Checks that a directory holds a SavedModel of regular files.

    Raises:
      EncoderError: no ``saved_model.pb``, another format beside it, a link, a pipe or a device, or too
        much of anything.
    """
    if not (directory / "saved_model.pb").exists():
        other = [name for name in ("saved_model.pbtxt", "saved_model.cpb") if (directory / name).exists()]
        found = f" (only {other[0]}, which is not read)" if other else ""
        raise EncoderError(f"{directory} is no SavedModel: it has no saved_model.pb{found}")
    if (directory / "saved_model.cpb").exists():
        raise EncoderError(f"{directory} has saved_model.pb and saved_model.cpb; remove the one that is not meant")
    files = saved_model_files(directory)
    if len(files) > MAX_FILES:
        raise EncoderError(f"{directory} holds {len(files)} files, more than {MAX_FILES}")
    for path in [directory / "variables", directory / "assets", *files]:
        if path.is_symlink():
            raise EncoderError(f"{path} is a link; copy the model with its links resolved (cp -rL)")
    for path in files:
        if not stat.S_ISREG(path.stat().st_mode):
            raise EncoderError(f"{path} is no regular file")
    size = (directory / "saved_model.pb").stat().st_size
    if size > MAX_GRAPH_BYTES:
        raise EncoderError(f"{directory}/saved_model.pb has {size} bytes, more than {MAX_GRAPH_BYTES}")


def scan_saved_model(directory: pathlib.Path) -> None:
    """Refuses a SavedModel that could do more than compute.

    Raises:
      EncoderError: the graph cannot be parsed, or holds an operator that an encoder has no use for.
    """
    import_tensorflow()
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped,unused-ignore]
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((directory / "saved_model.pb").read_bytes())
    except DecodeError as error:
        raise EncoderError(f"{directory}/saved_model.pb is damaged: {first_line(error)}") from error
    if not saved_model.meta_graphs:
        raise EncoderError(f"{directory}/saved_model.pb holds no graph")
    for meta_graph in saved_model.meta_graphs:
        _scan_meta_graph(str(directory), meta_graph)


def _scan_meta_graph(source: str, meta_graph: Any) -> None:
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    nodes = [node for function in functions.values() for node in function.node_def]
    _refuse(source, [*meta_graph.graph_def.node, *nodes], ALLOWED | RESTORING | SAVING)
    graph = {node.name: node for node in meta_graph.graph_def.node}
    restoring = _ancestors(graph, [meta_graph.saver_def.restore_op_name])
    _refuse(source, _with_functions(restoring, functions), ALLOWED | RESTORING)
    used = _ancestors(graph, _entry_tensors(meta_graph))
    called = _closure(meta_graph.object_graph_def.concrete_functions.keys(), functions)
    _refuse(source, [*_with_functions(used, functions), *called], ALLOWED)


def _refuse(source: str, nodes: Iterable[Any], allowed: frozenset[str]) -> None:
    found = sorted({node.op for node in nodes} - allowed)
    if found:
        names = ", ".join(found[:5]) + (" …" if len(found) > 5 else "")
        raise EncoderError(f"{source} is not loaded: its graph uses {names}, which no encoder needs; {_TRUST}")


def _entry_tensors(meta_graph: Any) -> list[str]:
    """Names of tensors and operations that signatures and initialisers ask for."""
    names: list[str] = []
    for signature in meta_graph.signature_def.values():
        names.extend(info.name for info in signature.outputs.values())
    for key in _INITIALISERS:
        if key in meta_graph.collection_def:
            names.extend(meta_graph.collection_def[key].node_list.value)
    return names


def _ancestors(graph: Mapping[str, Any], names: Iterable[str]) -> list[Any]:
    """The nodes of these names or tensor names, and all that they depend on, control edges included."""
    found: dict[str, Any] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name in graph and name not in found:
            found[name] = graph[name]
            waiting.extend(graph[name].input)
    return list(found.values())


def _with_functions(nodes: list[Any], functions: Mapping[str, Any]) -> list[Any]:
    return [*nodes, *_closure(_called(nodes, functions), functions)]


def _closure(names: Iterable[str], functions: Mapping[str, Any]) -> list[Any]:
    """The nodes of these functions and of all functions that they call, at any depth."""
    found: dict[str, Any] = {}
    waiting = [name for name in names if name in functions]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = functions[name]
            waiting.extend(_called(functions[name].node_def, functions))
    return [node for function in found.values() for node in function.node_def]


def _called(nodes: Iterable[Any], functions: Mapping[str, Any]) -> Iterator[str]:
    """Names of the functions that nodes mention: as operator, or in attributes at any depth."""
    for node in nodes:
        if node.op in functions:
            yield node.op
        waiting = list(node.attr.values())
        while waiting:
            attribute = waiting.pop()
            for mentioned in (attribute.func, *attribute.list.func):
                waiting.extend(mentioned.attr.values())
                if mentioned.name in functions:
                    yield mentioned.name
